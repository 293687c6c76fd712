//! What a host can know of who tore a connection down, to hold an agent's verdict against.

use std::net::IpAddr;

use serde_json::Value;

/// Who tore a connection down, as far as one host can know it.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// What `origin.kind` may be.
    pub kinds: &'static [&'static str],
    /// What `origin.possible` must still hold.
    pub possible: &'static str,
    /// What `origin.name` must be.
    pub name: Option<&'static str>,
    /// What `origin.address` must be.
    pub address: Option<IpAddr>,
}

impl Truth {
    /// The host at the peer's address. To accuse a middlebox is wrong, and so is to rule the peer out.
    pub const PEER: Self = Self { kinds: &["remote_peer", "unknown"], possible: "remote_peer", name: None, address: None };

    /// Something in between, and this host has what it takes to know it.
    pub const MIDDLEBOX: Self = Self { kinds: &["middlebox"], possible: "middlebox", name: None, address: None };

    /// Something in between that acts just as the peer would. To acquit it is wrong.
    pub const HIDDEN_MIDDLEBOX: Self = Self { kinds: &["middlebox", "unknown"], possible: "middlebox", name: None, address: None };

    /// A machine between the ends that has the address this host talks to, so that it is peer and middlebox at once.
    pub const TRANSLATOR: Self = Self { kinds: &["middlebox", "remote_peer", "unknown"], possible: "middlebox", name: None, address: None };

    /// Something in between whose RST differs in nothing from the peer's. Only that nothing had asked for it speaks against it, and how long that
    /// takes to tell depends on the round-trip time the socket measured. To rule the middlebox out is wrong.
    pub const PERFECT_COPY: Self = Self::TRANSLATOR;

    /// A machine that the agent was told about.
    pub const fn known(name: &'static str) -> Self {
        Self { name: Some(name), ..Self::MIDDLEBOX }
    }

    /// Something in between whose address this host can tell.
    #[must_use]
    pub const fn at(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// Whether an event says so.
    pub fn is_told_by(&self, event: &Value) -> bool {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let possible = event.pointer("/origin/possible").and_then(Value::as_array);
        text("/origin/kind").is_some_and(|kind| self.kinds.contains(&kind))
            && possible.is_some_and(|kinds| kinds.iter().any(|kind| kind == self.possible))
            && self.name.is_none_or(|name| text("/origin/name") == Some(name))
            && self.address.is_none_or(|address| text("/origin/address") == Some(address.to_string().as_str()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Truth;

    #[test]
    fn to_accuse_a_middlebox_of_what_the_peer_did_is_wrong() {
        let accused = json!({"origin": {"kind": "middlebox", "possible": ["middlebox", "remote_peer"]}});
        assert!(!Truth::PEER.is_told_by(&accused));
        assert!(Truth::MIDDLEBOX.is_told_by(&accused));
        assert!(!Truth::known("lb-1").is_told_by(&accused));
    }

    #[test]
    fn to_rule_out_who_did_it_is_wrong() {
        let open = json!({"origin": {"kind": "unknown", "possible": ["remote_peer", "middlebox"]}});
        let closed = json!({"origin": {"kind": "unknown", "possible": ["remote_peer"]}});
        assert!(Truth::PEER.is_told_by(&open) && Truth::HIDDEN_MIDDLEBOX.is_told_by(&open));
        assert!(!Truth::HIDDEN_MIDDLEBOX.is_told_by(&closed));
        assert!(!Truth::MIDDLEBOX.is_told_by(&open));
    }
}
