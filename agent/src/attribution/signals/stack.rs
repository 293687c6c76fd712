//! Whether the peer's stack builds such a RST: one test over all header fields.
//!
//! Source: the RSTs of Linux, Windows and the BSDs (see
//! [`Shape`](crate::attribution::shape::Shape)), held against this connection's own packets, since
//! those suffered the same rewriting on the way. Window 0, IP-ID 0 and missing timestamps are what
//! a genuine answer looks like, and count for nothing. Measured on public captures, a RST that no
//! template explains was an injected one in 269 of 269 cases, and no genuine RST of 198 was.
//!
//! Strength: 0.01 for an active RST that continues the socket's sequence, IP-ID and timestamps; up
//! to 150 for what no template explains, where several fields agree. Failure modes: scrubbing
//! firewalls that rewrite RSTs alone; rare stacks (an answer without DF from a host that sets it
//! elsewhere). RFC 7323, section 3.2, lets a RST go without a timestamp, and the older BSDs and
//! their heirs use that; Linux, which counts IP-IDs by socket and begins at a TTL of 64, does not
//! (`tcp_established_options()`): 100 against it, 15 against others.

use super::{Finding, Scene, ttl::hops, unprompted};
use crate::{
    attribution::shape::{NEXT, Shape, answers_syn, counts_on, repeats_window},
    flow::wire::{Segment, Side, Timestamps},
    model::{Flags, seq_at_or_after},
};

/// Steps of the IP-ID that count as forward on a counter shared with other traffic.
const FORWARD: u16 = 2048;

pub fn look(scene: &Scene) -> Option<Finding> {
    let mut remarks = Remarks::default();
    fields(scene, &mut remarks);
    match scene.shape {
        Shape::Active => active(scene, &mut remarks),
        Shape::Answer | Shape::OtherAnswer => answer(scene, &mut remarks),
        Shape::Foreign => foreign(scene, &mut remarks),
    }
    (!remarks.0.is_empty()).then(|| {
        let ratio: f64 = remarks.0.iter().map(|(ratio, _)| ratio).product();
        let details: Vec<_> = remarks.0.into_iter().map(|(_, detail)| detail).collect();
        Finding::new(ratio.clamp(0.01, 150.0), details.join("; "))
    })
}

#[derive(Default)]
struct Remarks(Vec<(f64, String)>);

impl Remarks {
    fn add(&mut self, ratio: f64, detail: impl Into<String>) {
        self.0.push((ratio, detail.into()));
    }
}

/// What no stack does, whatever the template.
fn fields(scene: &Scene, remarks: &mut Remarks) {
    let (rst, sender) = (&scene.wire.rst, &scene.wire.sender);
    if rst.dont_fragment == Some(false) && sender.sets_dont_fragment() == Some(true) {
        // NetBSD and its heirs leave it out of what no socket sends.
        if counts_on(scene.wire) {
            remarks.add(0.3, "DF is clear, the peer's other packets have it set, but the IP-ID is the next of theirs");
        } else {
            remarks.add(12.0, "DF is clear, the peer's other packets have it set");
        }
    }
    if rst.flags.0 & (Flags::SYN | Flags::FIN | Flags::PSH | Flags::URG) != 0 {
        // What is all that was ever seen of a host may be all its own: a scanner's, or damaged on
        // the way.
        let ratio = if sender.packets > 0 { 8.0 } else { 2.0 };
        remarks.add(ratio, format!("flags {}", rst.flags.letters()));
    }
    if rst.flags.0 & (Flags::RESERVED | Flags::AE) != 0 {
        remarks.add(8.0, "reserved bits are set");
    }
    if repeats_window(scene.wire) {
        remarks.add(0.3, format!("window {} as on the peer's latest packet: some stacks repeat it on a RST without ACK", rst.window));
    } else if rst.window != 0 && (!rst.flags.ack() || answers_syn(rst)) {
        remarks.add(20.0, format!("window {} on a RST that no socket made", rst.window));
    }
    if rst.payload > 0 && scene.wire.text.is_none() {
        if scene.wire.readable {
            remarks.add(1.5, format!("{} bytes of text, which RFC 1122 (4.2.2.12) allows a RST", rst.payload));
        } else {
            remarks.add(6.0, format!("{} bytes of payload", rst.payload));
        }
    }
}

