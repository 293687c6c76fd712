//! Connections through a proxy, both halves of them, between three hosts: a client, a proxy host
//! and a broker.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use crate::{
    LabError, Result,
    brokers::broker::Broker,
    hosts::{
        flow::Flow,
        net::{Host, Routed, routed},
        router::CLIENT_LAN,
        side::Ip,
    },
    peers::{
        peer::AMQP,
        pika::{Login, Pika},
    },
    poll,
};

/// Three hosts in a row, with `RabbitMQ` on the last. Proxies run on the one in the middle.
#[derive(Debug)]
pub struct Chain {
    /// The broker.
    pub broker: Broker,
    /// One connection at a time is opened, so that its second half is the one that was not there
    /// before.
    opening: Mutex<()>,
    next: AtomicU8,
    /// Client, proxy host (the router) and broker's host. Last, so that everything ends before they
    /// do.
    pub hosts: Routed,
}

/// A connection of a client through a proxy, as each host sees it.
#[derive(Debug, Clone, Copy)]
pub struct Halves {
    /// The first half, on the client's host.
    pub client: Flow,
    /// The first half, on the proxy's host.
    pub front: Flow,
    /// The second half, on the proxy's host.
    pub back: Flow,
    /// The second half, on the broker's host.
    pub broker: Flow,
}

impl Chain {
    /// Builds the hosts, and starts the broker.
    ///
    /// # Errors
    ///
    /// As [`routed`] and [`Broker::start_furnished`].
    pub fn new() -> Result<Self> {
        let hosts = routed()?;
        Ok(Self { broker: Broker::start_furnished(&hosts.server)?, opening: Mutex::default(), next: AtomicU8::new(20), hosts })
    }

    /// One more address of the proxy host on the client's LAN, for a proxy of its own.
    ///
    /// # Errors
    ///
    /// As [`Host::run`].
    pub fn front(&self, ip: Ip) -> Result<IpAddr> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (address, prefix): (IpAddr, &str) = match ip {
            Ip::V4 => ([192, 0, 2, number].into(), "24"),
            Ip::V6 => ([0x2001, 0xdb8, 1, 0, 0, 0, 0, number.into()].into(), "64"),
        };
        let mut words = vec!["ip", "address", "add"];
        let text = format!("{address}/{prefix}");
        words.extend([text.as_str(), "dev", CLIENT_LAN]);
        if ip == Ip::V6 {
            words.push("nodad");
        }
        self.hosts.router.run(&words)?;
        Ok(address)
    }

    /// Lets a client connect to a proxy at `front`, without heartbeats, and tells which connections
    /// that are.
    ///
    /// # Errors
    ///
    /// As [`Pika::connect`]; [`LabError::Client`] when the proxy has not opened one connection to
    /// the broker.
    pub fn connect(&self, pika: &mut Pika, front: IpAddr) -> Result<Halves> {
        let _one_at_a_time = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let before: HashSet<Flow> = established(&self.hosts.router)?.into_iter().collect();
        let client = pika.connect(&Login { to: SocketAddr::new(front, AMQP), heartbeat: 0, ..Login::at(front) })?;
        let new: Vec<Flow> = established(&self.hosts.router)?.into_iter().filter(|flow| !before.contains(flow)).collect();
        match new.as_slice() {
            [back] => Ok(Halves { client, front: client.reversed(), back: *back, broker: back.reversed() }),
            other => Err(LabError::Client(format!("the proxy at {front} opened {} connections: {other:?}", other.len()))),
        }
    }
}

/// The established connections of a proxy host to brokers.
fn established(host: &Host) -> Result<Vec<Flow>> {
    let filter = format!("dport = :{AMQP}");
    let text = host.run(&["ss", "--no-header", "--numeric", "--tcp", "state", "established", &filter])?;
    let flows = text.lines().map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(2);
        let mut end = || columns.next()?.parse::<SocketAddr>().ok();
        Some(Flow::new(end()?, end()?))
    });
    flows.collect::<Option<_>>().ok_or_else(|| LabError::Client(format!("ss printed {text:?}")))
}

/// Waits until a host has been told by a FIN that its peer has nothing more to say.
///
/// # Errors
///
/// [`LabError::Timeout`], or as [`Host::run`].
pub fn wait_fin(host: &Host, flow: Flow, limit: Duration) -> Result<()> {
    let filter = format!("sport = :{} and dport = :{}", flow.local.port(), flow.peer.port());
    poll::until("a FIN", limit, || {
        let found = host.run(&["ss", "--no-header", "--numeric", "--tcp", "state", "close-wait", &filter])?;
        Ok((!found.trim().is_empty()).then_some(()))
    })
}

/// Waits until a host has nothing left of a connection.
///
/// # Errors
///
/// [`LabError::Timeout`], or as [`Host::run`].
pub fn wait_gone(host: &Host, flow: Flow, limit: Duration) -> Result<()> {
    let filter = format!("sport = :{} and dport = :{}", flow.local.port(), flow.peer.port());
    poll::until("a connection to be gone", limit, || {
        let left = host.run(&["ss", "--no-header", "--numeric", "--tcp", &filter])?;
        Ok(left.trim().is_empty().then_some(()))
    })
}
