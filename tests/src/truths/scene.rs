//! One host with an agent on it, and actors that talk over its loopback interface.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::expect;
use crate::{
    Result,
    agents::{agent::Agent, record::Record},
    hosts::{
        flow::Flow,
        net::{Host, lone_host},
    },
    peers::{
        actor::{Actor, Stage},
        peer::AMQP,
    },
};

/// What most owner scenarios need.
#[derive(Debug)]
pub struct Scene {
    /// Sees this host only.
    pub agent: Agent,
    /// Starts actors.
    pub stage: Stage,
    /// Where all of it happens.
    pub host: Host,
}

/// A connection between two actors. What each end calls it depends on how many it had before.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// As the host of the end that connected sees it.
    pub client: Flow,
    /// As the host of the end that was accepted sees it.
    pub server: Flow,
}

impl Scene {
    /// A host, an agent, and a stage for actors that run `program`.
    ///
    /// # Errors
    ///
    /// As [`lone_host`], [`Stage::new`] and [`crate::agents::agent::Options::start`].
    pub fn new(program: &str) -> Result<Self> {
        let host = lone_host()?;
        Ok(Self { stage: Stage::new(program)?, agent: Agent::on(&host).start()?, host })
    }

    /// A new actor on the host.
    ///
    /// # Errors
    ///
    /// As [`Stage::actor`].
    pub fn actor(&self) -> Result<Actor> {
        self.stage.actor(&self.host)
    }

    /// Where servers of the host listen.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.v4(), AMQP)
    }

    /// A new actor that listens.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`].
    pub fn server(&self) -> Result<Actor> {
        let mut server = self.actor()?;
        server.ask(&format!("listen {}", self.address()))?;
        Ok(server)
    }

    /// Lets `client` connect without anybody accepting.
    ///
    /// # Errors
    ///
    /// As [`Actor::connect`].
    pub fn knock(&self, client: &mut Actor) -> Result<Link> {
        let local = client.connect(self.address(), 1)?;
        let flow = Flow::new(local.first().copied().unwrap_or(self.address()), self.address());
        Ok(Link { client: flow, server: flow.reversed() })
    }

    /// Lets `client` connect, and `server` accept.
    ///
    /// # Errors
    ///
    /// As [`Actor::connect`] and [`Actor::accept`].
    pub fn link(&self, client: &mut Actor, server: &mut Actor) -> Result<Link> {
        let link = self.knock(client)?;
        server.accept(1)?;
        Ok(link)
    }

    /// Waits for the reset of a connection in one direction, and asserts that it says at least what
    /// `truth` does.
    ///
    /// # Errors
    ///
    /// As [`Agent::reset_of`].
    #[track_caller]
    pub fn tells(&self, flow: Flow, direction: &str, truth: &Value) -> Result<Value> {
        let event = self.agent.reset_of(flow, direction)?;
        expect::check(direction, &event, truth);
        Ok(event)
    }

    /// [`Scene::tells`] of the owner alone.
    ///
    /// # Errors
    ///
    /// As [`Agent::reset_of`].
    #[track_caller]
    pub fn names(&self, flow: Flow, direction: &str, owner: &Actor) -> Result<Value> {
        self.tells(flow, direction, &json!({"process": {"pid": owner.pid}}))
    }

    /// Stops the agent, and checks its books.
    ///
    /// # Errors
    ///
    /// As [`Agent::stop`].
    pub fn stop(self) -> Result<Record> {
        self.agent.stop()
    }
}
