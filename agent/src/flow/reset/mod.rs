//! One reset as a plain value: what the kernel reported, decoded and joined, before anybody is
//! blamed.

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    ending::{Act, FirstAct, Leg},
    idle::Learnt,
    sender::LocalSender,
    wire::Wire,
};
use crate::{
    amqp::Conversation,
    host::process::ProcessFacts,
    model::{ConnectionKey, Direction, Flags, KnownFrom, ProcessEnd, Role, Task, TcpState, Tuple},
};

/// Why the kernel sent a RST, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `enum sk_rst_reason` as the running kernel numbers it.
    pub code: u32,
    /// Its name without the `SK_RST_REASON_` prefix, where the running kernel tells it.
    pub name: Option<String>,
}

/// What kind of socket the kernel held when it sent a RST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// None: nobody listens, or the connection is long gone.
    None,
    /// A listener, or a request that waits for the last step of its handshake.
    Listener,
    /// TIME_WAIT, or FIN_WAIT2 without an owner.
    TimeWait,
    /// A connection.
    Connection,
    /// A socket whose kind this kernel does not let us see.
    Unseen,
}

/// The segment that a RST answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub seq: u32,
    pub ack: u32,
    /// Those of the byte that the kernel keeps: no AE.
    pub flags: Flags,
}

impl Trigger {
    /// Whether it asked for a new connection.
    pub const fn opens(self) -> bool {
        self.flags.opens()
    }

    /// Whether it carried payload, as far as its flags tell: stacks set PSH on the last segment of
    /// what was written.
    pub const fn carries_data(self) -> bool {
        self.flags.has(Flags::PSH)
    }

    /// Whether it closed its sender's half.
    pub const fn closes(self) -> bool {
        self.flags.fin()
    }
}

/// Options and state of a full socket.
#[expect(clippy::struct_excessive_bools, reason = "flags of the kernel's, independent of each other")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketFacts {
    /// `SO_LINGER` with a timeout of zero.
    pub linger_zero: bool,
    /// `SO_KEEPALIVE`.
    pub keepalive: bool,
    /// The peer's FIN was processed.
    pub fin_received: bool,
    /// No file refers to the socket any more (`SOCK_DEAD`).
    pub orphan: bool,
    /// The socket belongs, or belonged, to a process: it was accepted, or created by one.
    pub owned: bool,
    /// Inode number of the socket's file.
    pub inode: Option<u64>,
    /// User that created the socket.
    pub uid: u32,
}

/// Counters and clocks of a full socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpFacts {
    /// Next sequence number expected from the peer.
    pub rcv_nxt: u32,
    /// Next sequence number to be sent.
    pub snd_nxt: u32,
    /// Received and not read by the owner.
    pub unread_bytes: u32,
    /// Written by the owner and not acknowledged.
    pub unacknowledged_bytes: u32,
    /// Payload received in order.
    pub bytes_received: u64,
    /// Payload sent, each byte counted once.
    pub bytes_sent: u64,
    /// Payload sent and not acknowledged.
    pub bytes_in_flight: u32,
    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Smallest round-trip time.
    pub min_rtt: Option<Duration>,
    pub retransmits: u32,
    /// Since the last payload received; `None` when none was.
    pub since_received: Option<Duration>,
    /// Since the last payload sent; `None` when none was.
    pub since_sent: Option<Duration>,
    /// Since the last payload or acknowledgement from the peer.
    pub since_heard: Option<Duration>,
}

impl TcpFacts {
    /// Since the last payload of either end; `None` when none went either way.
    pub fn quiet(&self) -> Option<Duration> {
        match (self.since_received, self.since_sent) {
            (Some(received), Some(sent)) => Some(received.min(sent)),
            (one, other) => one.or(other),
        }
    }
}

/// What was remembered of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Since the handshake finished; `None` if that was before the agent started.
    pub age: Option<Duration>,
    /// This host opened the connection.
    pub active_open: bool,
}

/// The same reset at the other end of the connection, on this host too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Its id.
    pub id: String,
    /// Which way it went, seen from there.
    pub direction: Direction,
    /// It was sent there without being asked.
    pub active: bool,
    /// The process that owned that end: id, name, path of the executable.
    pub process: Option<(u32, String, Option<String>)>,
}

