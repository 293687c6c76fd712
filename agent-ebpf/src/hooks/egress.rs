//! The packet tap's other half: a socket filter on a packet socket for all protocols, the only kind
//! that sees what leaves.
//!
//! It keeps for the leaving direction of watched connections the same facts as the tap. The header
//! of every RST that leaves goes out: that of one which a tracepoint announces completes it, and
//! where none does, it was not this kernel's TCP that made it. Arriving packets, which such a
//! socket sees too, it lets go at once.

use aya_ebpf::{EbpfContext, macros::socket_filter, programs::SkBuffContext};
use rstblame_abi::{
    flow::{FlowState, Packet, direction, packet_bit},
    kind,
    rate_limit::class,
    tcp::flag::{ACK, RST, SYN},
};

use crate::{
    ground::clock,
    tap::{
        amqp, flow, flow_table, handshake,
        headers::{self, Segment},
        rst,
    },
};

/// `PACKET_OUTGOING`
/// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/if_packet.h>).
const OUTGOING: u32 = 4;

#[socket_filter]
pub fn egress(ctx: SkBuffContext) -> i64 {
    // SAFETY: `ctx` holds the pointer the kernel gave; the verifier checks the member.
    if unsafe { (*ctx.skb.skb).pkt_type } != OUTGOING {
        return 0;
    }
    let skb = ctx.as_ptr() as u64;
    // SAFETY: null, or what was read, which is this CPU's until the program ends.
    if let Some(segment) = unsafe { headers::either(&ctx, skb, direction::OUT).as_mut() } {
        ours(&ctx, segment);
    }
    0
}

/// A segment of a watched connection.
#[inline(always)]
fn ours(ctx: &SkBuffContext, segment: &mut Segment) {
    let now = clock::now();
    let known = flow_table::of(&segment.key);
    if segment.packet.flags & RST != 0 {
        left(segment, known);
        rst::report(ctx);
        return;
    }
    let Segment { key, packet, payload_at, window, .. } = segment;
    if packet.flags & SYN != 0 {
        handshake::seen(key, packet, known, now);
        return;
    }
    let flow = if known.is_null() { flow::begin(key, packet) } else { known };
    // SAFETY: null, or a value that stays valid while the program runs. Packets of one connection
    // leave one after the other, under its socket's lock or that of the queue.
    let Some(flow) = (unsafe { flow.as_mut() }) else {
        return;
    };
    if again(flow, packet) {
        return;
    }
    let before = flow.last_payload;
    flow::observe(flow, key, packet, now);
    flow.ifindex = packet.ifindex;
    // A packet that is still to be cut into segments uses up an identification for each.
    // SAFETY: as for `pkt_type`.
    let segments = unsafe { (*ctx.skb.skb).gso_segs };
    if segments > 1 && packet.bits & packet_bit::IPV6 == 0 {
        flow.id_last = flow.id_last.wrapping_add(segments as u16 - 1);
    }
    amqp::take(ctx, flow, amqp::Part { key, packet, payload_at: *payload_at, window, before, now });
}

/// A RST. No part of the program that each packet runs through.
#[inline(never)]
fn left(segment: &mut Segment, flow: *const FlowState) {
    segment.packet.boottime_ns = clock::boottime_ns();
    segment.kind = kind::LEFT_RST;
    segment.class = if rst::is_proven(flow) { class::LEFT_RST } else { class::LEFT_STRAY };
}

/// Whether a packet was seen already, on its way through a VLAN, a bond or a bridge to the device
/// below.
#[inline(always)]
fn again(flow: &FlowState, packet: &Packet) -> bool {
    flow.ifindex != 0
        && flow.ifindex != packet.ifindex
        && flow::end(packet).wrapping_sub(flow.end_seq).cast_signed() <= 0
        && (packet.flags & ACK == 0 || packet.ack.wrapping_sub(flow.last_ack).cast_signed() <= 0)
}
