//! A pika application in a process of its own, told one step at a time, so that it can be stopped,
//! killed or starved in between.

use std::{
    io::{BufRead, BufReader, Write},
    net::{IpAddr, SocketAddr},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::peer::{AMQP, AMQPS, VHOST};
use crate::{
    LabError, Result,
    command::{self, spawn},
    hosts::{flow::Flow, net::Host},
    workspace,
};

/// How long one step may take: longer than pika waits for heartbeats.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running application.
#[derive(Debug)]
pub struct Pika {
    /// Its process id.
    pub pid: u32,
    child: Child,
    talk: BufReader<UnixStream>,
}

/// Whom a client connects to, as whom, and with which heartbeat.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The broker, or what stands before it.
    pub to: SocketAddr,
    /// Seconds; 0 turns heartbeats off.
    pub heartbeat: u16,
    /// The virtual host.
    pub vhost: &'a str,
    /// The user and the password.
    pub user: (&'a str, &'a str),
    /// Over TLS.
    pub tls: bool,
}

/// A connection with a delivery that its client has not read.
#[derive(Debug, Clone, Copy)]
pub struct Unread {
    /// The connection, as the client's host sees it.
    pub flow: Flow,
    /// The bytes in its receive queue.
    pub bytes: u64,
    /// The connection of the same client by which the delivery was published, closed in order
    /// since.
    pub publisher: Flow,
}

impl Login<'static> {
    /// The guest, in [`VHOST`], with a heartbeat of 60 s.
    pub const fn at(broker: IpAddr) -> Self {
        Self { to: SocketAddr::new(broker, AMQP), heartbeat: 60, vhost: VHOST, user: ("guest", "guest"), tls: false }
    }

    /// The same over TLS.
    pub const fn over_tls(broker: IpAddr) -> Self {
        Self { to: SocketAddr::new(broker, AMQPS), tls: true, ..Self::at(broker) }
    }
}

impl Pika {
    /// Starts an application on a host.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when Python cannot be started.
    pub fn start(host: &Host) -> Result<Self> {
        let io = |error| LabError::io("talk to a pika application", error);
        let (talk, other) = UnixStream::pair().map_err(io)?;
        talk.set_read_timeout(Some(PATIENCE)).map_err(io)?;
        let stdout = OwnedFd::from(other.try_clone().map_err(io)?);
        let mut command = host.command(workspace::python());
        command.args(["-c", include_str!("clients/pika_driven.py")]);
        let child = spawn(command.stdin(OwnedFd::from(other)).stdout(stdout).stderr(Stdio::null()))?;
        // `ip netns exec` becomes the program.
        Ok(Self { pid: child.id(), child, talk: BufReader::new(talk) })
    }

    /// Connects, opens a channel, and tells which connection that is, as its host sees it.
    ///
    /// # Errors
    ///
    /// As [`Pika::ask`].
    pub fn connect(&mut self, login: &Login<'_>) -> Result<Flow> {
        flow(&self.ask(&login.told("connect"))?)
    }

    /// Connects in vain, and tells of which connection, and of the exception.
    ///
    /// # Errors
    ///
    /// As [`Pika::answer`]; [`LabError::Client`] when it succeeds.
    pub fn fail_to_connect(&mut self, login: &Login<'_>) -> Result<(Flow, String)> {
        self.tell(&login.told("connect"))?;
        let answer = self.answer()?;
        let error = answer.get("error").and_then(Value::as_str);
        let error = error.ok_or_else(|| LabError::Client(format!("pika connected: {answer}")))?;
        Ok((flow(&answer)?, error.to_owned()))
    }

    /// Connects, consumes, and leaves a delivery unread.
    ///
    /// # Errors
    ///
    /// As [`Pika::ask`].
    pub fn leave_unread(&mut self, login: &Login<'_>) -> Result<Unread> {
        let answer = self.ask(&login.told("consume"))?;
        let bytes = answer.get("unread").and_then(Value::as_u64).filter(|unread| *unread > 0);
        let bytes = bytes.ok_or_else(|| LabError::Client(format!("pika has nothing unread: {answer}")))?;
        Ok(Unread { flow: flow(&answer)?, bytes, publisher: flow(answer.get("publisher").unwrap_or(&answer))? })
    }

    /// Tells the application to do something that needs no more words.
    ///
    /// # Errors
    ///
    /// As [`Pika::ask`].
    pub fn act(&mut self, what: &str) -> Result<Value> {
        self.ask(&json!({"do": what}))
    }

    /// Publishes to a queue by its name. Whether anything arrives there is not asked.
    ///
    /// # Errors
    ///
    /// As [`Pika::ask`].
    pub fn publish(&mut self, queue: &str, body: &str) -> Result<()> {
        self.ask(&json!({"do": "publish", "queue": queue, "body": body})).map(drop)
    }

    /// Tells the application to end, and waits until it has.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`] when it lives on.
    pub fn end(&mut self, how: &str) -> Result<()> {
        self.tell(&json!({"do": how}))?;
        self.wait()
    }

    /// Tells the application to do something, and waits until it has.
    ///
    /// # Errors
    ///
    /// [`LabError::Client`] when that fails, else as [`Pika::answer`].
    pub fn ask(&mut self, what: &Value) -> Result<Value> {
        self.tell(what)?;
        let answer = self.answer()?;
        match answer.get("error") {
            None => Ok(answer),
            Some(error) => Err(LabError::Client(format!("pika, told {what}: {error}"))),
        }
    }

    /// Tells the application to do something.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it is gone.
    pub fn tell(&mut self, what: &Value) -> Result<()> {
        let told = self.talk.get_mut().write_all(format!("{what}\n").as_bytes());
        told.map_err(|error| LabError::io(format!("tell pika to {what}"), error))
    }

    /// The answer to what it was told.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it does not answer within a minute, [`LabError::Client`] when it
    /// answers no JSON.
    pub fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.talk.read_line(&mut line).map_err(|error| LabError::io("hear a pika application", error))?;
        serde_json::from_str(&line).map_err(|_| LabError::Client(format!("pika answered {line:?}")))
    }

    /// Sends the application a signal.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        command::signal(self.pid, signal)
    }

    /// Waits for the end of the application.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`] when it lives on.
    pub fn wait(&mut self) -> Result<()> {
        command::wait(&mut self.child, "pika", PATIENCE).map(drop)
    }
}

impl Drop for Pika {
    fn drop(&mut self) {
        // It has played its part; only its end matters.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Login<'_> {
    /// As a command of the application.
    fn told(&self, what: &str) -> Value {
        let (user, password) = self.user;
        json!({
            "do": what, "host": self.to.ip().to_string(), "port": self.to.port(), "heartbeat": self.heartbeat, "vhost": self.vhost,
            "user": user, "password": password, "tls": self.tls,
        })
    }
}

fn flow(answer: &Value) -> Result<Flow> {
    let end = |side: &str| -> Option<SocketAddr> {
        let end = answer.get(side)?;
        Some(SocketAddr::new(end.get(0)?.as_str()?.parse().ok()?, u16::try_from(end.get(1)?.as_u64()?).ok()?))
    };
    let (local, peer) = end("local").zip(end("peer")).ok_or_else(|| LabError::Client(format!("pika answered {answer}")))?;
    Ok(Flow::new(local, peer))
}