/// A reset of the same connection, a moment before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Its id.
    pub id: String,
    pub ago: Duration,
    /// It belonged to normal operation.
    pub routine: bool,
}

/// A segment came in from one address at the own end of a connection that goes to another: what
/// translates the one into the other on the way did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// Of the RST that answered it: the peer of that connection. Of the connection: where the
    /// segment came from.
    pub other: SocketAddr,
    /// Of the connection, the RST that answered it.
    pub earlier: Option<Earlier>,
}

/// One reset, or the end of a connection without one.
#[expect(clippy::struct_excessive_bools, reason = "independent of each other")]
#[derive(Clone, Debug)]
pub struct Reset {
    /// Unique for this host and boot.
    pub id: String,
    pub timestamp: Timestamp,
    /// `CLOCK_BOOTTIME`, ns.
    pub boottime_ns: u64,
    pub direction: Direction,
    pub tuple: Tuple,
    pub role: Role,
    pub netns: Option<u32>,
    /// What iproute2 or a CNI plugin named the namespace.
    pub netns_name: Option<String>,
    /// Sent without being asked: close(), abort, a timer. The opposite is an answer to a segment.
    pub active: bool,
    pub socket_kind: SocketKind,
    /// State before the reset; an aborting socket is CLOSE when its RST goes out, and that is never
    /// stored here.
    pub state: Option<TcpState>,
    /// The socket was already CLOSE when the kernel sent the RST: only close() and disconnect() do
    /// it in that order.
    pub closed_first: bool,
    pub reason: Option<Reason>,
    pub trigger: Option<Trigger>,
    pub socket: Option<SocketFacts>,
    pub tcp: Option<TcpFacts>,
    pub connection: Option<Connection>,
    /// The task in whose context an active RST was made, where there was one.
    pub actor: Option<Task>,
    /// The process remembered for the connection: it connected, or it sent this host's FIN.
    pub remembered: Option<(Task, KnownFrom)>,
    /// Identity of the socket; 0 without one.
    pub sock: u64,
    /// The process that closed the socket after the reset.
    pub closed_later: Option<Task>,
    /// Processes that held the socket together, where there were several and none of them is known
    /// to have ended the connection.
    pub shared_by: Vec<Arc<ProcessFacts>>,
    /// The process that ended the connection, or that owned it, as far as the host knows it.
    pub process: Option<(Arc<ProcessFacts>, KnownFrom)>,
    pub pair: Option<Pair>,
    /// Of a RST that was received: the socket of this host that sent it in the peer's name.
    pub sender: Option<Box<LocalSender>>,
    /// Of a RST that came over the loopback interface in the name of another host: whether a TCP of
    /// this one made it. `None` where that is not known.
    pub made_by_tcp: Option<bool>,
    /// What the wire showed of the RST and of the packets around it.
    pub wire: Option<Box<Wire>>,
    /// Of a RST that was sent: how it left, and the packets around it.
    pub left: Option<Box<Wire>>,
    /// It left, and this kernel's TCP did not make it.
    pub unannounced: bool,
    /// What was seen of the AMQP conversation.
    pub amqp: Option<Box<Conversation>>,
    /// The reset of the same connection that this one followed, if it was a moment before.
    pub earlier: Option<Box<Earlier>>,
    /// A translation of addresses on the way does not cover the connection any more.
    pub bypass: Option<Box<Bypass>>,
    /// The kernel did not act on the RST.
    pub ignored: bool,
    /// There is no RST: the connection ended by its first act alone.
    pub ended: bool,
    /// Who ended the connection first, where that was another act than the RST.
    pub first_act: Option<Arc<FirstAct>>,
    /// The connection of the same process that ended together with this one.
    pub other_leg: Option<Box<Leg>>,
    /// Name of the load balancer or proxy that the configuration says the peer address is.
    pub known_middlebox: Option<String>,
    /// What earlier resets of the same destination gave away of an idle timeout on the way.
    pub learnt_idle: Option<Box<Learnt>>,
    /// Where it stands in a capture; `None` live.
    pub capture: Option<Box<CapturePosition>>,
}

