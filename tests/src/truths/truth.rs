//! What a host can know of who tore a connection down, to hold an agent's verdict against.
//!
//! With `RSTBLAME_TRUTH_FILE` in the environment each verdict is appended to that file, one line
//! each, ended by `\n`, with eight members between tabs:
//!
//! | member | content |
//! |---|---|
//! | scenario | its name, free text without tabs |
//! | view | `client` or `server`: the host that lost the connection and was asked |
//! | family | `ipv4` or `ipv6` |
//! | truth | `remote_peer`, `middlebox`, or `either` for a machine that is both |
//! | kind | `origin.kind` of the verdict |
//! | confidence | `origin.confidence` as the event has it; empty where the verdict has none |
//! | possible | `origin.possible`, joined by commas |
//! | open | empty; or why the wire cannot tell here, so that `unknown` is the right answer |

use std::net::IpAddr;

use serde_json::Value;

use crate::{
    Result,
    hosts::side::{Ip, Side},
    workspace,
};

/// Name of the variable that says which file the verdicts are appended to.
const TRUTH_FILE: &str = "RSTBLAME_TRUTH_FILE";

/// Who tore a connection down, as far as one host can know it.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// Who it was: `remote_peer`, `middlebox`, or `either` for a machine that is both.
    pub actual: &'static str,
    /// Why `unknown` is as right an answer; absent where the host has what it takes to know.
    pub open: Option<&'static str>,
    /// What `origin.possible` must still hold.
    pub possible: &'static str,
    /// What `origin.name` must be.
    pub name: Option<&'static str>,
    /// What `origin.address` must be.
    pub address: Option<IpAddr>,
}

impl Truth {
    /// The host at the peer's address. To accuse a middlebox is wrong, and so is to rule the peer
    /// out.
    pub const PEER: Self = Self { actual: "remote_peer", open: None, possible: "remote_peer", name: None, address: None };

    /// Something in between. To acquit it is wrong.
    pub const MIDDLEBOX: Self = Self { actual: "middlebox", open: None, possible: "middlebox", name: None, address: None };

    /// A machine between the ends that has the address this host talks to, so that it is peer and
    /// middlebox at once.
    pub const TRANSLATOR: Self = Self { actual: "either", ..Self::MIDDLEBOX };

    /// A machine that the agent was told about.
    pub const fn known(name: &'static str) -> Self {
        Self { name: Some(name), ..Self::MIDDLEBOX }
    }

    /// Something in between whose address this host can tell.
    #[must_use]
    pub const fn at(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// The wire cannot tell, for this reason: `unknown` is right too, as long as it does not rule
    /// out who it was.
    #[must_use]
    pub const fn open(self, why: &'static str) -> Self {
        Self { open: Some(why), ..self }
    }

    /// Whether an event says so.
    pub fn is_told_by(&self, event: &Value) -> bool {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let possible = event.pointer("/origin/possible").and_then(Value::as_array);
        let kind = text("/origin/kind").unwrap_or_default();
        let right = match self.actual {
            "either" => matches!(kind, "middlebox" | "remote_peer"),
            actual => kind == actual,
        };
        (right || kind == "unknown" && self.open.is_some())
            && possible.is_some_and(|kinds| kinds.iter().any(|kind| kind == self.possible))
            && self.name.is_none_or(|name| text("/origin/name") == Some(name))
            && self.address.is_none_or(|address| text("/origin/address") == Some(address.to_string().as_str()))
    }

    /// Appends a verdict to the file that the environment names, if it names one.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn record(&self, scenario: &str, side: Side, ip: Ip, event: &Value) -> Result<()> {
        workspace::append(TRUTH_FILE, || self.line(scenario, side, ip, event))
    }

    fn line(&self, scenario: &str, side: Side, ip: Ip, event: &Value) -> String {
        let origin = |member: &str| event.pointer(&format!("/origin/{member}"));
        let possible = origin("possible").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let members = [
            scenario.to_owned(),
            if side == Side::Client { "client" } else { "server" }.to_owned(),
            if ip == Ip::V4 { "ipv4" } else { "ipv6" }.to_owned(),
            self.actual.to_owned(),
            origin("kind").and_then(Value::as_str).unwrap_or_default().to_owned(),
            origin("confidence").and_then(Value::as_f64).map(|confidence| confidence.to_string()).unwrap_or_default(),
            possible.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            self.open.unwrap_or_default().to_owned(),
        ];
        members.join("\t") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Ip, Side, Truth};

    #[test]
    fn to_accuse_a_middlebox_of_what_the_peer_did_is_wrong() {
        let accused = json!({"origin": {"kind": "middlebox", "possible": ["middlebox", "remote_peer"]}});
        assert!(!Truth::PEER.is_told_by(&accused));
        assert!(!Truth::PEER.open("it cannot be told").is_told_by(&accused));
        assert!(Truth::MIDDLEBOX.is_told_by(&accused));
        assert!(!Truth::known("lb-1").is_told_by(&accused));
    }

    #[test]
    fn unknown_is_right_only_where_it_cannot_be_told_and_nobody_is_ruled_out() {
        let open = json!({"origin": {"kind": "unknown", "possible": ["remote_peer", "middlebox"]}});
        let closed = json!({"origin": {"kind": "unknown", "possible": ["remote_peer"]}});
        for truth in [Truth::PEER, Truth::MIDDLEBOX, Truth::TRANSLATOR] {
            assert!(!truth.is_told_by(&open));
            assert!(truth.open("it cannot be told").is_told_by(&open));
        }
        assert!(!Truth::MIDDLEBOX.open("it cannot be told").is_told_by(&closed));
    }

    #[test]
    fn a_recorded_verdict_has_eight_members() {
        let event = json!({"origin": {"kind": "middlebox", "confidence": 0.93, "possible": ["middlebox", "remote_peer"]}});
        let line = Truth::MIDDLEBOX.line("router rejects", Side::Server, Ip::V6, &event);
        assert_eq!(line, "router rejects\tserver\tipv6\tmiddlebox\tmiddlebox\t0.93\tmiddlebox,remote_peer\t\n");
    }
}
