//! Ring bytes into [`Reset`] values.

pub mod conversation;
mod jiffies;
mod packet;

use std::{
    fmt::{Display, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

pub use packet::{key, side};
use rstblame_abi::{
    AF_INET, AF_INET6, Header, Heartbeat, PF_EXITING, PF_KTHREAD, ResetRecord, Signal, TaskRecord,
    flow::{Followed, WireRst},
    kind, owner, signal_flag, sock_bit, valid,
};
use thiserror::Error;

use super::reasons::Reasons;
use crate::{clock, model::ports::PortSet};
use crate::{
    flow::{
        Act, Connection, Reason, Reset, SocketFacts, SocketKind, TcpFacts, Trigger,
        firing::Firing,
        wire::{Segment, Wire},
    },
    model::{ConnectionKey, Direction, Flags, KnownFrom, ProcessEnd, Role, Task, TcpState, Tuple},
    text,
};

/// `RCV_SHUTDOWN` (<https://github.com/torvalds/linux/blob/v6.12/include/net/sock.h>).
const RCV_SHUTDOWN: u8 = 1;

/// The one signal that no process outlives.
const SIGKILL: u32 = 9;

/// A worker closes for a process that was killed within this time: it is woken at once.
const JUST_KILLED: Duration = Duration::from_secs(2);

/// Room for the name of a reset, bytes.
const ID: usize = 48;

/// Why a record could not be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("a record of {0} bytes, which none has")]
    Length(usize),
    #[error("a record of the unknown kind {0}")]
    Kind(u32),
    #[error("a record without addresses")]
    NoTuple,
}

/// One record of the ring buffer.
#[derive(Clone, Debug)]
pub enum Record {
    /// A reset.
    Reset(Box<Reset>, Firing),
    /// A connection begins to end, or one that was being opened was given up.
    /// Jiffies then, low 32 bits.
    Ending(Box<Reset>, u32),
    /// A process was seen with a watched socket for the first time, in this network namespace (0:
    /// not known).
    Process(Task, u32),
    /// A process closed the socket of this identity, which had been reset before, or whose peer had
    /// sent FIN.
    Closed(u64, Task),
    /// A RST arrived, whatever the kernel made of it.
    Arrived(ConnectionKey, Box<Wire>),
    /// A RST left, whoever made it. Jiffies then, low 32 bits.
    Left(ConnectionKey, Box<Wire>, u32),
    /// A packet arrived on a connection that had a RST a moment ago.
    Followed(ConnectionKey, Box<Segment>),
    /// A heartbeat: bytes of the ring buffer that waited to be read when it was written.
    Heartbeat(u64),
}

/// When a record was made: `CLOCK_BOOTTIME`, ns.
pub fn time_of(bytes: &[u8]) -> Option<u64> {
    Some(header(bytes)?.boottime_ns)
}

fn header(bytes: &[u8]) -> Option<Header> {
    read(bytes.get(..size_of::<Header>())?).ok()
}

/// Whether a record claims to be that of a reset.
pub fn is_reset(bytes: &[u8]) -> bool {
    header(bytes).is_some_and(|header| matches!(header.kind, kind::SEND_RESET | kind::RECEIVE_RESET))
}

/// Decodes records of one run.
pub struct Decoder {
    reasons: Reasons,
    ports: PortSet,
    jiffy: Duration,
    /// Distinguishes this boot of this host.
    boot: String,
}

impl Decoder {
    /// A decoder for the running kernel.
    pub fn new(reasons: Reasons, ports: PortSet) -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { reasons, ports, jiffy: clock::jiffy(), boot: boot_id.chars().filter(char::is_ascii_hexdigit).take(8).collect() }
    }

    /// Takes other ports for those of brokers.
    pub fn set_ports(&mut self, ports: PortSet) {
        self.ports = ports;
    }

    /// Decodes one record.
    ///
    /// # Errors
    ///
    /// On a record of the wrong length or kind, or a reset without addresses. Such a reset counts
    /// as lost.
    pub fn decode(&self, bytes: &[u8]) -> Result<Record, DecodeError> {
        let kind = header(bytes).ok_or(DecodeError::Length(bytes.len()))?.kind;
        match kind {
            kind::SEND_RESET | kind::RECEIVE_RESET => {
                let direction = if kind == kind::SEND_RESET { Direction::Sent } else { Direction::Received };
                let (reset, firing) = self.reset(&read(bytes)?, direction)?;
                Ok(Record::Reset(Box::new(reset), firing))
            }
            kind::ENDING => self.ending(&read(bytes)?),
            kind::PROCESS | kind::CLOSED => {
                let record: TaskRecord = read(bytes)?;
                // Kernel threads own no sockets of ours; a record of one says nothing.
                let task = task(&record.task, &record.signal, record.header.boottime_ns);
                let nobody = || Task { pid: 0, start_boottime_ns: None, comm: String::new(), uid: 0, end: None };
                let task = task.unwrap_or_else(nobody);
                Ok(if kind == kind::PROCESS { Record::Process(task, record.netns) } else { Record::Closed(record.sock, task) })
            }
            kind::ARRIVED_RST | kind::LEFT_RST => {
                let record: WireRst = read(bytes)?;
                let place = ConnectionKey { tuple: packet::tuple(&record.key).ok_or(DecodeError::NoTuple)?, netns: record.key.netns };
                let wire = Box::new(packet::wire(&record, self.jiffy));
                Ok(if kind == kind::LEFT_RST { Record::Left(place, wire, record.now) } else { Record::Arrived(place, wire) })
            }
            kind::FOLLOWED => {
                let record: Followed = read(bytes)?;
                let place = ConnectionKey { tuple: packet::tuple(&record.key).ok_or(DecodeError::NoTuple)?, netns: record.key.netns };
                Ok(Record::Followed(place, Box::new(packet::segment(&record.packet))))
            }
            kind::HEARTBEAT => Ok(Record::Heartbeat(read::<Heartbeat>(bytes)?.unread)),
            other => Err(DecodeError::Kind(other)),
        }
    }

    /// Length of a jiffy.
    pub const fn jiffy(&self) -> Duration {
        self.jiffy
    }

    /// The reset that a RST without effect would have been.
    pub fn ignored(&self, place: ConnectionKey, wire: Box<Wire>) -> Reset {
        let ConnectionKey { tuple, netns } = place;
        let at_ns = wire.rst.time_ns;
        let id = self.id(at_ns, "w");
        Reset {
            boottime_ns: at_ns,
            netns: (netns != 0).then_some(netns),
            socket_kind: SocketKind::None,
            wire: Some(wire),
            ignored: true,
            ..Reset::bare(id, clock::wall_time(at_ns), Direction::Received, tuple, self.role(tuple))
        }
    }

    /// The reset of a RST that left, and that this kernel's TCP did not make.
    pub fn unannounced(&self, place: ConnectionKey, wire: Box<Wire>) -> Reset {
        let ConnectionKey { tuple, netns } = place;
        let at_ns = wire.rst.time_ns;
        let id = self.id(at_ns, "l");
        Reset {
            boottime_ns: at_ns,
            netns: (netns != 0).then_some(netns),
            socket_kind: SocketKind::None,
            left: Some(wire),
            unannounced: true,
            ..Reset::bare(id, clock::wall_time(at_ns), Direction::Sent, tuple, self.role(tuple))
        }
    }

    /// The name of a reset: what `source` saw at this time.
    fn id(&self, at_ns: u64, source: impl Display) -> String {
        let mut id = String::with_capacity(ID);
        // Writing to a string does not fail.
        let _ = write!(id, "{}-{at_ns}-{source}", self.boot);
        id
    }

    fn role(&self, tuple: Tuple) -> Role {
        if self.ports.contains(tuple.local.port()) { Role::Broker } else { Role::Client }
    }

    fn reset(&self, record: &ResetRecord, direction: Direction) -> Result<(Reset, Firing), DecodeError> {
        let tuple = tuple(record).ok_or(DecodeError::NoTuple)?;
        let has = |part: u32| record.valid & part != 0;
        let now = record.header.boottime_ns;
        let connection = has(valid::CONNECTION).then_some(&record.connection);
        // Without BTF the socket cannot be read, but its last change of state was seen.
        let remembered_state = connection.map(|connection| connection.state).filter(|_| direction == Direction::Received);
        let now_state = has(valid::STATE).then_some(record.state).or(remembered_state).and_then(TcpState::from_kernel);
        let before = match now_state {
            // What the socket was before it closed is known from its last change of state.
            Some(TcpState::Close) => connection.and_then(|connection| TcpState::from_kernel(connection.previous_state)),
            other => other,
        };
        let id = self.id(now, record.header.cpu);
        let reset = Reset {
            boottime_ns: now,
            netns: has(valid::NETNS).then_some(record.netns),
            active: direction == Direction::Sent && !has(valid::HAS_SKB),
            socket_kind: socket_kind(record, now_state),
            state: before.filter(|state| *state != TcpState::Close),
            closed_first: now_state == Some(TcpState::Close),
            reason: has(valid::REASON)
                .then(|| Reason { code: record.reason, name: self.reasons.name(record.reason).map(ToOwned::to_owned) }),
            trigger: has(valid::TRIGGER).then_some(Trigger {
                seq: record.trigger_seq,
                ack: record.trigger_ack,
                flags: Flags(u16::from(record.trigger_flags)),
            }),
            socket: has(valid::SOCK).then(|| socket_facts(record)),
            tcp: has(valid::TCP).then(|| self.tcp_facts(record)),
            connection: connection.map(|connection| Connection {
                age: (connection.established_ns != 0).then(|| Duration::from_nanos(now.saturating_sub(connection.established_ns))),
                active_open: connection.active_open == 1,
            }),
            actor: has(valid::CURRENT).then(|| task(&record.current, &record.signal, now)).flatten(),
            remembered: connection.and_then(|connection| remembered(connection, record)),
            sock: record.sock,
            ..Reset::bare(id, clock::wall_time(now), direction, tuple, self.role(tuple))
        };
        let firing = Firing {
            sock: record.sock,
            cpu: record.header.cpu,
            jiffies: record.jiffies,
            receive_side_shut: direction == Direction::Received && (!has(valid::SOCK) || record.shutdown & RCV_SHUTDOWN != 0),
        };
        Ok((reset, firing))
    }

    /// The end of a connection, told like a reset: by whom, and in which state.
    fn ending(&self, record: &ResetRecord) -> Result<Record, DecodeError> {
        let state = |number: u8| TcpState::from_kernel(number);
        let (before, after) = (state(record.connection.previous_state), state(record.connection.state));
        let act = match (before, after) {
            (_, Some(TcpState::CloseWait)) => Act::PeerClose,
            (_, Some(TcpState::FinWait1)) => {
                Act::LocalClose { shutdown: record.valid & valid::SOCK != 0 && record.shutdown & RCV_SHUTDOWN == 0 }
            }
            (Some(TcpState::SynSent), _) => Act::ConnectTimedOut(record.error),
            _ => Act::TimedOut(record.error),
        };
        let direction = if act == Act::PeerClose { Direction::Received } else { Direction::Sent };
        let (mut reset, _) = self.reset(record, direction)?;
        reset.active = false;
        reset.closed_first = false;
        reset.state = before;
        reset.ended = true;
        reset.first_act = Some(Arc::new(reset.first_act_as(act)));
        Ok(Record::Ending(Box::new(reset), record.jiffies))
    }

    fn jiffies(&self, count: u32) -> Duration {
        self.jiffy.saturating_mul(count)
    }

    fn tcp_facts(&self, record: &ResetRecord) -> TcpFacts {
        let fin = u32::from(record.sock_bits & sock_bit::FIN_RECEIVED != 0);
        // Until the handshake is finished, what is in flight is the SYN.
        let handshake = TcpState::from_kernel(record.state).is_some_and(TcpState::in_handshake);
        let in_flight = if handshake { 0 } else { record.snd_nxt.wrapping_sub(record.snd_una) };
        // rcv_nxt counts the peer's FIN, which no read() ever takes.
        let unread = record.rcv_nxt.wrapping_sub(record.copied_seq).wrapping_sub(fin);
        let heard = record.last_data_received.min(record.last_ack_received);
        TcpFacts {
            rcv_nxt: record.rcv_nxt,
            snd_nxt: record.snd_nxt,
            unread_bytes: plausible(unread),
            unacknowledged_bytes: if handshake { 0 } else { plausible(record.write_seq.wrapping_sub(record.snd_una)) },
            bytes_received: record.bytes_received,
            bytes_sent: record.bytes_sent,
            bytes_in_flight: plausible(in_flight),
            // tp->srtt_us holds eighths
            // (<https://github.com/torvalds/linux/blob/v6.12/include/linux/tcp.h>).
            srtt: (record.srtt_us8 != 0).then(|| Duration::from_micros(u64::from(record.srtt_us8 >> 3))),
            min_rtt: (record.rtt_min_us != u32::MAX).then(|| Duration::from_micros(u64::from(record.rtt_min_us))),
            retransmits: record.retransmits,
            // The clocks start with the handshake: without payload they tell nothing of payload.
            since_received: (record.bytes_received > 0).then(|| self.jiffies(record.last_data_received)),
            since_sent: (record.bytes_sent > 0).then(|| self.jiffies(record.last_data_sent)),
            since_heard: (heard != u32::MAX && !handshake).then(|| self.jiffies(heard)),
        }
    }
}