fn active(scene: &Scene, remarks: &mut Remarks) {
    let (rst, sender) = (&scene.wire.rst, &scene.wire.sender);
    if sender.uses_timestamps() {
        match continues_timestamps(rst, sender) {
            // A segment without ACK is none that a Linux socket makes; those stacks leave the
            // timestamp out of it.
            None if repeats_window(scene.wire) => {}
            None if counter(sender) == Counter::Other && counts_on(scene.wire) => {
                remarks.add(2.0, "no timestamp, though every packet of the peer has one");
            }
            None if counts_as_linux(sender) => {
                remarks.add(100.0, "no timestamp, though every packet of the peer has one and it counts IP-IDs by socket, as Linux does");
            }
            None => remarks.add(15.0, "no timestamp, though every packet of the peer has one"),
            Some(Ok(detail)) => remarks.add(0.2, detail),
            Some(Err(detail)) => remarks.add(10.0, detail),
        }
    } else if rst.timestamps.is_some() && matches!(sender.timestamped, (0, 1..)) {
        remarks.add(8.0, "a timestamp, though the peer's packets have none");
    }
    if let Some(id) = rst.ip_id
        && let Some(last) = sender.ip_ids.last
    {
        let step = id.wrapping_sub(last);
        if counter(sender) == Counter::Other || repeats_window(scene.wire) {
            match step {
                1..=NEXT => remarks.add(0.1, format!("IP-ID {id} is {step} on in the counter of the peer's host")),
                5..=FORWARD => remarks.add(0.4, format!("IP-ID {id} is {step} on from the peer's latest")),
                _ if repeats_window(scene.wire) => {}
                _ => remarks.add(2.0, format!("IP-ID {id}, while the peer's latest packet had {last}")),
            }
        } else if sender.ip_ids.per_connection() {
            match step {
                // A copied counter does not make up for what the socket would not have left out.
                1..=NEXT if lacks_timestamp(scene) => {}
                1 => remarks.add(0.05, format!("IP-ID {id} is the next of the socket's counter")),
                2..=NEXT => remarks.add(0.2, format!("IP-ID {id} is {step} on in the socket's counter")),
                _ => remarks.add(6.0, format!("IP-ID {id}, while the socket's counter stood at {last}")),
            }
        } else if (1..=FORWARD).contains(&step) {
            remarks.add(0.4, format!("IP-ID {id} is {step} on from the peer's latest"));
        }
    }
    labels(scene, remarks);
    if sender.window == Some(rst.window) && rst.window != 0 {
        remarks.add(0.6, format!("window {} as on the peer's latest packet", rst.window));
    }
}

/// The peer's packets are those of a Linux socket, as far as IPv4 shows it.
fn counts_as_linux(sender: &Side) -> bool {
    sender.ip_ids.per_connection() && hops(sender.ttl.mode).0 == 64 && counter(sender) != Counter::Other
}

/// Whose counter of IP-IDs a peer's packets show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    /// Linux: one for each socket, and 0 on what no socket sends, SYN-ACKs included.
    Linux,
    /// Another stack: one for the host, or for each destination, from which its RSTs take theirs as
    /// well.
    Other,
    /// Either.
    Unclear,
}

/// Tells by what Linux never does: another initial TTL, DF clear, a SYN-ACK with an identification
/// of its own (`ip_build_and_send_pkt()`,
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/ip_output.c>).
fn counter(sender: &Side) -> Counter {
    let ttl = if sender.ttl.count > 0 { Some(sender.ttl.mode) } else { sender.handshake_ttl };
    let initial = ttl.is_some_and(|ttl| hops(ttl).0 != 64);
    let fragmentable = sender.sets_dont_fragment() == Some(false);
    let numbered = sender.answered_handshake == Some(true) && sender.handshake_ip_id.is_some_and(|id| id != 0);
    if initial || fragmentable || numbered {
        Counter::Other
    } else if sender.ip_ids.per_connection() && sender.handshake_ip_id == Some(0) {
        Counter::Linux
    } else {
        Counter::Unclear
    }
}

/// The RST looks like a living socket's, but for the timestamp that such a socket would not leave
/// out (RFC 7323, section 3.2).
pub fn lacks_timestamp(scene: &Scene) -> bool {
    scene.shape == Shape::Active && scene.wire.rst.timestamps.is_none() && scene.wire.sender.uses_timestamps()
}

fn answer(scene: &Scene, remarks: &mut Remarks) {
    let (wire, rst, sender) = (scene.wire, &scene.wire.rst, &scene.wire.sender);
    if let Some(id) = rst.ip_id {
        let last = sender.ip_ids.last.or(sender.handshake_ip_id);
        let shared = sender.ip_ids.forward >= 2 && !sender.ip_ids.per_connection();
        match (id, last) {
            (0, _) if shared => remarks.add(3.0, "IP-ID 0 from a host whose packets count on"),
            (0, _) | (_, None) => {}
            // One of 65,536: nobody hits it by chance.
            (_, Some(_)) if counts_on(wire) && counter(sender) == Counter::Other => {
                remarks.add(0.1, format!("IP-ID {id} is the next of the counter of the peer's host"));
            }
            (_, Some(_)) if counts_on(wire) && counter(sender) == Counter::Unclear => {
                remarks.add(0.3, format!("IP-ID {id} is the next of the peer's counter"));
            }
            (_, Some(_)) if sender.ip_ids.per_connection() && counter(sender) != Counter::Other => {
                remarks.add(6.0, format!("IP-ID {id} on an answer, from a host that counts by socket"));
            }
            (_, Some(last)) if last != 0 && (1..=FORWARD).contains(&id.wrapping_sub(last)) => {
                remarks.add(0.3, format!("IP-ID {id} is {} on from the peer's latest", id.wrapping_sub(last)));
            }
            (_, Some(0)) => remarks.add(2.0, format!("IP-ID {id}, while the peer's other packets have 0")),
            _ => {}
        }
    }
    // Windows and others leave the timestamp out of their RSTs.
    if rst.flags.ack() && !answers_syn(rst) && sender.uses_timestamps() && counter(sender) != Counter::Other && !counts_on(wire) {
        remarks.add(3.0, "RST|ACK without window or timestamp, from a host that uses timestamps");
    }
    // The kernel of the addressed host copies the TOS of the segment it answers; netfilter, there
    // or on the way, sends 0.
    if let Some(ours) = wire.receiver.tos.filter(|tos| *tos & 0xfc != 0) {
        if rst.tos & 0xfc == ours & 0xfc && sender.tos != Some(ours) {
            remarks.add(0.5, format!("TOS {ours:#04x} of the segment it answers"));
        } else if rst.tos == 0 {
            remarks.add(2.0, format!("TOS 0 in answer to {ours:#04x}: netfilter, on the peer's host or on the way"));
        }
    }
    labels(scene, remarks);
}

