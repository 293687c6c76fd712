//! Middleboxes that the configuration names: load balancers and proxies whose addresses peers are
//! seen at.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use thiserror::Error;

/// One address or network and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMiddlebox {
    network: IpNet,
    name: String,
}

/// Why a middlebox was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KnownMiddleboxError {
    #[error("{0:?} has no name; give ADDRESS=NAME, such as 10.0.5.0/24=haproxy-prod")]
    NoName(String),
    #[error("{0:?} is no address or network; give ADDRESS=NAME, such as 10.0.5.0/24=haproxy-prod")]
    NotAnAddress(String),
}

impl FromStr for KnownMiddlebox {
    type Err = KnownMiddleboxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (network, name) =
            text.split_once('=').filter(|(_, name)| !name.trim().is_empty()).ok_or_else(|| KnownMiddleboxError::NoName(text.to_owned()))?;
        Self::new(network, name)
    }
}

impl KnownMiddlebox {
    /// A middlebox by its address or network, and its name.
    ///
    /// # Errors
    ///
    /// [`KnownMiddleboxError::NotAnAddress`].
    pub fn new(network: &str, name: &str) -> Result<Self, KnownMiddleboxError> {
        let not_an_address = |_| KnownMiddleboxError::NotAnAddress(network.to_owned());
        let network = match network.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => network.parse::<IpNet>().map_err(not_an_address)?,
        };
        Ok(Self { network, name: name.trim().to_owned() })
    }

    /// Its network; a single address is one of full length.
    pub const fn network(&self) -> IpNet {
        self.network
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The name of the most specific middlebox that an address belongs to.
pub fn name_of(known: &[KnownMiddlebox], address: IpAddr) -> Option<&str> {
    known
        .iter()
        .filter(|middlebox| middlebox.network.contains(&address))
        .max_by_key(|middlebox| middlebox.network.prefix_len())
        .map(|middlebox| middlebox.name.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{KnownMiddlebox, KnownMiddleboxError, name_of};

    #[test]
    fn the_most_specific_network_names_the_address() -> Result<(), KnownMiddleboxError> {
        let known: Vec<KnownMiddlebox> = ["10.0.0.0/8=lan", "10.0.5.0/24=haproxy-prod", "10.0.5.7=haproxy-7", "2001:db8::/32=nat64"]
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        for (address, name) in [
            ("10.0.5.7", Some("haproxy-7")),
            ("10.0.5.8", Some("haproxy-prod")),
            ("10.9.9.9", Some("lan")),
            ("192.0.2.1", None),
            ("2001:db8::1", Some("nat64")),
        ] {
            assert_eq!(address.parse().ok().and_then(|address| name_of(&known, address)), name, "{address}");
        }
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (text, error) in [
            ("10.0.0.1", KnownMiddleboxError::NoName("10.0.0.1".into())),
            ("10.0.0.1=", KnownMiddleboxError::NoName("10.0.0.1=".into())),
            ("haproxy=x", KnownMiddleboxError::NotAnAddress("haproxy".into())),
            ("10.0.0.0/33=x", KnownMiddleboxError::NotAnAddress("10.0.0.0/33".into())),
        ] {
            assert_eq!(text.parse::<KnownMiddlebox>(), Err(error));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _parsed = text.parse::<KnownMiddlebox>();
        }
    }
}
