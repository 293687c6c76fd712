//! Pairs of processes with an AMQP connection between them, of which one is about to leave it, on
//! two hosts that are each watched alone.

use std::{net::SocketAddr, time::Duration};

use super::{Said, Truth, Watch};
use crate::{
    Result,
    agents::agent::Agent,
    hosts::{
        flow::Flow,
        net::{Host, TwoHosts, two_hosts},
        side::{Ip, Side},
    },
    json,
    peers::{
        actor::{Actor, Stage},
        peer::AMQP,
    },
    poll,
    truths::expect,
};

/// Views of the host that one process leaves the connection on, and of the other one.
const DYING: &str = "its host";
const OTHER: &str = "the other host";

/// How long a kernel remembers a socket that its process has closed (`tcp_fin_timeout`), in
/// seconds.
const REMEMBERED: &str = "4";

/// When a peer speaks later: long after the settle window, and before its kernel forgets.
const LATER: Duration = Duration::from_millis(1500);

/// What the other end does once the connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing: it does not even close its socket.
    Silence,
    /// It sends a message as soon as it knows.
    AtOnce,
    /// It sends a message 1.5 s later. What is left of the socket has no owner by then.
    Later,
    /// It sends a message when nothing is left of the socket.
    WhenForgotten,
}

/// What the ending puts on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// A RST at once.
    Rst,
    /// A FIN, and nothing after it.
    Fin,
    /// A FIN, and a RST that answers what the other end says after it.
    RstAfterFin,
    /// Nothing that ends the TCP connection.
    Nothing,
}

/// One way to set the scene for an ending.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The end that leaves: who connected, or who listened.
    pub dies: Side,
    /// Over what.
    pub ip: Ip,
    /// The end that leaves has a message in its socket that it has not read.
    pub unread: bool,
    /// What the other end does.
    pub after: After,
}

/// A connection with a process at either end.
#[derive(Debug)]
pub struct Pair {
    /// The process that is about to leave.
    pub dying: Actor,
    /// The other one.
    pub other: Actor,
    /// The connection as the host of the first one sees it.
    pub flow: Flow,
    /// How the scene was set.
    pub case: Case,
    /// Who else must live on.
    kept: Vec<Actor>,
}

/// The hosts, the agents, and what happened so far.
#[derive(Debug)]
pub struct Pairs {
    watch: Watch,
    /// Starts processes.
    pub stage: Stage,
    /// Processes that must not end before the agents do: that would be one more ending.
    kept: Vec<Actor>,
    /// The other ends that still have something to say, and on which connections.
    later: Vec<(Actor, Case, Flow)>,
    /// The hosts. Last, so that everything ends before they do.
    hosts: TwoHosts,
}

impl Case {
    /// With and without unread data, with every [`After`] that makes a difference.
    pub fn all(dies: Side, ip: Ip) -> [Self; 6] {
        [
            (true, After::Silence),
            (true, After::AtOnce),
            (false, After::Silence),
            (false, After::AtOnce),
            (false, After::Later),
            (false, After::WhenForgotten),
        ]
        .map(|(unread, after)| Self { dies, ip, unread, after })
    }

    /// What Linux puts on the wire when a TCP socket is closed, by its process or at its end.
    pub const fn wire(self) -> Wire {
        match (self.unread, self.after) {
            (true, _) => Wire::Rst,
            (false, After::Silence) => Wire::Fin,
            (false, _) => Wire::RstAfterFin,
        }
    }

    /// For the name of a scenario.
    fn describe(self) -> String {
        let Self { dies, ip, unread, after } = self;
        let role = if dies == Side::Client { "client" } else { "broker" };
        format!("{role}, {ip:?}, {}, {after:?}", if unread { "unread" } else { "all read" })
    }
}

impl Pair {
    /// Lets a process live on until the agents have ended.
    pub fn keep(&mut self, actor: Actor) {
        self.kept.push(actor);
    }
}

impl Pairs {
    /// Builds the hosts, and starts the agents. `program` is `env!("CARGO_BIN_EXE_actor")` of a
    /// test.
    ///
    /// # Errors
    ///
    /// As [`two_hosts`], [`Stage::new`] and [`Watch::start`]. `dies` is the side that will leave.
    pub fn new(name: &'static str, program: &str, dies: Side) -> Result<Self> {
        let hosts = two_hosts()?;
        let (dying, other) = match dies {
            Side::Client => (&hosts.client, &hosts.server),
            Side::Server => (&hosts.server, &hosts.client),
        };
        let forget = format!("net.ipv4.tcp_fin_timeout={REMEMBERED}");
        dying.run(&["sysctl", "--quiet", "--write", &forget])?;
        // Each ending is looked for, so that none may be folded away.
        let watch = Watch::start(name, vec![(DYING, Agent::on(dying).whole()), (OTHER, Agent::on(other).whole())])?;
        Ok(Self { watch, stage: Stage::new(program)?, kept: Vec::new(), later: Vec::new(), hosts })
    }

    /// Two processes, with AMQP open between them.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`].
    pub fn open(&self, case: Case) -> Result<Pair> {
        self.open_between(case, &[], &[])
    }

