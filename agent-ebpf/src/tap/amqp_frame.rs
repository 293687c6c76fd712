//! What a complete unit of a conversation says: a header, the ids of a method, the beginning of its
//! arguments, a text.
//!
//! The rules are those of the follower in user space (`agent/src/amqp/follow.rs`); the lab holds
//! the two against each other.

use rstblame_abi::{
    conversation::{
        CHANNEL_CLOSE, ChannelError, Spoken, TEXT_MAX, VHOST_MAX, channels, first_bytes, is_success, may_be_close, method, protocol,
        record, spoken, stage,
    },
    flow::{CARRY, FlowKey, FlowState},
};

use crate::ground::{clock::boottime_ns, maps::CHANNEL_ERRORS};

/// `0xCE` ends every frame (AMQP 0-9-1, section 4.2.3).
pub const FRAME_END: u8 = 0xce;

/// The class `connection`.
const CONNECTION: u16 = 10;

/// Frame types (AMQP 0-9-1, section 4.2.3; heartbeats by the table of constants, which is what is
/// spoken).
const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
const CONTENT_BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// Larger frames than any broker or client agrees on (`frame-max` is 128 KiB by default) are no
/// frames.
const FRAME_MAX: u32 = 1 << 30;

/// The largest TLS record (RFC 8446, section 5.2; RFC 5246, section 6.2.3).
const RECORD_MAX: u32 = (1 << 14) + 2048;

/// The octet that ends a frame: what the frame said counts from now on.
#[inline(always)]
pub fn frame_ended(said: &mut Spoken, flow: &mut FlowState, now: u32) -> bool {
    let pending = flow.pending;
    flow.pending = 0;
    if flow.carry[0] != FRAME_END {
        return false;
    }
    if pending & method::CLOSE != 0 {
        said.close_at = now;
    }
    if pending & (method::BLOCKED | method::UNBLOCKED) != 0 {
        said.blocked_at = now;
        said.flags &= !spoken::BLOCKED;
        if pending & method::BLOCKED != 0 {
            said.flags |= spoken::BLOCKED;
        }
    }
    if pending & method::HEARTBEAT != 0 {
        said.heartbeat_at = now;
    }
    if pending & method::START != 0 {
        flow.channels = channels::ALLOWED;
    }
    if pending & method::CHANNEL != 0 {
        flow.channels = channels::SEEN;
    }
    said.methods |= pending;
    true
}

/// A unit is complete. False when it makes no sense.
#[inline(always)]
pub fn complete(key: &FlowKey, said: &mut Spoken, flow: &mut FlowState, now: u32) -> bool {
    match flow.stage {
        stage::FIRST => first(said, flow),
        stage::PROTOCOL => header(said, flow),
        stage::FRAME => frame(flow),
        stage::METHOD => ids(said, flow),
        stage::ARGUMENTS => arguments(said, flow),
        stage::VHOST => {
            said.vhost_length = flow.want;
            after_vhost(flow, flow.want);
            true
        }
        stage::RESERVED => {
            // That string, and an octet of bits.
            let rest = flow.resume.wrapping_sub(flow.next);
            done(flow, method::OPEN);
            rest == u32::from(flow.carry[0]) + 1
        }
        stage::TEXT => {
            let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, length, ..] = flow.carry;
            said.text_length = flow.want;
            // What is not kept of a long text.
            flow.next = flow.next.wrapping_add(u32::from(length.wrapping_sub(flow.want)));
            wait_for(flow, stage::FAILED, 0, 4);
            true
        }
        stage::FAILED => {
            let [a, b, c, d, ..] = flow.carry;
            said.close_class = u16::from_be_bytes([a, b]);
            said.close_method = u16::from_be_bytes([c, d]);
            done(flow, method::CLOSE);
            true
        }
        stage::RECORD => tls(said, flow),
        stage::CHANNEL_METHOD => {
            let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = flow.carry;
            if (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])) == CHANNEL_CLOSE {
                wait_for(flow, stage::CHANNEL_CLOSE, 12, 15);
            } else {
                done(flow, method::CHANNEL);
            }
            true
        }
        stage::CHANNEL_CLOSE => channel_close(key, said, flow),
        stage::CHANNEL_TEXT | stage::CHANNEL_FAILED => channel_error(key, flow, now),
        _ => false,
    }
}