fn foreign(scene: &Scene, remarks: &mut Remarks) {
    let (rst, sender) = (&scene.wire.rst, &scene.wire.sender);
    if let Some(id) = rst.ip_id.filter(|id| *id != 0)
        && sender.ip_ids.per_connection()
        && counter(sender) != Counter::Other
        && sender.ip_ids.last.is_some_and(|last| !(1..=NEXT).contains(&id.wrapping_sub(last)))
    {
        remarks.add(5.0, format!("IP-ID {id} is not of the socket's counter"));
    }
    if rst.timestamps.is_none() && rst.window != 0 && sender.uses_timestamps() {
        remarks.add(2.0, "a window without a timestamp, though every packet of the peer has one");
    }
    labels(scene, remarks);
}

/// IPv6 flow labels: sockets keep theirs, answers without a socket get another that is not zero
/// (`tcp_v6_send_response()`), netfilter sends zero (`nf_reject_ip6hdr_put()`). Labels may change
/// on retransmission timeouts, so the ratios are small; but no socket has none at times.
fn labels(scene: &Scene, remarks: &mut Remarks) {
    let (Some(its), Some(theirs)) = (scene.wire.rst.flow_label, scene.wire.sender.flow_label) else {
        return;
    };
    match scene.shape {
        _ if theirs == 0 => {}
        // A copied label does not make up for what no stack sends, for what nothing had asked for,
        // or for a socket that lives on.
        Shape::Foreign if its == theirs => {}
        _ if its == theirs && (scene.wire.after.sender_went_on.is_some() || unprompted::look(scene).is_some()) => {}
        _ if its == theirs => remarks.add(0.3, format!("flow label {its:#07x} of the connection")),
        Shape::Active if its == 0 => remarks.add(8.0, "flow label 0, though the peer's packets have one, and a socket keeps it"),
        _ if its == 0 => remarks.add(2.5, "flow label 0, the peer's packets have one: netfilter, on the peer's host or on the way"),
        Shape::Active => remarks.add(3.0, format!("flow label {its:#07x}, against {theirs:#07x} of the connection")),
        Shape::Answer => remarks.add(0.4, format!("flow label {its:#07x}, of no socket: the kernel of the addressed host answers so")),
        Shape::OtherAnswer | Shape::Foreign => {}
    }
}

/// Whether TSval goes on where the peer's packets left off: not back, and not faster than its
/// clock. `None` if there is none.
fn continues_timestamps(rst: &Segment, sender: &Side) -> Option<Result<String, String>> {
    let value = rst.timestamps?.value;
    let (last, last_ns) = sender.last_timestamp?;
    if !seq_at_or_after(value, last.value) {
        return Some(Err(format!("TSval {value} is before {}", last.value)));
    }
    let elapsed_ms = rst.time_ns.saturating_sub(last_ns) / 1_000_000;
    let advanced = u64::from(value.wrapping_sub(last.value));
    // Linux counts milliseconds; RFC 7323, section 5.4, allows no faster clock than one tick a
    // millisecond. Some slack for queues.
    let most = elapsed_ms.saturating_add(elapsed_ms / 20).saturating_add(1000);
    if advanced > most && !fast_clock(sender, last, last_ns) {
        return Some(Err(format!("TSval advanced by {advanced} in {elapsed_ms} ms")));
    }
    Some(Ok(format!("TSval advanced by {advanced} in {elapsed_ms} ms")))
}

/// Whether the peer's own packets, up to the `last` of them, count faster than RFC 7323 allows, as
/// Linux does in microseconds where told to (`tcp_usec_ts`, Linux 6.7). Where they are too few or
/// too close to tell, they may.
fn fast_clock(sender: &Side, last: Timestamps, last_ns: u64) -> bool {
    sender.first_timestamp.is_none_or(|(first, first_ns)| {
        let elapsed_ms = last_ns.saturating_sub(first_ns) / 1_000_000;
        elapsed_ms == 0 || u64::from(last.value.wrapping_sub(first.value)) > elapsed_ms.saturating_mul(2).saturating_add(1000)
    })
}
