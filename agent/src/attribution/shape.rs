//! What kind of code built a RST, by its header alone.
//!
//! Linux has two ways. `tcp_send_active_reset()` sends RST|ACK from a socket, with its window, its
//! timestamps and its IP-ID counter. `tcp_v4_send_reset()` and `nf_send_reset()` answer a segment:
//! no socket's header, window 0, no options, IP-ID 0, DF
//! (<https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_ipv4.c>,
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_output.c>,
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/netfilter/nf_reject_ipv4.c>). Windows and
//! the BSDs answer as bare, with an IP-ID of their own.

use crate::{
    flow::wire::{Segment, Wire},
    model::Flags,
};

/// Kind of code that built a RST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// From a living socket: an application or its kernel aborted.
    Active,
    /// An answer to a segment, as bare as Linux builds it: a kernel without the socket, or
    /// netfilter, on any host.
    Answer,
    /// An answer as bare, with an IP-ID: Windows, a BSD, an appliance.
    OtherAnswer,
    /// None of these.
    Foreign,
}

impl Shape {
    /// Classifies the RST of `wire`.
    pub fn of(wire: &Wire) -> Self {
        let rst = &wire.rst;
        let plain = rst.flags.0 & !(Flags::RST | Flags::ACK) == 0 && rst.payload == 0;
        if !plain {
            return Self::Foreign;
        }
        // A RST that is the next packet of its host's counter is of that host, whatever it does
        // with DF.
        let counted = counts_on(wire);
        let fragmentable = rst.dont_fragment == Some(false) && wire.sender.sets_dont_fragment() != Some(false) && !counted;
        if repeats_window(wire) && !fragmentable {
            return Self::Active;
        }
        if rst.flags.ack() && !answers_syn(rst) && (rst.window != 0 || rst.timestamps.is_some()) {
            return if fragmentable { Self::Foreign } else { Self::Active };
        }
        let bare = rst.window == 0 && (rst.options.is_empty() || rst.options.authenticated());
        if !bare || fragmentable {
            return Self::Foreign;
        }
        let linux = rst.ip_id.is_none_or(|id| id == 0) && (!rst.flags.ack() || answers_syn(rst));
        if linux { Self::Answer } else { Self::OtherAnswer }
    }

    /// Whether it answers a segment, and has nothing of a socket.
    pub const fn answers(self) -> bool {
        matches!(self, Self::Answer | Self::OtherAnswer)
    }
}

/// RST|ACK with sequence number 0: the answer to a segment without ACK, which is a SYN (RFC 9293,
/// section 3.10.7.1).
pub const fn answers_syn(rst: &Segment) -> bool {
    rst.flags.ack() && rst.seq == 0
}

/// Steps of the IP-ID that count as the next packets of one host: some may not have been seen.
pub const NEXT: u16 = 4;

/// Whether the RST's IP-ID is the next of what the peer's packets, and its RSTs before this one,
/// count up.
pub fn counts_on(wire: &Wire) -> bool {
    let Some(id) = wire.rst.ip_id.filter(|id| *id != 0) else { return false };
    let Some(mut last) = wire.sender.ip_ids.last.or(wire.sender.handshake_ip_id).filter(|last| *last != 0) else { return false };
    let follows = |id: u16, last: u16| (1..=NEXT).contains(&id.wrapping_sub(last));
    for other in wire.others.iter().filter(|other| other.time_ns <= wire.rst.time_ns) {
        last = other.ip_id.filter(|id| follows(*id, last)).unwrap_or(last);
    }
    follows(id, last)
}

/// A RST without ACK and options that bears the window of the peer's latest segment: a stack that
/// makes all its segments from what it knows of the connection, as those of Mentat's heirs
/// (Solaris, HP-UX) and IOS do. Linux, Windows and the BSDs send 0 there.
pub fn repeats_window(wire: &Wire) -> bool {
    let (rst, sender) = (&wire.rst, &wire.sender);
    !rst.flags.ack() && rst.options.is_empty() && rst.window != 0 && sender.window == Some(rst.window) && sender.ttl.count > 0
}