    /// The same with a client that asks for MPTCP, and a broker that knows it or does not.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`].
    pub fn open_mptcp(&self, case: Case, both: bool) -> Result<Pair> {
        self.open_between(case, &["mptcp"], if both { &["mptcp"] } else { &[] })
    }

    fn open_between(&self, case: Case, client_first: &[&str], server_first: &[&str]) -> Result<Pair> {
        let address = SocketAddr::new(case.ip.of(&self.hosts.server), AMQP);
        let (mut client, mut server) = (self.stage.actor(&self.hosts.client)?, self.stage.actor(&self.hosts.server)?);
        client_first.iter().try_for_each(|command| client.ask(command).map(drop))?;
        server_first.iter().try_for_each(|command| server.ask(command).map(drop))?;
        server.ask(&format!("listen {address}"))?;
        let local = client.connect(address, 1)?;
        let flow = Flow::new(local.first().copied().unwrap_or(address), address);
        server.accept(1)?;
        // For the next pair.
        server.ask("stop_listening")?;
        server.tell("welcome 0 1")?;
        client.ask("open 0 1")?;
        server.answer()?;
        let (mut dying, mut other, flow) = match case.dies {
            Side::Client => (client, server, flow),
            Side::Server => (server, client, flow.reversed()),
        };
        if case.unread {
            other.ask(speak(case))?;
            dying.ask("unread 0 1 100")?;
        }
        Ok(Pair { dying, other, flow, case, kept: Vec::new() })
    }

    /// The host on which one process leaves.
    pub const fn host_of(&self, dies: Side) -> &Host {
        match dies {
            Side::Client => &self.hosts.client,
            Side::Server => &self.hosts.server,
        }
    }

    /// One end has left: lets the other do what it does, and notes what both hosts have to say.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`].
    pub fn ended(&mut self, scenario: &str, pair: Pair, truth: Truth) -> Result<()> {
        let wire = pair.case.wire();
        self.ended_by(scenario, pair, wire, truth)
    }

    /// The same, where the wire is not that of a TCP socket.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`].
    pub fn ended_by(&mut self, scenario: &str, pair: Pair, wire: Wire, truth: Truth) -> Result<()> {
        let Pair { dying, mut other, flow, case, kept } = pair;
        self.kept.extend(kept);
        // It learns of it by a FIN or by a RST: end of file, or an error.
        other.ask("read 0")?;
        let said = match wire {
            Wire::Rst | Wire::RstAfterFin => Said::Reset,
            Wire::Fin => Said::Ended,
            Wire::Nothing => Said::Perhaps,
        };
        let scenario = format!("{scenario}, {}", case.describe());
        self.watch.told(&scenario, DYING, flow, said(truth));
        self.watch.told(&scenario, OTHER, flow.reversed(), said(seen_by_the_other(case, wire)));
        self.kept.push(dying);
        match case.after {
            After::Silence => self.kept.push(other),
            After::AtOnce => {
                // Refused after a RST, and then nothing more is on the wire.
                let _ = other.ask(speak(case));
                self.kept.push(other);
            }
            After::Later | After::WhenForgotten => self.later.push((other, case, flow)),
        }
        Ok(())
    }

    /// Lets those speak who speak later, and compares what both hosts said with the truth.
    ///
    /// # Errors
    ///
    /// As [`Actor::ask`] and [`Watch::finish`].
    #[track_caller]
    pub fn finish(self) -> Result<()> {
        let Self { watch, stage, mut kept, later, hosts } = self;
        // No synchronisation, but the scenario itself.
        std::thread::sleep(LATER);
        let (later, forgotten): (Vec<_>, Vec<_>) = later.into_iter().partition(|(_, case, _)| case.after == After::Later);
        for (mut other, case, _) in later {
            other.ask(speak(case))?;
            kept.push(other);
        }
        for (mut other, case, flow) in forgotten {
            let host = if case.dies == Side::Client { &hosts.client } else { &hosts.server };
            let filter = format!("sport = :{} and dport = :{}", flow.local.port(), flow.peer.port());
            poll::until("a kernel to forget a connection", Duration::from_secs(15), || {
                let left = host.run(&["ss", "--no-header", "--numeric", "--tcp", "--all", &filter])?;
                Ok(left.trim().is_empty().then_some(()))
            })?;
            other.ask(speak(case))?;
            kept.push(other);
        }
        watch.finish()?;
        drop((kept, stage, hosts));
        Ok(())
    }
}

/// What the end that goes on says.
const fn speak(case: Case) -> &'static str {
    match case.dies {
        Side::Client => "deliver 0 1",
        Side::Server => "publish_one 0 1",
    }
}

/// A peer that is gone, without a word of AMQP: it can be its process, its host, or something
/// between.
fn seen_by_the_other(case: Case, wire: Wire) -> Truth {
    let role = if case.dies == Side::Client { "broker" } else { "client" };
    let cause = if wire == Wire::Rst { "peer_aborted" } else { "peer_gone" };
    Truth::new(json!({
        "severity": ["warning", "error"], "cause": {"id": cause}, "origin": {"kind": ["remote_peer", "unknown"]},
        "amqp": {"version": "0-9-1", "role": role, "phase": expect::open(), "heartbeat_s": 60, "close": null},
    }))
}