/// Goes on with another stage.
#[inline(always)]
fn wait_for(flow: &mut FlowState, stage: u8, have: u8, want: u8) {
    flow.stage = stage;
    flow.have = have;
    flow.want = want;
}

/// Goes on with the next frame; what this one said counts when its end octet is there.
#[inline(always)]
fn done(flow: &mut FlowState, what: u16) {
    flow.pending = what;
    flow.next = flow.resume;
    wait_for(flow, stage::FRAME, 0, 8);
}

/// Goes on with the first frame, as if one had ended before it.
#[inline(always)]
fn first_frame(flow: &mut FlowState) {
    flow.carry[0] = FRAME_END;
    wait_for(flow, stage::FRAME, 1, 8);
}

/// The first byte of all, which is looked at once more as part of what it begins.
#[inline(always)]
fn first(said: &mut Spoken, flow: &mut FlowState) -> bool {
    said.began_ns = boottime_ns();
    flow.next = flow.next.wrapping_sub(1);
    match flow.carry[0] {
        1 => first_frame(flow),
        // A client begins with its hello, a server with its own or with an alert.
        21 | 22 => wait_for(flow, stage::RECORD, 0, 5),
        first => {
            if first != b'A' {
                said.protocol = protocol::OTHER;
            }
            wait_for(flow, stage::PROTOCOL, 0, 8);
        }
    }
    true
}

/// A protocol header, or what stands in its place. Where the server sends one, it does not speak
/// what the client does.
#[inline(always)]
fn header(said: &mut Spoken, flow: &mut FlowState) -> bool {
    let Some(first) = flow.carry.first_chunk() else {
        return false;
    };
    said.protocol = first_bytes(*first);
    if said.protocol == protocol::AMQP_091 {
        // Only clients go on after a protocol header, and a client may send what it likes.
        flow.channels = channels::ALLOWED;
        first_frame(flow);
    } else {
        flow.stage = stage::NONE;
        // The class is all that is kept: these are no bytes of AMQP, and a RST takes what is
        // remembered of its direction with it.
        flow.carry = [0; CARRY];
    }
    true
}

/// The end octet of a frame and the header of the next.
#[inline(always)]
fn frame(flow: &mut FlowState) -> bool {
    let [_, kind, c0, c1, ..] = flow.carry;
    let channel = u16::from_be_bytes([c0, c1]);
    let size = size(flow);
    if size > FRAME_MAX {
        return false;
    }
    flow.resume = flow.next.wrapping_add(size);
    if kind == METHOD && channel == 0 {
        wait_for(flow, stage::METHOD, 8, 12);
        return size >= 4;
    }
    // A broker begins with `start`.
    if flow.channels == channels::NONE {
        return false;
    }
    if kind == HEARTBEAT {
        done(flow, method::HEARTBEAT);
        return channel == 0 && size == 0;
    }
    if may_be_channel_close(kind, size) && channel != 0 {
        wait_for(flow, stage::CHANNEL_METHOD, 8, 12);
        return true;
    }
    done(flow, method::CHANNEL);
    is_of_channel(kind, channel, size)
}

/// Whether a frame on a channel may be `channel.close`: of most that are no methods the header
/// tells.
#[inline(always)]
pub const fn may_be_channel_close(kind: u8, size: u32) -> bool {
    kind == METHOD && may_be_close(size)
}

/// Whether a header is that of a frame on a channel, of which nothing is kept.
#[inline(always)]
pub fn is_of_channel(kind: u8, channel: u16, size: u32) -> bool {
    let least = match kind {
        METHOD => 4,
        CONTENT_HEADER | CONTENT_BODY => 0,
        _ => return false,
    };
    channel != 0 && (least..=FRAME_MAX).contains(&size)
}

