//! Following AMQP 0-9-1 frames and TLS records of one direction, from the first byte on.
//!
//! Where the next header begins is known by arithmetic; what lies between is not read. A segment
//! from before that is old: a retransmission, or the same packet on another device. One from beyond
//! it leaves a gap, and then nothing that comes is trusted any more: no header is ever guessed.
//! Bytes are copied only of headers and of the methods that [`super::amqp_frame`] names, never of
//! credentials and of content.
//!
//! Of messages nothing is kept. Frames on channels, which most segments hold and nothing else, are
//! passed over where the segment is seen ([`take`]); a segment with anything else is handed over to
//! a program of its own ([`amqp`]).

use core::{hint::cold_path, ops::Range};

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_skb_load_bytes,
    macros::{map, socket_filter},
    maps::PerCpuArray,
    programs::SkBuffContext,
};
use rstblame_abi::{
    called,
    conversation::{CHANNEL_CLOSE, Spoken, channels, spoken, stage},
    counter,
    flow::{FlowKey, FlowState, Packet},
};

use super::{
    amqp_frame::{FRAME_END, complete, frame_ended, is_of_channel, may_be_channel_close},
    flow_table,
    payload_window::Window,
};
use crate::ground::{
    clock::boottime_ns,
    maps::{CALLED, CHANNEL_ERRORS, SPOKEN, count},
    verifier::not_written_out,
};

/// The segment that is handed over to that program.
#[map]
static HANDOVER: PerCpuArray<Handover> = PerCpuArray::with_max_entries(1, 0);

/// Units (headers, ids, arguments) that one run looks at. The program calls itself again, as often
/// as the kernel lets it: 33 times, or 32 (`MAX_TAIL_CALL_CNT`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/bpf.h>). A segment that holds more
/// is given up, and its direction with it.
const UNITS: u32 = 8;

/// Frames on channels that are passed over in one segment before it is handed over.
const FRAMES: u32 = 8;

/// Bytes of an end octet and the header behind it (AMQP 0-9-1, section 2.3.5).
const FRAME: u32 = 8;

/// Those, and class and method id, which all but the shortest frames have room for.
const METHOD: u32 = FRAME + 4;

/// Class and method id of `channel.close`, as they stand in memory.
const CLOSE: u32 = {
    let ([a, b], [c, d]) = (CHANNEL_CLOSE.0.to_be_bytes(), CHANNEL_CLOSE.1.to_be_bytes());
    u32::from_ne_bytes([a, b, c, d])
};

/// Bits of the time in jiffies. When one of them has changed since the payload before, a segment is
/// handed over whatever it holds: each second to ten, by the kernel's `CONFIG_HZ`.
const LONG: u32 = !0x3ff;

/// Room for a text and as much again, in words.
const ROOM: usize = 32;

/// A segment on its way from `tap` or `egress` to `amqp`.
#[repr(C)]
pub struct Handover {
    key: FlowKey,
    /// Sequence number of the first byte of its payload.
    seq: u32,
    /// That of the byte after the last.
    end: u32,
    payload_at: u32,
    /// Jiffies, low 32 bits.
    now: u32,
    reserved: u32,
    /// What is there already of a unit, and behind it what the segment adds.
    room: [u64; ROOM],
}

/// A segment, and what is known of it beside its headers.
pub struct Part<'a> {
    pub key: &'a FlowKey,
    pub packet: &'a Packet,
    /// Where its payload begins.
    pub payload_at: u32,
    /// Where a part of it is put to be looked at.
    pub window: &'a mut Window,
    /// When the payload before it came: jiffies, low 32 bits.
    pub before: u32,
    /// Jiffies, low 32 bits.
    pub now: u32,
}

/// Takes in the payload of a segment. Does not return when it hands it over.
#[inline(always)]
pub fn take(ctx: &SkBuffContext, flow: &mut FlowState, part: Part<'_>) {
    let Part { key, packet, payload_at, window, before, now } = part;
    let end = packet.seq.wrapping_add(packet.payload);
    if flow.stage == stage::NONE || packet.payload == 0 || end.wrapping_sub(flow.next).cast_signed() <= 0 {
        return;
    }
    // Now and then the other way: what was said counts as used then, and does not make room for
    // what is used less.
    if (before ^ now) & LONG == 0 && may_pass_over(flow, packet) {
        let passed = pass_over(ctx, flow, window, packet.seq..end, payload_at);
        window.close();
        if passed {
            return;
        }
    }
    if let Some(handover) = HANDOVER.get_ptr_mut(0) {
        // SAFETY: this CPU's own; socket filters run with softirqs off, one after the other.
        let handover = unsafe { &mut *handover };
        handover.key = *key;
        handover.seq = packet.seq;
        handover.end = end;
        handover.payload_at = payload_at;
        handover.now = now;
        // SAFETY: the program that is called has the same context.
        unsafe { CALLED.tail_call(ctx, called::AMQP) };
    }
    // There is no such program.
    flow.stage = stage::NONE;
}