/// Differences of sequence numbers above half the space are negative: the members were read while
/// they moved, or never set.
fn plausible(difference: u32) -> u32 {
    if difference > u32::MAX / 2 { 0 } else { difference }
}

/// Types of which every bit pattern is a value.
///
/// # Safety
///
/// Implement only for `repr(C)` types of integers and arrays of integers without padding.
unsafe trait Plain: Copy {}

// SAFETY: integers and arrays of integers, sizes asserted beside the declarations.
unsafe impl Plain for Header {}
// SAFETY: as above.
unsafe impl Plain for ResetRecord {}
// SAFETY: as above.
unsafe impl Plain for TaskRecord {}
// SAFETY: as above.
unsafe impl Plain for WireRst {}
// SAFETY: as above.
unsafe impl Plain for Heartbeat {}
// SAFETY: as above.
unsafe impl Plain for Followed {}

fn read<T: Plain>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() != size_of::<T>() {
        return Err(DecodeError::Length(bytes.len()));
    }
    // SAFETY: as many readable bytes as the type has; every bit pattern is a value, and the read
    // does not need alignment.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn tuple(record: &ResetRecord) -> Option<Tuple> {
    if record.valid & valid::TUPLE == 0 {
        return None;
    }
    let end = |bytes, port| Some(SocketAddr::new(address(record.family, bytes)?, port));
    Some(Tuple::new(end(record.local, record.local_port)?, end(record.peer, record.peer_port)?))
}

