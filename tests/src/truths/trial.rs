//! Trials: a connection through a router is torn down by somebody, and the agent on the host that
//! lost it says by whom.

use std::{io::Read, net::TcpStream, os::fd::AsRawFd as _, time::Duration};

use serde_json::Value;
use socket2::SockRef;

use super::{table, truth::Truth};
use crate::{
    LabError, Result,
    agents::agent::Agent,
    command::while_nothing_starts,
    hosts::{
        flow::Flow,
        net::{Host, Routed, routed},
        side::{Ip, Side},
    },
    peers::peer::{self, Connection},
    poll,
};

/// Exchanges before anything happens, so that there is something to compare a RST with.
const EXCHANGES: usize = 4;

/// How long after a RST the other end goes on: no synchronisation, but a part of the scenario.
const OWN_TIME: Duration = Duration::from_millis(20);

/// A silence after which no RST is an answer: longer than the longest delay of an acknowledgement
/// (`TCP_DELACK_MAX`, 200 ms), and than this many round trips.
const QUIET: Duration = Duration::from_millis(300);
const QUIET_ROUND_TRIPS: f64 = 4.0;

/// One message of such an exchange.
const MESSAGE: &[u8; 8] = b"bendnote";

/// A client and a server with a router between them, an agent on either host, and what was wrong so
/// far.
#[derive(Debug)]
pub struct Trial {
    name: &'static str,
    client: Agent,
    server: Agent,
    wrong: Vec<String>,
    /// Who was asked about which connection, and how many RSTs received it has to tell of.
    judged: Vec<(Side, Flow, usize)>,
    /// The hosts. Last, so that the agents end before their hosts do.
    pub net: Routed,
}

/// One connection of a trial.
#[derive(Debug)]
pub struct Case {
    /// Who loses it.
    pub side: Side,
    /// Over what.
    pub ip: Ip,
    /// The connection as the side that loses it sees it.
    pub flow: Flow,
    connection: Option<Connection>,
}

impl Trial {
    /// Builds the hosts, and starts the agents.
    ///
    /// # Errors
    ///
    /// As [`routed`] and [`crate::agents::agent::Options::start`].
    pub fn new(name: &'static str) -> Result<Self> {
        Self::on(name, routed()?, &[])
    }