/// Only clients begin with a protocol header.
#[inline(always)]
fn from_client(said: &Spoken) -> bool {
    said.protocol == protocol::AMQP_091
}

/// Size of the frame that is looked at.
#[inline(always)]
fn size(flow: &FlowState) -> u32 {
    let [_, _, _, _, a, b, c, d, ..] = flow.carry;
    u32::from_be_bytes([a, b, c, d])
}

/// Class and method id on channel 0. Of which methods more is read stands here, and nowhere else
/// (AMQP 0-9-1, section 1.4): those that follow `start` and `secure` hold credentials.
#[inline(always)]
fn ids(said: &Spoken, flow: &mut FlowState) -> bool {
    let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = flow.carry;
    let client = from_client(said);
    let (class, id) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if !client && said.methods & method::START == 0 && (class, id) != (CONNECTION, 10) {
        return false;
    }
    if class != CONNECTION {
        done(flow, 0);
        return true;
    }
    // What it is; whether this end sends it; the smallest and the largest size that it can have,
    // where more is read.
    let (what, sent, smallest, largest) = match id {
        10 => (method::START, !client, 4, FRAME_MAX),
        11 => (method::START_OK, client, 4, FRAME_MAX),
        20 => (method::SECURE, !client, 4, FRAME_MAX),
        21 => (method::SECURE_OK, client, 4, FRAME_MAX),
        30 => (method::TUNE, !client, 12, 12),
        31 => (method::TUNE_OK, client, 12, 12),
        40 => (method::OPEN, client, 7, 517),
        41 => (method::OPEN_OK, !client, 5, 260),
        50 => (method::CLOSE, true, 11, 266),
        51 => (method::CLOSE_OK, true, 4, 4),
        60 => (method::BLOCKED, !client, 5, 260),
        61 => (method::UNBLOCKED, !client, 4, 4),
        _ => (0, true, 4, FRAME_MAX),
    };
    match what {
        method::TUNE | method::TUNE_OK => wait_for(flow, stage::ARGUMENTS, 12, 20),
        method::OPEN | method::OPEN_OK | method::BLOCKED => wait_for(flow, stage::ARGUMENTS, 12, 13),
        method::CLOSE => wait_for(flow, stage::ARGUMENTS, 12, 15),
        what => done(flow, what),
    }
    let size = size(flow);
    sent && size >= smallest && size <= largest
}

/// The fixed beginning of the arguments of those methods. None of them is sent twice by one end.
#[inline(always)]
fn arguments(said: &mut Spoken, flow: &mut FlowState) -> bool {
    let [_, _, _, _, _, _, _, _, _, _, _, id, first, second, third, _, _, _, a, b, ..] = flow.carry;
    let size = size(flow);
    match id {
        // channel-max (2), frame-max (4), heartbeat (2).
        30 | 31 => {
            said.heartbeat = u16::from_be_bytes([a, b]);
            done(flow, if id == 30 { method::TUNE } else { method::TUNE_OK });
            size == 12 && said.methods & (method::TUNE | method::TUNE_OK) == 0
        }
        // virtual-host (short string), reserved (short string), reserved (bit).
        40 => {
            let length = u32::from(first);
            if length == 0 {
                after_vhost(flow, 0);
            } else {
                wait_for(flow, stage::VHOST, 0, if length < VHOST_MAX { first } else { VHOST_MAX as u8 });
            }
            size >= 7 + length && said.methods & method::OPEN == 0
        }
        // One short string.
        41 | 60 => {
            done(flow, if id == 41 { method::OPEN_OK } else { method::BLOCKED });
            size == 5 + u32::from(first)
        }
        // reply-code (2), reply-text (short string), class-id (2), method-id (2).
        50 => {
            let length = u32::from(third);
            said.close_code = u16::from_be_bytes([first, second]);
            if length == 0 {
                wait_for(flow, stage::FAILED, 0, 4);
            } else {
                wait_for(flow, stage::TEXT, 0, if length < TEXT_MAX { third } else { TEXT_MAX as u8 });
            }
            size == 11 + length && said.methods & method::CLOSE == 0
        }
        _ => false,
    }
}

