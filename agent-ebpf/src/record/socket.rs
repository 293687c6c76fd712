//! What a `struct sock` knows of its connection.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use rstblame_abi::{AF_INET, AF_INET6, COMM_LEN, Connection, ResetRecord, Task, counter, errno, owner, sock_bit, tcp::state, valid};

use super::task;
use crate::ground::{
    diagnose,
    endpoints::{Ends, read_ipv4},
    maps::{CONNECTIONS, count},
    probe_read::{offset_of_member, read, read_into, read_or_zero},
    verifier::{mark, marked, unknown},
};

/// Ports of a full socket in host byte order: local, peer. Each is 0 while there is none, and both
/// where they cannot be read.
#[inline(always)]
pub fn ports(sock: u64) -> (u16, u16) {
    let local = read_or_zero(sock, offset_of_member!(inet_sport));
    let peer = read_or_zero(sock, offset_of_member!(skc_dport));
    (u16::from_be_bytes(local), u16::from_be_bytes(peer))
}

/// State, 0 where it cannot be read; every kind of socket has it.
#[inline(always)]
pub fn state(sock: u64) -> u8 {
    read_or_zero(sock, offset_of_member!(skc_state))
}

/// Whether a `struct tcp_sock` lies behind the pointer; request and TIME_WAIT sockets are smaller
/// (sk_fullsock(), <https://github.com/torvalds/linux/blob/v6.12/include/net/sock.h>).
#[inline(always)]
pub fn is_full(state: u8) -> bool {
    state != state::TIME_WAIT && state != state::NEW_SYN_RECV
}

/// Reads both ends of a full socket.
#[inline(always)]
pub fn read_ends(sock: u64, ends: &mut Ends) {
    (ends.local_port, ends.peer_port) = ports(sock);
    ends.family = read_or_zero(sock, offset_of_member!(skc_family));
    let done = match ends.family {
        AF_INET => {
            read_ipv4(sock, offset_of_member!(skc_rcv_saddr), &mut ends.local)
                & read_ipv4(sock, offset_of_member!(skc_daddr), &mut ends.peer)
        }
        AF_INET6 => {
            read_into(sock, offset_of_member!(skc_v6_rcv_saddr), &mut ends.local)
                & read_into(sock, offset_of_member!(skc_v6_daddr), &mut ends.peer)
        }
        _ => false,
    };
    ends.present = unknown(done);
}

/// Fills in options, queues and counters of a full socket.
#[inline(always)]
pub fn fill_socket(sock: u64, record: &mut ResetRecord) {
    fill_options(sock, record);
    fill_tcp(sock, record);
}

/// Fills in what [`fill_socket`] does, and what was remembered of its connection.
#[inline(always)]
pub fn fill_facts(sock: u64, record: &mut ResetRecord) {
    fill_socket(sock, record);
    // Only for a socket that is no orphan does its later end run in its owner's context.
    let held = marked(&record.valid) & valid::SOCK != 0 && marked(&record.sock_bits) & sock_bit::DEAD == 0;
    if let Some(connection) = CONNECTIONS.get_ptr_mut(sock) {
        // SAFETY: map values stay valid while the program runs; changes of one socket's entry are
        // serialised by its lock.
        let connection = unsafe { &mut *connection };
        record.connection = *connection;
        mark(&mut record.valid, valid::CONNECTION);
        if record.connection.owner == owner::CLOSE || marked(&record.valid) & valid::KERNEL_THREAD != 0 {
            task::fill_signal(record.connection.task.tgid, &mut record.signal);
        }
        connection.was_reset = u8::from(held);
    } else if held {
        // Opened before the agent was: remembered from here on, so that whoever closes it can be
        // named.
        #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied to the stack")]
        if let Err(error) = CONNECTIONS.insert(sock, &ONLY_RESET, 0) {
            count(counter::CONNECTIONS_FULL);
            diagnose::connection_not_stored(u32::from(record.state), error);
        }
    }
}

/// Whether the kernel gave a connection up because nothing answered any more: `sk_err` is set
/// before the state changes, by tcp_write_err() and its like
/// (<https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_timer.c>). A RST sets others.
#[inline(always)]
pub fn timed_out(sock: u64) -> bool {
    matches!(
        read_or_zero::<u32>(sock, offset_of_member!(sk_err)),
        errno::ENETDOWN | errno::ENETUNREACH | errno::ETIMEDOUT | errno::EHOSTDOWN | errno::EHOSTUNREACH
    )
}

/// A connection of which nothing is remembered.
pub const NOTHING_KNOWN: Connection = Connection {
    established_ns: 0,
    changed_ns: 0,
    task: Task { start_boottime_ns: 0, tgid: 0, tid: 0, uid: 0, flags: 0, exit_code: 0, reserved: 0, comm: [0; COMM_LEN] },
    previous_state: 0,
    state: 0,
    owner: owner::NONE,
    active_open: 0,
    was_reset: 0,
    reserved: [0; 3],
};

