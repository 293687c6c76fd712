//! One agent on either host of a scenario, and the comparison of what both said with the truth.

use serde_json::Value;

use super::{expect, table};
use crate::{
    Result,
    agents::{agent::Agent, record::Record},
    hosts::{flow::Flow, net::TwoHosts},
};

/// One agent with the client's view and one with the server's.
#[derive(Debug)]
pub struct Views {
    /// The agent that sees the client's network namespace only.
    pub client: Agent,
    /// The agent that sees the server's network namespace only.
    pub server: Agent,
}

/// All that either host has to say about one connection: its resets in the order they happened, no
/// more and no less.
#[derive(Debug)]
pub struct Truth {
    /// The resets the client's host sent or received.
    pub client: Vec<Value>,
    /// The resets the server's host sent or received.
    pub server: Vec<Value>,
}

impl Views {
    /// Starts both agents and waits until both are armed.
    ///
    /// # Errors
    ///
    /// As [`crate::agents::agent::Options::start`].
    pub fn of(hosts: &TwoHosts) -> Result<Self> {
        Ok(Self { client: Agent::on(&hosts.client).start()?, server: Agent::on(&hosts.server).start()? })
    }

    /// Waits until both agents have written as many resets of the connection as the truth has,
    /// stops them, and asserts that they told the truth. `flow` is the connection as the client's
    /// host sees it.
    ///
    /// # Errors
    ///
    /// [`crate::LabError::Agent`] when an agent misses a reset or breaks the contract.
    ///
    /// # Panics
    ///
    /// When an agent reports anything else than the truth.
    #[track_caller]
    pub fn tell(self, flow: Flow, truth: &Truth) -> Result<()> {
        self.client.wait_for_resets(flow, truth.client.len())?;
        self.server.wait_for_resets(flow.reversed(), truth.server.len())?;
        let name = table::scenario();
        let (client, server) = (self.client.stop()?, self.server.stop()?);
        let found =
            [findings(&name, "client", &client, flow, &truth.client), findings(&name, "server", &server, flow.reversed(), &truth.server)];
        assert!(found.iter().all(Vec::is_empty), "{}", found.concat().join("\n"));
        Ok(())
    }
}

/// In what a host's record differs from the truth of one connection: exactly these resets in this
/// order, each of which says at least so much.
pub fn findings(scenario: &str, host: &str, record: &Record, flow: Flow, truth: &[Value]) -> Vec<String> {
    let resets = record.resets_of(flow);
    let mut found = Vec::new();
    if resets.len() != truth.len() {
        let (count, right) = (resets.len(), truth.len());
        found.push(format!("{scenario}: {host} reported {count} resets of {flow:?}, the truth is {right}: {resets:#?}"));
    }
    for (event, truth) in resets.iter().zip(truth) {
        let mut differences = expect::differences(event, truth);
        differences.retain(|one| !expect::raised(event, truth, one));
        if let Err(error) = table::record(scenario, host, &table::said(truth), Some(event), differences.is_empty()) {
            found.push(error.to_string());
        }
        if !differences.is_empty() {
            found.push(format!("{scenario}: {host} did not tell the truth:\n  {}\n{event:#}", differences.join("\n  ")));
        }
    }
    found
}