/// Whether a frame is next, or its end octet, and nothing is to be put down of frames on channels.
#[inline(always)]
fn may_pass_over(flow: &FlowState, packet: &Packet) -> bool {
    flow.stage == stage::FRAME
        && flow.channels == channels::SEEN
        && flow.pending == 0
        && flow.have <= 1
        && packet.seq.wrapping_sub(flow.next).cast_signed() <= 0
}

/// Passes over frames on channels, as [`unit`] would, of which there are more than of anything
/// else: without the other program, and without what was said. False when something else is left in
/// the segment: also `channel.close`, and what may be one and ends before it tells.
#[inline(always)]
fn pass_over(
    ctx: &SkBuffContext,
    flow: &mut FlowState,
    window: &mut Window,
    Range { start: seq, end }: Range<u32>,
    payload_at: u32,
) -> bool {
    let skb = ctx.as_ptr() as u64;
    let behind = payload_at.wrapping_add(end.wrapping_sub(seq));
    // The end octet of the frame before, with which a unit begins. It may have come with an earlier
    // segment; what stands in its place then, if only the end of a header, does not count.
    let mut came = flow.have != 0;
    let mut left = end.wrapping_sub(flow.next).wrapping_add(u32::from(came));
    let mut seen = window.open(skb, behind, left);
    // Most packets take one or two of them.
    for _ in 0..not_written_out(FRAMES) {
        if !seen.has(left, METHOD) {
            cold_path();
            if left.cast_signed() <= 0 {
                break;
            }
            if !seen.has(left, 1) || left >= FRAME {
                seen = window.open(skb, behind, left);
            }
            if left == 1 && seen.has(left, 1) {
                let ended = window.word(seen, left) as u8 == FRAME_END;
                flow.next = if ended { end } else { end.wrapping_sub(left) };
                flow.have = u8::from(ended);
                return ended;
            }
            if !seen.has(left, FRAME) {
                break;
            }
        }
        let [end_octet, kind, c0, c1, size @ ..] = window.word(seen, left).to_ne_bytes();
        let size = u32::from_be_bytes(size);
        if !came && end_octet != FRAME_END || !is_of_channel(kind, u16::from_be_bytes([c0, c1]), size) {
            break;
        }
        if may_be_channel_close(kind, size) {
            let [a, b, c, d, ..] = window.word(seen, left.wrapping_sub(FRAME)).to_ne_bytes();
            if !seen.has(left, METHOD) || u32::from_ne_bytes([a, b, c, d]) == CLOSE {
                cold_path();
                break;
            }
        }
        came = false;
        left = window.unknown(left.wrapping_sub(FRAME).wrapping_sub(size));
    }
    if !came {
        flow.next = end.wrapping_sub(left);
        flow.have = 0;
    }
    left.cast_signed() <= 0
}

#[socket_filter]
pub fn amqp(ctx: SkBuffContext) -> i64 {
    let Some(handover) = HANDOVER.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as in `take`.
    let handover = unsafe { &mut *handover };
    // SAFETY: null, or a value that stays valid while the program runs; packets of one direction
    // come one after the other.
    let Some(flow) = (unsafe { flow_table::of(&handover.key).as_mut() }) else {
        return 0;
    };
    if flow.stage == stage::FIRST {
        #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied to the stack")]
        let _best_effort = SPOKEN.insert(&handover.key, &NOTHING_SAID, 0);
    }
    let key = &handover.key;
    let Some(said) = SPOKEN.get_ptr_mut(key) else {
        // It had to make room: what was said so far is not known any more.
        flow.stage = stage::NONE;
        count(counter::CONVERSATIONS_GONE);
        return 0;
    };
    // SAFETY: as for the flow.
    let said = unsafe { &mut *said };
    if handover.seq.wrapping_sub(flow.next).cast_signed() > 0 {
        lose(said, flow);
        return 0;
    }
    for _ in 0..UNITS {
        if !unit(&ctx, handover, said, flow) {
            return 0;
        }
    }
    // SAFETY: the program that is called, this one, has the same context.
    unsafe { CALLED.tail_call(&ctx, called::AMQP) };
    lose(said, flow);
    0
}