/// The same, to be written to the map from where it is.
pub static NEW: Connection = NOTHING_KNOWN;

/// A connection of which nothing is remembered but that it was reset. Written to the map from where
/// it is: on the stack, of which verifiers allow 512 bytes to a program and all that it calls, it
/// would take more room than there is without BTF.
static ONLY_RESET: Connection = Connection { was_reset: 1, ..NOTHING_KNOWN };

#[inline(always)]
fn fill_options(sock: u64, record: &mut ResetRecord) {
    let Some(flags) = read::<u64>(sock, offset_of_member!(sk_flags)) else {
        return;
    };
    if bit(flags, offset_of_member!(sock_linger_bit)) && read::<u64>(sock, offset_of_member!(sk_lingertime)) == Some(0) {
        mark(&mut record.sock_bits, sock_bit::LINGER_ZERO);
    }
    if bit(flags, offset_of_member!(sock_keepopen_bit)) {
        mark(&mut record.sock_bits, sock_bit::KEEPALIVE);
    }
    if bit(flags, offset_of_member!(sock_done_bit)) {
        mark(&mut record.sock_bits, sock_bit::FIN_RECEIVED);
    }
    if bit(flags, offset_of_member!(sock_dead_bit)) {
        mark(&mut record.sock_bits, sock_bit::DEAD);
    }
    if let Some(socket) = read::<u64>(sock, offset_of_member!(sk_socket))
        && socket != 0
    {
        mark(&mut record.sock_bits, sock_bit::HAS_SOCKET);
        if read_into(socket, offset_of_member!(socket_ino), &mut record.inode) {
            mark(&mut record.valid, valid::INODE);
        }
    }
    read_into(sock, offset_of_member!(sk_shutdown), &mut record.shutdown);
    read_into(sock, offset_of_member!(sk_uid), &mut record.uid);
    mark(&mut record.valid, valid::SOCK);
}

/// Whether the task on the CPU is closing the socket: shut down both ways, and no orphan yet, as it
/// is within close(2) only (`__tcp_close()`,
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>). Timers reset sockets that are
/// not shut down, or orphans.
#[inline(always)]
pub fn is_being_closed(sock: u64) -> bool {
    let shutdown: u8 = read_or_zero(sock, offset_of_member!(sk_shutdown));
    let flags = read::<u64>(sock, offset_of_member!(sk_flags));
    shutdown & BOTH_WAYS == BOTH_WAYS && flags.is_some_and(|flags| !bit(flags, offset_of_member!(sock_dead_bit)))
}

/// `SHUTDOWN_MASK` (<https://github.com/torvalds/linux/blob/v6.12/include/net/sock.h>).
const BOTH_WAYS: u8 = 3;

#[inline(always)]
fn bit(word: u64, number: u32) -> bool {
    number < 64 && (word >> (number & 63)) & 1 == 1
}

#[inline(always)]
fn fill_tcp(sock: u64, record: &mut ResetRecord) {
    if !read_into(sock, offset_of_member!(rcv_nxt), &mut record.rcv_nxt) {
        diagnose::no_tcp_facts(u32::from(record.state));
        return;
    }
    if !read_into(sock, offset_of_member!(copied_seq), &mut record.copied_seq) {
        record.copied_seq = record.rcv_nxt;
    }
    read_into(sock, offset_of_member!(snd_una), &mut record.snd_una);
    read_into(sock, offset_of_member!(snd_nxt), &mut record.snd_nxt);
    read_into(sock, offset_of_member!(write_seq), &mut record.write_seq);
    read_into(sock, offset_of_member!(srtt_us), &mut record.srtt_us8);
    if !read_into(sock, offset_of_member!(rtt_min), &mut record.rtt_min_us) {
        record.rtt_min_us = u32::MAX;
    }
    read_into(sock, offset_of_member!(total_retrans), &mut record.retransmits);
    read_into(sock, offset_of_member!(bytes_received), &mut record.bytes_received);
    read_into(sock, offset_of_member!(bytes_sent), &mut record.bytes_sent);
    let again: u64 = read_or_zero(sock, offset_of_member!(bytes_retrans));
    record.bytes_sent = record.bytes_sent.saturating_sub(again);

    // SAFETY: a helper without arguments. tcp_jiffies32 is the low half of jiffies_64
    // (<https://github.com/torvalds/linux/blob/v6.12/include/net/tcp.h>).
    let now = unsafe { bpf_jiffies64() } as u32;
    read_into(sock, offset_of_member!(lrcvtime), &mut record.last_data_received);
    read_into(sock, offset_of_member!(lsndtime), &mut record.last_data_sent);
    read_into(sock, offset_of_member!(rcv_tstamp), &mut record.last_ack_received);
    for stamp in [&mut record.last_data_received, &mut record.last_data_sent, &mut record.last_ack_received] {
        // A stamp of zero was never set: the handshake is not finished.
        *stamp = if *stamp == 0 { u32::MAX } else { now.wrapping_sub(*stamp) };
    }
    mark(&mut record.valid, valid::TCP);
}