/// An address of a family as records have it.
pub fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = bytes;
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn socket_kind(record: &ResetRecord, state: Option<TcpState>) -> SocketKind {
    if record.valid & valid::HAS_SOCK == 0 {
        return SocketKind::None;
    }
    match state {
        None => SocketKind::Unseen,
        Some(TcpState::Listen | TcpState::NewSynRecv) => SocketKind::Listener,
        Some(TcpState::TimeWait) => SocketKind::TimeWait,
        Some(_) => SocketKind::Connection,
    }
}

fn socket_facts(record: &ResetRecord) -> SocketFacts {
    let bit = |bit: u8| record.sock_bits & bit != 0;
    SocketFacts {
        linger_zero: bit(sock_bit::LINGER_ZERO),
        keepalive: bit(sock_bit::KEEPALIVE),
        fin_received: bit(sock_bit::FIN_RECEIVED),
        orphan: bit(sock_bit::DEAD),
        owned: bit(sock_bit::HAS_SOCKET),
        inode: (record.valid & valid::INODE != 0).then_some(record.inode),
        uid: record.uid,
    }
}

/// A task, unless it is the idle task or a kernel thread.
pub fn task(task: &rstblame_abi::Task, signal: &Signal, at_ns: u64) -> Option<Task> {
    if task.tgid == 0 || task.flags & PF_KTHREAD != 0 {
        return None;
    }
    Some(Task {
        pid: task.tgid,
        start_boottime_ns: (task.start_boottime_ns != 0).then_some(task.start_boottime_ns),
        comm: name(&task.comm),
        uid: task.uid,
        end: (task.flags & PF_EXITING != 0).then(|| end(task, signal, at_ns)),
    })
}

