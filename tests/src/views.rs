//! One agent on either host of a scenario, and the comparison of what both said with the truth.

use serde_json::Value;

use crate::{
    Result,
    agent::Agent,
    expect,
    net::TwoHosts,
    record::{Flow, Record},
    table,
};

/// One agent with the client's view and one with the server's.
#[derive(Debug)]
pub struct Views {
    /// The agent that sees the client's network namespace only.
    pub client: Agent,
    /// The agent that sees the server's network namespace only.
    pub server: Agent,
}

/// All that either host has to say about one connection: its resets in the order they happened, no more and no less.
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
    /// As [`crate::agent::Options::start`].
    pub fn of(hosts: &TwoHosts) -> Result<Self> {
        Ok(Self { client: Agent::on(&hosts.client).start()?, server: Agent::on(&hosts.server).start()? })
    }

    /// Waits until both agents have written as many resets of the connection as the truth has, stops them, and asserts
    /// that they told the truth. `flow` is the connection as the client's host sees it.
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
        compare("client", &self.client.stop()?, flow, &truth.client);
        compare("server", &self.server.stop()?, flow.reversed(), &truth.server);
        Ok(())
    }
}

/// Asserts that a host's record has exactly these resets of a connection.
///
/// # Panics
///
/// When it has not.
#[track_caller]
pub fn compare(host: &str, record: &Record, flow: Flow, truth: &[Value]) {
    let resets = record.resets_of(flow);
    assert!(
        resets.len() == truth.len(),
        "{host} reported {} resets of {} -> {}, the truth is {}: {resets:#?}",
        resets.len(),
        flow.local,
        flow.peer,
        truth.len()
    );
    for (number, (event, truth)) in resets.iter().zip(truth).enumerate() {
        let right = expect::differences(event, truth).is_empty();
        if let Err(error) = table::record(&table::scenario(), host, &table::said(truth), Some(event), right) {
            eprintln!("lab: {error}");
        }
        expect::check(&format!("reset {} on the {host}", number + 1), event, truth);
    }
}