/// Gives a direction up.
#[inline(always)]
fn lose(said: &mut Spoken, flow: &mut FlowState) {
    flow.stage = stage::NONE;
    said.flags |= spoken::LOST;
    if said.began_ns == 0 {
        // Its first byte went by unseen. Without a time it would be taken for something that an
        // earlier connection said, and nobody would know that a part of this one is missing.
        said.began_ns = boottime_ns();
        said.flags |= spoken::FIRST_LOST;
    }
}

/// Takes in the next unit, as far as the segment goes; false when there is nothing more to do in
/// it.
#[inline(never)]
fn unit(ctx: &SkBuffContext, handover: &mut Handover, said: &mut Spoken, flow: &mut FlowState) -> bool {
    let left = handover.end.wrapping_sub(flow.next);
    if left.cast_signed() <= 0 || flow.stage == stage::NONE {
        return false;
    }
    // `have` is always less than `want`, and that at most `TEXT_MAX`; the masks tell the verifier.
    let have = u32::from(flow.have & 0x7f);
    let missing = u32::from(flow.want).wrapping_sub(have);
    let taken = if left < missing { left } else { missing };
    let taken = (taken.wrapping_sub(1) & 0x7f) + 1;
    let at = handover.payload_at.wrapping_add(flow.next.wrapping_sub(handover.seq));
    let room = handover.room.as_mut_ptr();
    let mut text = said.text.as_mut_ptr();
    if flow.stage == stage::CHANNEL_TEXT {
        let key = &handover.key;
        let Some(error) = CHANNEL_ERRORS.get_ptr_mut(key) else {
            // It had to make room.
            lose(said, flow);
            return false;
        };
        // SAFETY: the value stays valid while the program runs.
        text = unsafe { (*error).text.as_mut_ptr() };
    }
    // SAFETY: all of them are aligned to 8 and as long as is copied.
    unsafe {
        match flow.stage {
            stage::VHOST => copy::<8>(said.vhost.as_ptr().cast(), room),
            stage::TEXT | stage::CHANNEL_TEXT => copy::<16>(text.cast(), room),
            _ => copy::<3>(flow.carry.as_ptr().cast(), room),
        }
    }
    // SAFETY: `have` is at most 127 and `taken` at most 128, and the room is 256 bytes; the helper
    // checks the bounds of the packet.
    let failed = unsafe { bpf_skb_load_bytes(ctx.as_ptr().cast(), at, room.cast::<u8>().add(have as usize).cast(), taken) };
    if failed != 0 {
        lose(said, flow);
        return false;
    }
    // SAFETY: as above.
    unsafe {
        match flow.stage {
            stage::VHOST => copy::<8>(room, said.vhost.as_mut_ptr().cast()),
            stage::TEXT | stage::CHANNEL_TEXT => copy::<16>(room, text.cast()),
            _ => copy::<3>(room, flow.carry.as_mut_ptr().cast()),
        }
    }
    flow.next = flow.next.wrapping_add(taken);
    flow.have = (have + taken) as u8;
    // As soon as it is there: it may be the last byte for long.
    let sound = flow.stage != stage::FRAME || have != 0 || frame_ended(said, flow, handover.now);
    if sound && taken < missing {
        return false;
    }
    if !sound || !complete(&handover.key, said, flow, handover.now) {
        lose(said, flow);
    }
    true
}

/// Copies words one by one: `memmove` would be a loop of single bytes.
///
/// # Safety
///
/// Both are aligned to 8 and valid for `WORDS` words.
#[inline(always)]
unsafe fn copy<const WORDS: usize>(from: *const u64, to: *mut u64) {
    for index in 0..WORDS {
        // SAFETY: the caller's; volatile, lest the compiler make a call of it again.
        unsafe { to.add(index).write_volatile(from.add(index).read_volatile()) };
    }
}

/// A direction that has said nothing.
static NOTHING_SAID: Spoken = Spoken::NOTHING;