/// Where a RST stands in a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturePosition {
    /// Name of the file as it was given.
    pub file: String,
    /// Number of the frame, counted from 1.
    pub frame: u64,
    /// How it is known which end is local.
    pub local_known: LocalKnown,
}

/// How it is known which end of a captured connection is local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalKnown {
    /// The command line says so.
    Told,
    /// The capture marks packets as leaving or arriving.
    PacketType,
    /// The packets of one end had not passed a router.
    FreshTtl,
    /// It is the end of many connections of the file, or its other connections show how near it is.
    Shared,
    /// It is not: the end that the RST was sent to is taken for local.
    Assumed,
}

impl Reset {
    /// What its connection is known by.
    pub fn key(&self) -> ConnectionKey {
        ConnectionKey { tuple: self.tuple, netns: self.netns.unwrap_or(0) }
    }

    /// The first act that a record of an end tells of.
    pub fn first_act_as(&self, act: Act) -> FirstAct {
        FirstAct {
            id: self.id.clone(),
            told: false,
            act,
            at_ns: self.boottime_ns,
            silence: self.tcp.as_ref().and_then(TcpFacts::quiet),
            actor: self
                .remembered
                .as_ref()
                .filter(|(_, from)| act.is_local_close() && *from == KnownFrom::Close)
                .map(|(task, _)| task.clone()),
            process: self.process.clone(),
            amqp: self.amqp.clone(),
            learnt_idle: None,
        }
    }

    /// A reset of which nothing is known but when it happened, to which connection, and which way
    /// it went.
    pub const fn bare(id: String, timestamp: Timestamp, direction: Direction, tuple: Tuple, role: Role) -> Self {
        Self {
            id,
            timestamp,
            boottime_ns: 0,
            direction,
            tuple,
            role,
            netns: None,
            netns_name: None,
            active: false,
            socket_kind: SocketKind::Unseen,
            state: None,
            closed_first: false,
            reason: None,
            trigger: None,
            socket: None,
            tcp: None,
            connection: None,
            actor: None,
            remembered: None,
            sock: 0,
            closed_later: None,
            shared_by: Vec::new(),
            process: None,
            pair: None,
            sender: None,
            made_by_tcp: None,
            wire: None,
            left: None,
            unannounced: false,
            amqp: None,
            earlier: None,
            bypass: None,
            ignored: false,
            ended: false,
            first_act: None,
            other_leg: None,
            known_middlebox: None,
            learnt_idle: None,
            capture: None,
        }
    }

    /// A RST that came over the loopback interface in the name of a peer whose address is not one
    /// of this host's: this host redirects what goes to that address, and something of it answers.
    pub fn came_over_loopback(&self) -> bool {
        self.pair.is_none() && self.is_redirected()
    }

    /// The socket that answered, where it has the peer's address although that is not this host's:
    /// a transparent proxy's (`IP_TRANSPARENT`, ip(7)).
    pub fn stand_in(&self) -> Option<LocalSender> {
        let pair = self.pair.as_ref().filter(|pair| pair.direction == Direction::Sent && self.is_redirected())?;
        let task = |(pid, name, _): &(u32, String, Option<String>)| Task {
            pid: *pid,
            start_boottime_ns: None,
            comm: name.clone(),
            uid: 0,
            end: None,
        };
        let task = pair.process.as_ref().filter(|_| pair.active).map(task);
        Some(LocalSender { end: self.tuple.peer, netns: self.netns, task, process: None, apart: Duration::ZERO })
    }

    fn is_redirected(&self) -> bool {
        let way = self.wire.as_ref().and_then(|wire| wire.way.as_ref());
        way.is_some_and(|way| way.interface.as_deref() == Some("lo") && !way.peer_is_local)
    }

    /// The watched port, on whichever side it is.
    pub const fn service_port(&self) -> u16 {
        match self.role {
            Role::Broker => self.tuple.local.port(),
            Role::Client => self.tuple.peer.port(),
        }
    }

    /// Name of the kernel's reason, where it has one to give.
    pub fn reason_name(&self) -> Option<&str> {
        self.reason.as_ref().and_then(|reason| reason.name.as_deref())
    }

