//! `sock:inet_sock_set_state`: when a watched connection was opened, by whom, and which state it was in before it closed.
//!
//! The state matters because an aborting socket is already CLOSE when `tcp_send_reset` fires
//! (tcp_disconnect(), <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>).

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use rstblame_ebpf::{Connection, RecordFormat, counter, owner};

use crate::{
    diagnose, filter,
    maps::{CONNECTIONS, count},
    memory::{offset_of_member, read_or, read_or_zero},
    record::{RecordTuple, boottime_ns, record_offset},
    socket, task,
};

/// Layout of the plain tracepoint's record.
#[unsafe(no_mangle)]
static STATE_FORMAT: RecordFormat = RecordFormat::UNKNOWN;

const IPPROTO_TCP: u16 = 6;

#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn sock_state_btf(ctx: BtfTracePointContext) -> i32 {
    let args = ctx.as_ptr() as u64;
    let sock = read_or_zero(args, 0);
    handle(
        sock,
        read_or_zero::<u32>(args, 8) as u8,
        read_or_zero::<u32>(args, 16) as u8,
        read_or(sock, offset_of_member!(sk_protocol), IPPROTO_TCP),
        &RecordTuple { base: 0, format: &STATE_FORMAT },
    );
    0
}

#[tracepoint]
pub fn sock_state_tp(ctx: TracePointContext) -> u32 {
    let base = ctx.as_ptr() as u64;
    handle(
        read_or_zero(base, record_offset!(STATE_FORMAT, skaddr)),
        read_or_zero::<u32>(base, record_offset!(STATE_FORMAT, oldstate)) as u8,
        read_or_zero::<u32>(base, record_offset!(STATE_FORMAT, newstate)) as u8,
        read_or(base, record_offset!(STATE_FORMAT, protocol), IPPROTO_TCP),
        &RecordTuple { base, format: &STATE_FORMAT },
    );
    0
}

#[inline(always)]
fn handle(sock: u64, old: u8, new: u8, protocol: u16, tuple: &RecordTuple<'_>) {
    if protocol != IPPROTO_TCP {
        return;
    }
    if new != socket::state::SYN_SENT
        && let Some(known) = CONNECTIONS.get_ptr_mut(sock)
    {
        // SAFETY: the value stays valid while the program runs, and changes of one socket's state are serialised by its lock.
        update(unsafe { &mut *known }, sock, old, new);
        return;
    }
    // Connections that are first seen in any other state were opened before the agent was: their age is not known. But whoever
    // closes one is its owner all the same.
    let closes = new == socket::state::FIN_WAIT1 || new == socket::state::LAST_ACK;
    if !closes && new != socket::state::SYN_SENT && new != socket::state::ESTABLISHED && new != socket::state::LISTEN {
        return;
    }
    let (local, peer) = tuple.ports_of(sock);
    if !filter::ports_watched(local, peer) || !filter::netns_watched(socket::netns(sock)) {
        return;
    }
    if new == socket::state::LISTEN {
        // listen(2): the process will own what it accepts. Forking servers hand that on, so this only makes its facts known.
        let mut task = socket::NOTHING_KNOWN.task;
        task::fill_current(&mut task);
        task::introduce(&task, sock);
        return;
    }
    let mut connection = socket::NOTHING_KNOWN;
    update(&mut connection, sock, old, new);
    if new == socket::state::SYN_SENT {
        // connect(2) runs in its caller's context.
        task::fill_current(&mut connection.task);
        task::introduce(&connection.task, sock);
        connection.owner = owner::CONNECT;
        connection.active_open = 1;
    }
    if let Err(error) = CONNECTIONS.insert(sock, connection, 0) {
        count(counter::CONNECTIONS_FULL);
        diagnose::connection_not_stored(u32::from(new), error);
    }
}

#[inline(always)]
fn update(connection: &mut Connection, sock: u64, old: u8, new: u8) {
    let now = boottime_ns();
    if new == socket::state::ESTABLISHED && connection.established_ns == 0 {
        connection.established_ns = now;
    }
    connection.previous_state = old;
    connection.state = new;
    connection.changed_ns = now;
    // Only close(2), shutdown(2) and the end of a process send this host's FIN, all of them in the owner's context
    // (tcp_close_state(), <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>).
    if new == socket::state::FIN_WAIT1 || new == socket::state::LAST_ACK {
        task::fill_current(&mut connection.task);
        task::introduce(&connection.task, sock);
        connection.owner = owner::CLOSE;
    }
}
