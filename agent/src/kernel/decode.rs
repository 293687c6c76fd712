//! Ring bytes into [`Reset`] values.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use rstblame_ebpf::{ResetRecord, Task, hook, sock_bit, valid};
use thiserror::Error;

use super::{clock, ports::PortSet, reasons::Reasons};
use crate::{
    event::Direction,
    flow::{ClosingTask, Connection, Reason, Reset, Role, SocketFacts, SocketKind, TcpFacts, TcpState, Trigger, Tuple},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// `PF_KTHREAD` (include/linux/sched.h): a kernel thread owns no sockets of ours.
const PF_KTHREAD: u32 = 0x0020_0000;

/// `RCV_SHUTDOWN` (include/net/sock.h).
const RCV_SHUTDOWN: u8 = 1;

/// Why a record could not be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("a record of {0} bytes instead of {1}")]
    Length(usize, usize),
    #[error("a record of the unknown hook {0}")]
    Hook(u8),
    #[error("a record without addresses")]
    NoTuple,
}

/// A reset fresh from the kernel, with what is needed to tell whether two firings are one reset.
#[derive(Clone, Debug)]
pub struct Observed {
    pub reset: Reset,
    /// Identity of the socket; 0 without one.
    pub sock: u64,
    pub cpu: u32,
    /// `CLOCK_BOOTTIME`, ns.
    pub boottime_ns: u64,
    /// The socket's receive side was shut down: payload, and not a RST, may have set off `tcp_receive_reset`.
    pub receive_side_shut: bool,
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

    /// Decodes one record.
    ///
    /// # Errors
    ///
    /// On a record of the wrong length, of an unknown hook, or without addresses. Such a record counts as lost.
    pub fn decode(&self, bytes: &[u8]) -> Result<Observed, DecodeError> {
        let record = read_record(bytes)?;
        let direction = match record.hook {
            hook::SEND_RESET => Direction::Sent,
            hook::RECEIVE_RESET => Direction::Received,
            other => return Err(DecodeError::Hook(other)),
        };
        let tuple = tuple(&record).ok_or(DecodeError::NoTuple)?;
        let has = |part: u32| record.valid & part != 0;
        let connection = has(valid::CONNECTION).then_some(&record.connection);
        // Without BTF the socket cannot be read, but its last change of state was seen.
        let remembered = connection.map(|connection| connection.state).filter(|_| direction == Direction::Received);
        let now_state = has(valid::STATE).then_some(record.state).or(remembered).and_then(TcpState::from_kernel);
        let before = match now_state {
            // What the socket was before it closed is known from its last change of state.
            Some(TcpState::Close) => connection.and_then(|connection| TcpState::from_kernel(connection.previous_state)),
            other => other,
        };
        let reset = Reset {
            id: format!("{}-{}-{}", self.boot, record.boottime_ns, record.cpu),
            timestamp: clock::wall_time(record.boottime_ns),
            direction,
            tuple,
            role: if self.ports.contains(tuple.local.port()) { Role::Broker } else { Role::Client },
            netns: has(valid::NETNS).then_some(record.netns),
            active: direction == Direction::Sent && !has(valid::HAS_SKB),
            socket_kind: socket_kind(&record, now_state),
            state: before.filter(|state| *state != TcpState::Close),
            closed_first: now_state == Some(TcpState::Close),
            reason: has(valid::REASON)
                .then(|| Reason { code: record.reason, name: self.reasons.name(record.reason).map(ToOwned::to_owned) }),
            trigger: has(valid::TRIGGER).then_some(Trigger {
                seq: record.trigger_seq,
                ack: record.trigger_ack,
                flags: record.trigger_flags,
            }),
            socket: has(valid::SOCK).then(|| socket_facts(&record)),
            tcp: has(valid::TCP).then(|| self.tcp_facts(&record)),
            connection: connection.map(|connection| Connection {
                age: (connection.established_ns != 0)
                    .then(|| Duration::from_nanos(record.boottime_ns.saturating_sub(connection.established_ns))),
                active_open: connection.active_open == 1,
            }),
            actor: has(valid::CURRENT).then(|| task(&record.current)).flatten(),
            process: None,
        };
        Ok(Observed {
            reset,
            sock: record.sock,
            cpu: record.cpu,
            boottime_ns: record.boottime_ns,
            receive_side_shut: direction == Direction::Received && (!has(valid::SOCK) || record.shutdown & RCV_SHUTDOWN != 0),
        })
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
            unread_bytes: plausible(unread),
            unacknowledged_bytes: if handshake { 0 } else { plausible(record.write_seq.wrapping_sub(record.snd_una)) },
            bytes_received: record.bytes_received,
            bytes_acknowledged: record.bytes_acked,
            bytes_in_flight: plausible(in_flight),
            // tp->srtt_us holds eighths (include/linux/tcp.h).
            srtt: (record.srtt_us8 != 0).then(|| Duration::from_micros(u64::from(record.srtt_us8 >> 3))),
            min_rtt: (record.rtt_min_us != u32::MAX).then(|| Duration::from_micros(u64::from(record.rtt_min_us))),
            retransmits: record.retransmits,
            // The clocks start with the handshake: without payload they tell nothing of payload.
            since_received: (record.bytes_received > 0).then(|| self.jiffies(record.last_data_received)),
            since_sent: (record.bytes_acked > 0 || in_flight > 0).then(|| self.jiffies(record.last_data_sent)),
            since_heard: (heard != u32::MAX && !handshake).then(|| self.jiffies(heard)),
        }
    }
}

/// Differences of sequence numbers above half the space are negative: the members were read while they moved, or never set.
fn plausible(difference: u32) -> u32 {
    if difference > u32::MAX / 2 { 0 } else { difference }
}

fn read_record(bytes: &[u8]) -> Result<ResetRecord, DecodeError> {
    const SIZE: usize = size_of::<ResetRecord>();
    let bytes: &[u8; SIZE] = bytes.try_into().map_err(|_| DecodeError::Length(bytes.len(), SIZE))?;
    // SAFETY: SIZE readable bytes; the type is integers and arrays of integers, so that every bit pattern is a value, and the read does
    // not need alignment.
    Ok(unsafe { bytes.as_ptr().cast::<ResetRecord>().read_unaligned() })
}

fn tuple(record: &ResetRecord) -> Option<Tuple> {
    if record.valid & valid::TUPLE == 0 {
        return None;
    }
    let address = |bytes: [u8; 16]| -> Option<IpAddr> {
        match record.family {
            AF_INET => {
                let [a, b, c, d, ..] = bytes;
                Some(Ipv4Addr::new(a, b, c, d).into())
            }
            AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
            _ => None,
        }
    };
    Some(Tuple::new(
        SocketAddr::new(address(record.local)?, record.local_port),
        SocketAddr::new(address(record.peer)?, record.peer_port),
    ))
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

/// The task on the CPU, unless that is the idle task or a kernel thread.
fn task(task: &Task) -> Option<ClosingTask> {
    if task.tgid == 0 || task.flags & PF_KTHREAD != 0 {
        return None;
    }
    let comm = task.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(ClosingTask {
        pid: task.tgid,
        start_boottime_ns: (task.start_boottime_ns != 0).then_some(task.start_boottime_ns),
        comm: String::from_utf8_lossy(comm).into_owned(),
        uid: task.uid,
    })
}

#[cfg(test)]
mod tests;
