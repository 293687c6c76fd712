//! `sock:inet_sock_set_state`: when a watched connection was opened, by whom, which state it was in
//! before it closed, and who ended it.
//!
//! The state matters because an aborting socket is already CLOSE when `tcp_send_reset` fires
//! (tcp_disconnect(), <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>).

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use rstblame_abi::{Connection, RecordFormat, counter, kind, owner, rate_limit::class, tcp::state, valid};

use crate::{
    ground::{
        clock::boottime_ns,
        diagnose,
        endpoints::Ends,
        filter,
        maps::{CONNECTIONS, count},
        netns,
        probe_read::{offset_of_member, read_into, read_or, read_or_zero},
        verifier::{mark, unknown},
    },
    record::{
        live, socket,
        submit::{Seen, submit_ending},
        task::{self, submit_task},
        tracepoint::{RecordTuple, record_offset},
    },
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
    if new != state::SYN_SENT
        && let Some(known) = CONNECTIONS.get_ptr_mut(sock)
    {
        // SAFETY: the value stays valid while the program runs, and changes of one socket's state
        // are serialised by its lock.
        let known = unsafe { &mut *known };
        update(known, sock, old, new);
        if known.active_open == 1 {
            live::follow(sock, old, new);
        }
        report(known, sock, tuple);
        return;
    }
    // Connections that are first seen in any other state were opened before the agent was: their
    // age is not known. But whoever closes one is its owner all the same, and its end is one.
    let first_seen = match new {
        state::FIN_WAIT1 | state::LAST_ACK | state::CLOSE_WAIT | state::SYN_SENT | state::ESTABLISHED | state::LISTEN => true,
        state::CLOSE => old == state::ESTABLISHED,
        _ => false,
    };
    if !first_seen {
        return;
    }
    let (local, peer) = tuple.ports_of(sock);
    if !filter::ports_watched(local, peer) || !filter::netns_watched(netns::of_socket(sock)) {
        return;
    }
    if new == state::LISTEN {
        // listen(2): the process will own what it accepts. Forking servers hand that on, so this
        // only makes its facts known.
        let mut task = socket::NOTHING_KNOWN.task;
        task::fill_current(&mut task);
        task::introduce(&task, sock);
        return;
    }
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied to the stack")]
    if let Err(error) = CONNECTIONS.insert(sock, &socket::NEW, 0) {
        count(counter::CONNECTIONS_FULL);
        diagnose::connection_not_stored(u32::from(new), error);
        return;
    }
    let Some(connection) = CONNECTIONS.get_ptr_mut(sock) else { return };
    // SAFETY: as above.
    let connection = unsafe { &mut *connection };
    update(connection, sock, old, new);
    if new == state::SYN_SENT {
        // connect(2) runs in its caller's context.
        task::fill_current(&mut connection.task);
        task::introduce(&connection.task, sock);
        connection.owner = owner::CONNECT;
        connection.active_open = 1;
    }
    report(connection, sock, tuple);
}

#[inline(always)]
fn update(connection: &mut Connection, sock: u64, old: u8, new: u8) {
    let now = boottime_ns();
    if new == state::ESTABLISHED && connection.established_ns == 0 {
        connection.established_ns = now;
    }
    connection.previous_state = old;
    connection.state = new;
    connection.changed_ns = now;
    // Only close(2), shutdown(2) and the end of a process send this host's FIN, all of them in the
    // owner's context (tcp_close_state(),
    // <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>). Multipath TCP leaves it to a
    // worker: then whoever connected is still the best that is known.
    if (new == state::FIN_WAIT1 || new == state::LAST_ACK) && !task::is_kernel_thread() {
        task::fill_current(&mut connection.task);
        task::introduce(&connection.task, sock);
        connection.owner = owner::CLOSE;
    }
}

/// Reports the first act of an end: this host's FIN, the peer's, or that the kernel gave the
/// connection up. Whoever closes after the peer's FIN is reported by name only.
#[inline(always)]
fn report(connection: &Connection, sock: u64, tuple: &RecordTuple<'_>) {
    let (old, new) = (connection.previous_state, connection.state);
    let closed = old == state::ESTABLISHED && (new == state::FIN_WAIT1 || new == state::CLOSE_WAIT);
    let given_up = new == state::CLOSE && (old == state::ESTABLISHED || old == state::SYN_SENT) && socket::timed_out(sock);
    if old == state::CLOSE_WAIT && new == state::LAST_ACK {
        submit_task(kind::CLOSED, sock);
    }
    if !closed && !given_up {
        return;
    }
    let mut ends = Ends::none();
    socket::read_ends(sock, &mut ends);
    if !unknown(ends.present) {
        tuple.read_ends(&mut ends);
    }
    let seen = Seen { kind: kind::ENDING, class: class::CONNECTED, ends: &ends, netns: netns::of_socket(sock) };
    submit_ending(&seen, |record| {
        record.sock = sock;
        mark(&mut record.valid, valid::HAS_SOCK);
        record.state = new;
        mark(&mut record.valid, valid::STATE);
        record.connection = *connection;
        mark(&mut record.valid, valid::CONNECTION);
        socket::fill_socket(sock, record);
        read_into(sock, offset_of_member!(sk_err), &mut record.error);
        // A worker that closes for somebody else; what a peer's FIN interrupts is nobody's.
        if new == state::FIN_WAIT1 && task::is_kernel_thread() {
            mark(&mut record.valid, valid::KERNEL_THREAD);
        }
        task::fill_signal(record.connection.task.tgid, &mut record.signal);
    });
}
