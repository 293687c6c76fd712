//! A publisher and a broker, each a process, with one AMQP connection between them.

use std::{net::SocketAddr, time::Duration};

use super::actor::{Actor, Stage};
use crate::{LabError, Result, hosts::net::Host};

/// Both ends of an AMQP connection.
#[derive(Debug)]
pub struct Pair {
    client: Actor,
    server: Actor,
}

impl Pair {
    /// Connects them, and opens the AMQP connection.
    ///
    /// # Errors
    ///
    /// [`LabError::Client`] when one of them fails at that.
    pub fn open(stage: &Stage, client: &Host, server: &Host, address: SocketAddr) -> Result<Self> {
        let (mut client, mut server) = (stage.actor(client)?, stage.actor(server)?);
        server.ask(&format!("listen {address}"))?;
        client.ask(&format!("connect {address} 1"))?;
        server.ask("accept 1")?;
        server.tell("welcome 0 1")?;
        client.ask("open 0 1")?;
        server.answer()?;
        Ok(Self { client, server })
    }

    /// Publishes messages of so many bytes, each `window` of them confirmed before the next; how
    /// long that took.
    ///
    /// # Errors
    ///
    /// [`LabError::Client`] when one of them fails at that.
    pub fn publish(&mut self, messages: u32, body: usize, window: u32) -> Result<Duration> {
        self.server.tell(&format!("confirm 0 {messages} {body} {window}"))?;
        let took = self.client.ask(&format!("publish 0 {messages} {body} {window}"))?;
        self.server.answer()?;
        took.parse().map(Duration::from_nanos).map_err(|_| LabError::Client(format!("{took:?} is no time")))
    }
}