    /// The task that closed the connection, if the reset proves that it ran in its owner's context.
    ///
    /// Only `__tcp_close()` and `tcp_disconnect()` put the socket in CLOSE before they send the
    /// RST, and both run in the context of whoever closes
    /// (<https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>). Timers, `tcp_abort()` and
    /// every answer to a segment do not.
    ///
    /// Multipath TCP resets its subflows before it closes them, in the same context or in a
    /// worker's, which is no task here (mptcp_do_fastclose(),
    /// <https://github.com/torvalds/linux/blob/v6.12/net/mptcp/protocol.c>).
    pub fn closer(&self) -> Option<&Task> {
        let closes = self.closed_first || self.reason_name() == Some("TCP_ABORT_ON_CLOSE");
        self.actor.as_ref().filter(|_| self.active && closes)
    }

    /// The task that had the kernel destroy the socket from outside (`SOCK_DESTROY`,
    /// `bpf_sock_destroy()`): tcp_abort() sends the RST in its context, and before the socket is
    /// closed (<https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>). Timers, which have
    /// the same order and reason, run for orphans only.
    pub fn destroyer(&self) -> Option<&Task> {
        let outside = self.active && !self.closed_first && self.reason_name() == Some("TCP_STATE");
        let held = self.socket.as_ref().is_some_and(|socket| !socket.orphan);
        self.actor.as_ref().filter(|_| outside && held)
    }

    /// The task that closed the connection, and the user that made its socket, where that is
    /// another. Root's sockets are handed to others as a matter of course (socket activation), and
    /// 0 is also what stands where the kernel does not tell.
    pub fn foreign_closer(&self) -> Option<(&Task, u32)> {
        let maker = self.socket.as_ref().map(|socket| socket.uid).filter(|uid| *uid != 0)?;
        self.closer().filter(|task| task.uid != maker).map(|task| (task, maker))
    }

    /// The process known to have held the socket: it ended the connection, or closed it before the
    /// reset, by the reset, or after it.
    ///
    /// The worker of Multipath TCP closes for a process that was killed, and its sockets are not
    /// marked as orphans.
    ///
    /// Who sent the FIN by shutdown(2) need not have been the last to hold it: while a file refers
    /// to the socket, somebody does.
    pub fn holder(&self) -> Option<&Task> {
        if let Some(actor) = self.first_act.as_ref().and_then(|first| first.actor.as_ref()) {
            return Some(actor);
        }
        let closed = self.socket.as_ref().is_none_or(|socket| socket.orphan);
        let fin = self
            .remembered
            .as_ref()
            .filter(|(task, from)| (closed || task.end.is_some()) && *from == KnownFrom::Close)
            .map(|(task, _)| task);
        self.closer().or(self.closed_later.as_ref()).or(fin)
    }

    /// Notes that a process closed the socket after it was reset. One that began only later
    /// inherited the socket from its owner, and does not count.
    pub fn closed_by(&mut self, task: Task) {
        if task.start_boottime_ns.is_none_or(|start| start <= self.boottime_ns) {
            self.closed_later = Some(task);
        }
    }

    /// How the owner ended, if it ended before the reset or with it.
    pub fn owner_end(&self) -> Option<&ProcessEnd> {
        self.holder()?.end.as_ref().filter(|end| end.at_ns <= self.boottime_ns)
    }

    /// Since the last payload of either end, before the connection was ended.
    pub fn quiet(&self) -> Option<Duration> {
        match &self.first_act {
            Some(first) => first.silence,
            None => self.tcp.as_ref().and_then(TcpFacts::quiet),
        }
    }

    /// What a process of this host, or the peer, did first.
    pub fn act(&self) -> Option<Act> {
        self.first_act.as_ref().map(|first| first.act)
    }

    /// Whether it ended by shutdown(2): others may hold the socket, and its owner does still.
    pub fn was_shut_down(&self) -> bool {
        self.ended && matches!(self.act(), Some(Act::LocalClose { shutdown: true }))
    }

    /// Whether the owner has still to be found, or who else holds a socket that was shut down.
    pub fn lacks_owner(&self) -> bool {
        self.process.is_none() && self.socket_kind == SocketKind::Connection && self.holder().is_none() || self.was_shut_down()
    }
}
