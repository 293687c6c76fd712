//! `sock:inet_sock_set_state`: when a watched connection was opened, by whom, and which state it was in before it closed.
//!
//! The state matters because an aborting socket is already CLOSE when `tcp_send_reset` fires
//! (tcp_disconnect(), <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c>).

use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, tracepoint},
    programs::{BtfTracePointContext, TracePointContext},
};
use rstblame_ebpf::{Connection, RecordFormat, Task, counter, owner};

use crate::{
    filter,
    maps::{CONNECTIONS, count},
    memory::{offset_of_member, read_or},
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
    let sock = read_or(args, 0, 0);
    handle(
        sock,
        read_or::<u32>(args, 8, 0) as u8,
        read_or::<u32>(args, 16, 0) as u8,
        read_or(sock, offset_of_member!(sk_protocol), IPPROTO_TCP),
        &RecordTuple { base: 0, format: &STATE_FORMAT },
    );
    0
}

#[tracepoint]
pub fn sock_state_tp(ctx: TracePointContext) -> u32 {
    let base = ctx.as_ptr() as u64;
    handle(
        read_or(base, record_offset!(STATE_FORMAT, skaddr), 0),
        read_or::<u32>(base, record_offset!(STATE_FORMAT, oldstate), 0) as u8,
        read_or::<u32>(base, record_offset!(STATE_FORMAT, newstate), 0) as u8,
        read_or(base, record_offset!(STATE_FORMAT, protocol), IPPROTO_TCP),
        &RecordTuple { base, format: &STATE_FORMAT },
    );
    0
}

#[inline(always)]
fn handle(sock: u64, old: u8, new: u8, protocol: u16, tuple: &RecordTuple<'_>) {
    if new == socket::state::LISTEN || protocol != IPPROTO_TCP {
        return;
    }
    if let Some(known) = CONNECTIONS.get_ptr_mut(sock)
        && new != socket::state::SYN_SENT
    {
        // SAFETY: the value stays valid while the program runs, and changes of one socket's state are serialised by its lock.
        let known = unsafe { &mut *known };
        let now = boottime_ns();
        if new == socket::state::ESTABLISHED && known.established_ns == 0 {
            known.established_ns = now;
        }
        known.previous_state = old;
        known.state = new;
        known.changed_ns = now;
        return;
    }
    // A connection that is first seen in any other state was opened before the agent was: its age is not known.
    if new != socket::state::SYN_SENT && new != socket::state::ESTABLISHED {
        return;
    }
    let Some((local, peer)) = socket::ports(sock).or_else(|| tuple.ports()) else {
        return;
    };
    if !filter::ports_watched(local, peer) || !filter::netns_watched(socket::netns(sock)) {
        return;
    }
    remember(sock, old, new);
}

#[inline(always)]
fn remember(sock: u64, old: u8, new: u8) {
    let now = boottime_ns();
    let mut connection = Connection {
        established_ns: 0,
        changed_ns: now,
        task: Task { start_boottime_ns: 0, cgroup_id: 0, tgid: 0, tid: 0, uid: 0, flags: 0, comm: [0; rstblame_ebpf::COMM_LEN] },
        previous_state: old,
        state: new,
        owner: owner::NONE,
        active_open: 0,
        reserved: [0; 4],
    };
    if new == socket::state::SYN_SENT {
        // connect(2) runs in its caller's context.
        task::fill_current(&mut connection.task);
        connection.owner = owner::CONNECT;
        connection.active_open = 1;
    } else {
        connection.established_ns = now;
    }
    if CONNECTIONS.insert(sock, connection, 0).is_err() {
        count(counter::CONNECTIONS_FULL);
    }
}