    /// Starts the agents with more arguments on hosts that are there.
    ///
    /// # Errors
    ///
    /// As [`crate::agents::agent::Options::start`].
    pub fn on(name: &'static str, net: Routed, arguments: &[&str]) -> Result<Self> {
        let (client, server) = (Agent::on(&net.client).args(arguments), Agent::on(&net.server).args(arguments));
        let (client, server) = std::thread::scope(|scope| {
            let client = scope.spawn(|| client.start());
            let server = server.start();
            (client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), server)
        });
        Ok(Self { name, client: client?, server: server?, wrong: Vec::new(), judged: Vec::new(), net })
    }

    /// A host by its side.
    pub const fn host(&self, side: Side) -> &Host {
        match side {
            Side::Client => &self.net.client,
            Side::Server => &self.net.server,
        }
    }

    /// Connects client and server, and lets them talk for a while.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn open(&self, side: Side, ip: Ip) -> Result<Case> {
        let connection = Connection::open(&self.net.client, &self.net.server, ip.of(&self.net.server))?;
        Case::of(connection, side, ip)
    }

    /// Waits until the agent on the side that lost a connection tells of the RST it received, and
    /// compares that with the truth.
    ///
    /// # Errors
    ///
    /// As [`Agent::reset_of`].
    pub fn judge(&mut self, case: &Case, truth: &Truth) -> Result<Value> {
        self.judge_flow(case.side, case.ip, case.flow, truth)
    }

    /// [`Trial::judge`] for a connection that has no socket any more.
    ///
    /// # Errors
    ///
    /// As [`Agent::reset_of`].
    pub fn judge_flow(&mut self, side: Side, ip: Ip, flow: Flow, truth: &Truth) -> Result<Value> {
        let agent = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        let event = agent.reset_of(flow, "received")?;
        self.judged.push((side, flow, 1));
        let origin = event.get("origin").cloned().unwrap_or_default();
        let text = |member: &str| origin.get(member).and_then(Value::as_str);
        let kind = text("kind").unwrap_or_default();
        let confidence = origin.get("confidence").and_then(Value::as_f64).unwrap_or_default();
        let evidence = event.get("evidence").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let signals: Vec<&str> = evidence.iter().filter_map(|one| one.get("signal")?.as_str()).collect();
        // `cargo test -- --nocapture` gives a table of these.
        let open = if truth.open.is_some() { " (open)" } else { "" };
        println!("truth\t{}\t{side:?}\t{ip:?}\t{}{open}\t{kind}\t{confidence:.2}\t{}", self.name, truth.actual, signals.join(","));
        truth.record(self.name, side, ip, &event)?;
        let right = truth.is_told_by(&event);
        let expected = format!("{}{}", truth.actual, if truth.open.is_some() { " or unknown" } else { "" });
        table::record(self.name, &format!("{side:?} {ip:?}").to_lowercase(), &expected, Some(&event), right)?;
        if !right {
            self.wrong.push(format!("{side:?}'s view over {ip:?} is not {truth:?}:\n{event:#}"));
        }
        Ok(event)
    }

    /// Notes that nothing happened to a connection: [`Trial::finish`] finds no RST received on it.
    pub fn nothing_happened(&mut self, case: &Case) {
        println!("truth\t{}\t{:?}\t{:?}\tnothing\t\t\t", self.name, case.side, case.ip);
        self.judged.push((case.side, case.flow, 0));
    }

    /// Ends the agents, checks their books, and that each told of as many RSTs received on a
    /// connection as there were.
    ///
    /// # Errors
    ///
    /// As [`Agent::stop`].
    ///
    /// # Panics
    ///
    /// When any view was not the truth.
    #[track_caller]
    pub fn finish(self) -> Result<()> {
        let Self { name, client, server, mut wrong, judged, net } = self;
        for (side, agent) in [(Side::Client, client), (Side::Server, server)] {
            let received: Vec<Value> =
                agent.stop()?.resets().filter(|event| event.get("direction").is_some_and(|it| it == "received")).collect();
            for (_, flow, truth) in judged.iter().filter(|(judge, ..)| *judge == side) {
                let count = received.iter().filter(|event| flow.is_of(event)).count();
                if count != *truth {
                    wrong.push(format!("{side:?} told of {count} resets received of {} -> {}, and not {truth}", flow.local, flow.peer));
                }
            }
        }
        drop(net);
        assert!(wrong.is_empty(), "{name}: {} findings\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    }
}

impl Case {
    /// A case of a connection, after the ends have talked for a while.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn of(connection: Connection, side: Side, ip: Ip) -> Result<Self> {
        let flow = match side {
            Side::Client => peer::flow(&connection.client)?,
            Side::Server => peer::flow(&connection.server)?,
        };
        let case = Self { side, ip, flow, connection: Some(connection) };
        case.talk()?;
        Ok(case)
    }

    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| LabError::Client("the connection of this case was taken apart".to_owned()))
    }

    /// The end that loses the connection.
    ///
    /// # Errors
    ///
    /// [`LabError::Client`] after [`Case::take`].
    pub fn victim(&self) -> Result<&TcpStream> {
        let connection = self.connection()?;
        Ok(match self.side {
            Side::Client => &connection.client,
            Side::Server => &connection.server,
        })
    }

    /// The other end.
    ///
    /// # Errors
    ///
    /// [`LabError::Client`] after [`Case::take`].
    pub fn peer(&self) -> Result<&TcpStream> {
        let connection = self.connection()?;
        Ok(match self.side {
            Side::Client => &connection.server,
            Side::Server => &connection.client,
        })
    }

    /// The connection, to do with it what one likes.
    ///
    /// # Errors
    ///
    /// [`LabError::Client`] the second time.
    pub fn take(&mut self) -> Result<Connection> {
        self.connection.take().ok_or_else(|| LabError::Client("the connection of this case was taken apart".to_owned()))
    }

    /// Lets both ends say something in turn, a few times.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when what one says does not reach the other.
    pub fn talk(&self) -> Result<()> {
        for _ in 0..EXCHANGES {
            say(self.victim()?, self.peer()?)?;
            say(self.peer()?, self.victim()?)?;
        }
        Ok(())
    }

    /// Lets the end that loses the connection say something that need not arrive.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn victim_speaks(&self) -> Result<()> {
        peer::send(&mut self.victim()?, MESSAGE)
    }

    /// Lets the other end go on in its own time, which is longer than segments need to overtake one
    /// another, and say something that need not arrive.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn peer_talks_on(&self) -> Result<()> {
        std::thread::sleep(OWN_TIME);
        self.peer_speaks()
    }

    /// Waits until nobody has said anything for so long that no RST can be an answer.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`], or as [`Host::run`].
    pub fn wait_quiet(&self, trial: &Trial) -> Result<()> {
        let filter = self.filter(self.side);
        poll::until("silence on the connection", Duration::from_secs(15), || {
            let text = trial.host(self.side).run(&["ss", "--no-header", "--info", "--tcp", "--numeric", &filter])?;
            let silences: Vec<u128> = ["lastsnd:", "lastrcv:", "lastack:"]
                .iter()
                .filter_map(|name| text.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok()))
                .collect();
            let rtt_ms = text.split_ascii_whitespace().find_map(|word| word.strip_prefix("rtt:")?.split('/').next()?.parse::<f64>().ok());
            let round_trips = rtt_ms.and_then(|rtt| Duration::try_from_secs_f64(rtt / 1e3 * QUIET_ROUND_TRIPS).ok()).unwrap_or_default();
            let enough = QUIET.max(round_trips).as_millis();
            Ok((silences.len() == 3 && silences.iter().all(|silence| *silence > enough)).then_some(()))
        })
    }

    /// Lets the other end say something that need not arrive.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn peer_speaks(&self) -> Result<()> {
        peer::send(&mut self.peer()?, MESSAGE)
    }

    /// Waits until the kernel of the side that loses the connection has given it up.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`], or [`LabError::Client`] when it was not a RST that ended it.
    pub fn wait_reset(&self) -> Result<()> {
        match peer::wait_failure(self.victim()?)? {
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => Ok(()),
            other => Err(LabError::Client(format!("the connection ended otherwise: {other}"))),
        }
    }

    /// Selects the connection in `ss`, on the host of one side.
    pub fn filter(&self, on: Side) -> String {
        let (own, other) = if on == self.side { (self.flow.local, self.flow.peer) } else { (self.flow.peer, self.flow.local) };
        format!("sport = :{} and dport = :{}", own.port(), other.port())
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let connection = self.connection.take();
        // A child that starts now would keep the port of the listener in use.
        while_nothing_starts(|| drop(connection));
    }
}

/// One message, seen to arrive, and its acknowledgement too: a delayed one would be a segment that
/// nobody meant to send.
fn say(mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
    peer::send(&mut from, MESSAGE)?;
    let mut buffer = [0; MESSAGE.len()];
    to.set_read_timeout(Some(Duration::from_secs(15)))
        .and_then(|()| to.read_exact(&mut buffer))
        .and_then(|()| SockRef::from(to).set_tcp_quickack(true))
        .map_err(|error| LabError::io("read a message", error))?;
    poll::until("an acknowledgement", Duration::from_secs(15), || Ok((unacknowledged(from)? == 0).then_some(())))
}

/// Bytes sent and not acknowledged (tcp(7), `SIOCOUTQ`).
fn unacknowledged(stream: &TcpStream) -> Result<libc::c_int> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int, for which there is room.
    let failed = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if failed < 0 { Err(LabError::io("read SIOCOUTQ", std::io::Error::last_os_error())) } else { Ok(bytes) }
}