/// The process that is remembered for a connection. Where a kernel thread closes for one that
/// connected and has just been killed, as the worker of Multipath TCP does, the killed one is who
/// closed.
fn remembered(connection: &rstblame_abi::Connection, record: &ResetRecord) -> Option<(Task, KnownFrom)> {
    let from = match connection.owner {
        owner::CONNECT => KnownFrom::Connect,
        owner::CLOSE => KnownFrom::Close,
        _ => return None,
    };
    let mut known = task(&connection.task, &record.signal, connection.changed_ns)?;
    let killed_ago = Duration::from_nanos(record.header.boottime_ns.saturating_sub(record.signal.at_ns));
    let by_worker = record.valid & valid::KERNEL_THREAD != 0 && from == KnownFrom::Connect;
    if by_worker && record.signal.at_ns > connection.task.start_boottime_ns && killed_ago <= JUST_KILLED && record.signal.number == SIGKILL
    {
        let exiting = rstblame_abi::Task { exit_code: SIGKILL, ..connection.task };
        known.end = Some(end(&exiting, &record.signal, record.signal.at_ns));
        return Some((known, KnownFrom::Close));
    }
    Some((known, from))
}

/// How a task that is ending ends: `exit_code` is encoded as wait(2) does.
fn end(task: &rstblame_abi::Task, signal: &Signal, at_ns: u64) -> ProcessEnd {
    let number = u8::try_from(task.exit_code & 0x7f).ok().filter(|number| *number != 0);
    // An entry from before the process began is about another that had its id.
    let told = signal.at_ns > task.start_boottime_ns;
    let oom = told && signal.flags & signal_flag::OOM != 0;
    let sent = told && !oom && number.is_some_and(|number| u32::from(number) == signal.number);
    ProcessEnd {
        code: number.is_none().then(|| u8::try_from(task.exit_code >> 8 & 0xff).unwrap_or(0)),
        signal: number,
        core_dumped: task.exit_code & 0x80 != 0,
        oom,
        sent_by: (sent && signal.flags & signal_flag::FROM_KERNEL == 0).then(|| (signal.sender_tgid, name(&signal.sender_comm))),
        at_ns,
    }
}

fn name(comm: &[u8]) -> String {
    text::clean_bytes(comm.split(|byte| *byte == 0).next().unwrap_or_default())
}

#[cfg(test)]
mod tests;
