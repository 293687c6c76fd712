//! F5 BIG-IP: the reason as text in the payload (`tm.rstcause.pkt`; F5 K13223, "Configuring the
//! BIG-IP system to log TCP RST packets"). The words are those that `tmsh show net rst-cause`
//! counts.
//!
//! `BIG-IP: [0x2409a71:704] Flow expired (sweeper)`: a number of the source file, the line, the
//! reason; `{peer}` before a reason says that the other side's connection ended so.

use super::{Meaning, Said};
use crate::{flow::wire::Wire, model::CauseId};

const SERVERS: &str = "look at the pool of the virtual server: tmsh show ltm pool members, and its monitors";
const POLICY: &str = "look at the virtual server's policies, iRules and limits on the BIG-IP";
const TIMEOUT: &str = "keep the connection busy (heartbeat below half the idle timeout), or raise \
                       idle-timeout in the profile of the virtual server";
const BACKEND: &str = "look at the server behind the BIG-IP: its side of the connection ended first";
const FLOW: &str = "look for a failover, a changed configuration or a deleted connection on the BIG-IP";
const HANDSHAKE: &str = "look at what the client sent first, and at the handshake limits of the BIG-IP";

/// (in lower case, a part of the reason; what it means). The first that fits counts.
const REASONS: [(&str, Meaning); 37] = [
    ("flow expired", timeout("it gave up the connection as idle")),
    ("idle timeout", timeout("it gave up the connection as idle")),
    ("keep-alive", Meaning::of(CauseId::KeepaliveTimeout, "its keepalive probes got no answer", BACKEND)),
    ("keepalive", Meaning::of(CauseId::KeepaliveTimeout, "its keepalive probes got no answer", BACKEND)),
    ("pool member", servers("it has no server to hand the connection to")),
    ("no server selected", servers("it selected no server for the connection")),
    ("no available", servers("it has no server to hand the connection to")),
    ("node down", servers("the server behind it went down")),
    ("member down", servers("the server behind it went down")),
    ("no route", servers("it has no route to the server behind it")),
    ("unable to connect", servers("it could not connect to the server behind it")),
    ("unable to obtain local port", servers("it has no port left towards the servers behind it")),
    ("retransmit timeout", servers("the other side did not acknowledge what it sent")),
    ("zero window", servers("the other side took nothing more")),
    ("rst from remote system", backend("it passes on that the other side reset its connection")),
    ("rst from big-ip internal", backend("its own Linux host reset the connection")),
    ("handshake timeout", handshake("the handshake was not finished in time")),
    ("3whs", handshake("the handshake went wrong")),
    ("ssl", handshake("TLS with it went wrong")),
    ("syn cookie", handshake("the handshake's cookie was wrong")),
    ("no local listener", refused("nothing is configured at that address and port")),
    ("vip down", refused("the virtual server is down")),
    ("vip disabled", refused("the virtual server is disabled")),
    ("virtual disabled", refused("the virtual server is disabled")),
    ("port denied", policy("its configuration denies that port")),
    ("policy", policy("a policy of its resets such connections")),
    ("irule", policy("an iRule resets such connections")),
    ("reject", policy("its configuration rejects such connections")),
    ("connection limit", policy("its limit of connections was reached")),
    ("rate limit", policy("its limit of connections a second was reached")),
    ("license limit", policy("a limit of its licence was reached")),
    ("attack", policy("it took the connection for an attack")),
    ("no flow found", flow("it no longer knew the connection")),
    ("ha disconnect", flow("it failed over to another unit")),
    ("failover", flow("it failed over to another unit")),
    ("flow deleted", flow("the connection was deleted there")),
    ("connection removed", flow("the connection was deleted there")),
];

const fn timeout(what: &'static str) -> Meaning {
    Meaning::of(CauseId::IdleTimeout, what, TIMEOUT)
}

const fn servers(what: &'static str) -> Meaning {
    Meaning::of(CauseId::PeerGone, what, SERVERS)
}

const fn backend(what: &'static str) -> Meaning {
    Meaning::of(CauseId::PeerAborted, what, BACKEND)
}

const fn handshake(what: &'static str) -> Meaning {
    Meaning::of(CauseId::HandshakeAborted, what, HANDSHAKE)
}

const fn refused(what: &'static str) -> Meaning {
    Meaning::of(CauseId::Refused, what, POLICY)
}

const fn policy(what: &'static str) -> Meaning {
    Meaning::of(CauseId::FirewallReject, what, POLICY)
}

const fn flow(what: &'static str) -> Meaning {
    Meaning::of(CauseId::StateLost, what, FLOW)
}

const OTHER: Meaning = Meaning { cause: None, what: "it gives a reason of its own", advice: POLICY };

pub fn said(wire: &Wire) -> Option<Said> {
    let text = wire.text.as_ref()?;
    let reason = text.text.rsplit_once(']').map_or(text.text.as_str(), |(_, reason)| reason).to_ascii_lowercase();
    let known = REASONS.iter().find(|(part, _)| reason.contains(part)).map(|(_, meaning)| *meaning);
    Some(Said { vendor: text.vendor, meaning: known.unwrap_or(OTHER), literal: text.text.clone(), ratio: 500.0 })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::said;
    use crate::{
        flow::wire::{End, Segment, VendorText, Wire, WireFlow},
        model::CauseId,
    };

    fn with(text: &str) -> Wire {
        let text = VendorText::recognise(format!("BIG-IP: [0x2409a71:704] {text}").as_bytes());
        WireFlow::default().reset(&Segment::default(), End::First, text)
    }

    #[test]
    fn reasons_have_their_causes() {
        for (text, cause) in [
            ("Flow expired (sweeper) (idle timeout)", Some(CauseId::IdleTimeout)),
            ("No pool member available", Some(CauseId::PeerGone)),
            ("No available pool member", Some(CauseId::PeerGone)),
            ("{peer} TCP RST from remote system", Some(CauseId::PeerAborted)),
            ("No local listener", Some(CauseId::Refused)),
            ("TCP retransmit timeout", Some(CauseId::PeerGone)),
            ("iRule execution (reject command)", Some(CauseId::FirewallReject)),
            ("Policy action", Some(CauseId::FirewallReject)),
            ("No flow found for ACK", Some(CauseId::StateLost)),
            ("HA disconnect", Some(CauseId::StateLost)),
            ("handshake timeout", Some(CauseId::HandshakeAborted)),
            ("something new", None),
        ] {
            assert_eq!(said(&with(text)).unwrap().meaning.cause, cause, "{text}");
        }
    }
}