/// The fixed beginning of the arguments of `channel.close`. One that names no error tells nothing.
#[inline(always)]
fn channel_close(key: &FlowKey, said: &mut Spoken, flow: &mut FlowState) -> bool {
    let [_, _, c0, c1, _, _, _, _, _, _, _, _, first, second, length, ..] = flow.carry;
    let code = u16::from_be_bytes([first, second]);
    let sound = size(flow) == 11 + u32::from(length);
    // What an earlier one said is written over.
    let failed = !is_success(code) && {
        said.methods &= !method::CHANNEL_CLOSE;
        #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied to the stack")]
        CHANNEL_ERRORS.insert(key, &NO_ERROR, 0).is_ok()
    };
    match CHANNEL_ERRORS.get_ptr_mut(key).filter(|_| failed) {
        Some(error) => {
            // SAFETY: the value stays valid while the program runs; segments of one direction come
            // one after the other.
            let error = unsafe { &mut *error };
            error.channel = u16::from_be_bytes([c0, c1]);
            error.code = code;
            if length == 0 {
                wait_for(flow, stage::CHANNEL_FAILED, 0, 4);
            } else {
                wait_for(flow, stage::CHANNEL_TEXT, 0, if u32::from(length) < TEXT_MAX { length } else { TEXT_MAX as u8 });
            }
        }
        None => done(flow, method::CHANNEL),
    }
    sound
}

/// The text of `channel.close`, then the ids of what failed.
#[inline(always)]
fn channel_error(key: &FlowKey, flow: &mut FlowState, now: u32) -> bool {
    let Some(error) = CHANNEL_ERRORS.get_ptr_mut(key) else {
        // It had to make room.
        done(flow, method::CHANNEL);
        return true;
    };
    // SAFETY: as above.
    let error = unsafe { &mut *error };
    if flow.stage == stage::CHANNEL_TEXT {
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, length, ..] = flow.carry;
        error.text_length = flow.want;
        // What is not kept of a long text.
        flow.next = flow.next.wrapping_add(u32::from(length.wrapping_sub(flow.want)));
        wait_for(flow, stage::CHANNEL_FAILED, 0, 4);
        return true;
    }
    let [a, b, c, d, ..] = flow.carry;
    error.class = u16::from_be_bytes([a, b]);
    error.method = u16::from_be_bytes([c, d]);
    error.at = now;
    done(flow, method::CHANNEL_CLOSE | method::CHANNEL);
    true
}

/// No error of a channel.
static NO_ERROR: ChannelError = ChannelError::NONE;

/// The vhost is there, as much of it as is kept.
#[inline(always)]
fn after_vhost(flow: &mut FlowState, kept: u8) {
    let [_, _, _, _, _, _, _, _, _, _, _, _, length, ..] = flow.carry;
    flow.next = flow.next.wrapping_add(u32::from(length.wrapping_sub(kept)));
    wait_for(flow, stage::RESERVED, 0, 1);
}

/// A TLS record.
#[inline(always)]
fn tls(said: &mut Spoken, flow: &mut FlowState) -> bool {
    let [kind, major, _, a, b, ..] = flow.carry;
    let length = u16::from_be_bytes([a, b]);
    if major != 3 || u32::from(length) > RECORD_MAX || said.records == record::ALERT && kind == 22 {
        return false;
    }
    said.protocol = protocol::TLS;
    said.records |= match kind {
        20 | 24 => 0,
        21 => record::ALERT,
        22 => record::HANDSHAKE,
        23 => record::APPLICATION_DATA,
        _ => return false,
    };
    flow.next = flow.next.wrapping_add(u32::from(length));
    wait_for(flow, stage::RECORD, 0, 5);
    true
}
