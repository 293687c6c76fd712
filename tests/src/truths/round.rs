//! Scenarios between two plain hosts, each alone or one after another under the eyes of the same
//! two agents.
//!
//! On an emulated processor an agent takes seconds to start, because the kernel's verifier does:
//! there all scenarios share two.

use std::{
    cell::{Cell, RefCell},
    net::TcpStream,
};

use super::views::{Truth, Views, findings};
use crate::{
    Result,
    hosts::{
        flow::Flow,
        net::{TwoHosts, two_hosts},
    },
};

/// One scenario, by its name.
pub type Scenario = (&'static str, fn(&Round) -> Result<()>);

/// Two hosts, an agent on each, and what scenarios said that they have to tell.
#[derive(Debug)]
pub struct Round {
    views: Views,
    playing: Cell<&'static str>,
    told: RefCell<Vec<Told>>,
    kept: RefCell<Vec<TcpStream>>,
    /// Where it happens. Last, so that everything ends before they do.
    pub hosts: TwoHosts,
}

#[derive(Debug)]
struct Told {
    scenario: &'static str,
    flow: Flow,
    truth: Truth,
}

/// Plays scenarios in turn, and asserts that both agents told the truth of each. One that fails
/// stops no other.
///
/// # Errors
///
/// As [`two_hosts`], [`Views::of`] and [`crate::agents::agent::Agent::stop`].
///
/// # Panics
///
/// When a scenario fails, or an agent reports anything else than the truth.
#[track_caller]
pub fn play(scenarios: &[Scenario]) -> Result<()> {
    let hosts = two_hosts()?;
    let round = Round { views: Views::of(&hosts)?, playing: Cell::default(), told: RefCell::default(), kept: RefCell::default(), hosts };
    let mut wrong = Vec::new();
    for (name, scenario) in scenarios {
        round.playing.set(name);
        if let Err(error) = scenario(&round) {
            wrong.push(format!("{name}: {error}"));
        }
    }
    let Round { views, told, kept, hosts, .. } = round;
    let (client, server) = (views.client.stop()?, views.server.stop()?);
    for Told { scenario, flow, truth } in told.into_inner() {
        wrong.extend(findings(scenario, "client", &client, flow, &truth.client));
        wrong.extend(findings(scenario, "server", &server, flow.reversed(), &truth.server));
    }
    drop((kept, hosts));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

impl Round {
    /// What either host has to say about one connection, which is `flow` to the client's host;
    /// returns once both have said so much.
    ///
    /// # Errors
    ///
    /// [`crate::LabError::Agent`] when an agent misses a reset.
    pub fn tell(&self, flow: Flow, truth: Truth) -> Result<()> {
        let counts = (truth.client.len(), truth.server.len());
        self.told.borrow_mut().push(Told { scenario: self.playing.get(), flow, truth });
        self.views.client.wait_for_resets(flow, counts.0)?;
        self.wait_for_server(flow, counts.1)
    }

    /// Waits until the server's host has said so much of a connection, which is `flow` to the
    /// client's.
    ///
    /// # Errors
    ///
    /// [`crate::LabError::Agent`] when it does not.
    pub fn wait_for_server(&self, flow: Flow, count: usize) -> Result<()> {
        self.views.server.wait_for_resets(flow.reversed(), count)
    }

    /// Leaves one end of a connection open until the agents have ended: closing it would be one
    /// more event.
    pub fn keep(&self, end: TcpStream) {
        self.kept.borrow_mut().push(end);
    }
}
