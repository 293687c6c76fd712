//! What the wire showed of a connection and of a RST on it, as plain bounded values.
//!
//! A capture file and the live packet tap fill the same values: a [`Segment`] for each packet goes
//! into a [`WireFlow`], and a RST makes a [`Wire`] out of it, which then follows the connection for
//! a while ([`Wire::follow`]). Nothing here grows with the length of a connection.

mod after;
mod credible;
mod probes;
mod ring;
mod segment;
mod side;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use crate::model::Route;
pub use crate::model::{Flags, seq_after, seq_at_or_after};
pub use after::After;
use credible::Strangers;
pub use credible::near;
pub use probes::Probes;
pub use ring::Ring;
pub use segment::{OptionKinds, Segment, Timestamps, VendorText, options};
pub use side::{IpIds, PathTtl, Side, Timeline};

/// RSTs of one connection that are remembered.
pub const RSTS: usize = 4;

/// A pause after which the next segment counts as a new question to the peer.
const PAUSE_NS: u64 = 1_000_000_000;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    First,
    Second,
}

impl End {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// A segment that one end sent after a pause, and that the other has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Question {
    from: End,
    /// When the first such segment was sent, ns.
    time_ns: u64,
    /// Length of the pause before it, ns.
    pause_ns: u64,
}

/// One connection as the wire shows it.
#[derive(Clone, Debug, Default)]
pub struct WireFlow {
    first: Side,
    second: Side,
    last_ns: Option<u64>,
    question: Option<Question>,
    longest_survived_ns: u64,
    rsts: Ring<(bool, Segment), RSTS>,
    strangers: Strangers,
    /// A SYN that would begin another connection, until the other end answers it.
    knock: Option<(End, Segment)>,
}

/// Silence before a RST, and what ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// No segment in either direction for this long.
    pub length: Duration,
    /// The receiver of the RST had broken the silence, and the RST was the first answer. If not,
    /// the RST itself broke it.
    pub broken_by_receiver: bool,
}

impl WireFlow {
    /// The facts about the segments of one end.
    pub const fn side(&self, end: End) -> &Side {
        match end {
            End::First => &self.first,
            End::Second => &self.second,
        }
    }

    /// Takes in one segment; one that cannot be of the end whose address it bears changes nothing.
    /// A SYN that opens a new connection on the same addresses and ports starts afresh, once the
    /// other end answers it where an open connection is in its way.
    pub fn observe(&mut self, segment: &Segment, from: End) {
        let counts = if segment.flags.syn() {
            self.begins(segment, from)
        } else {
            self.can_be_of(segment, from) || !segment.flags.rst() && (self.enters(segment, from) || self.taken_up_by(segment, from))
        };
        if !counts {
            return;
        }
        if segment.flags.rst() {
            self.rsts.push((from == End::First, *segment));
            self.last_ns = Some(segment.time_ns);
            return;
        }
        self.track_silence(segment.time_ns, from);
        let (sender, receiver) = match from {
            End::First => (&mut self.first, &mut self.second),
            End::Second => (&mut self.second, &mut self.first),
        };
        sender.observe(segment, receiver);
        // Whatever it says, it is there.
        receiver.probes = Probes::default();
        self.last_ns = Some(segment.time_ns);
    }

    /// What is known at the moment a RST goes by. Call it before [`WireFlow::observe`] sees the
    /// RST.
    pub fn reset(&self, rst: &Segment, from: End, text: Option<VendorText>) -> Wire {
        // It refuses a SYN that was put aside.
        if let Some((knocked, syn)) = self.knock
            && knocked == from.other()
            && rst.flags.ack()
            && rst.seq == 0
            && rst.ack == syn.seq.wrapping_add(1)
        {
            let mut begun = Self::default();
            begun.observe(&syn, knocked);
            return begun.reset(rst, from, text);
        }
        // Of one direction alone, the capture may have taken somebody else's packets for the
        // connection: then they are no baseline.
        let alone = self.side(from.other()).packets == 0;
        let foreign = alone && rst.seq != 0 && self.side(from).end_seq.is_some_and(|end| !near(rst.seq, end));
        let sender = if foreign { Side::default() } else { self.side(from).clone() };
        let mut others = Ring::default();
        for (first, segment) in self.rsts.iter() {
            if *first == (from == End::First) {
                others.push(*segment);
            }
        }
        Wire {
            rst: *rst,
            text,
            readable: false,
            sender,
            receiver: self.side(from.other()).clone(),
            others,
            silence: self.silence(rst.time_ns, from),
            longest_survived: Duration::from_nanos(self.longest_survived_ns),
            other_syn: self.knock.filter(|(knocked, _)| *knocked == from).map(|(_, syn)| OtherSyn { time_ns: syn.time_ns, ttl: syn.ttl }),
            one_machine: None,
            strangers: false,
            after: After::default(),
            way: None,
        }
    }

    /// Whether a segment that is no SYN can be of the end whose address it bears, by its numbers.
    pub fn can_be_of(&self, segment: &Segment, from: End) -> bool {
        credible::credible(segment, self.side(from), self.side(from.other()))
    }

    /// Whether a SYN or SYN-ACK counts, and all else gives way to it if it begins another
    /// connection.
    fn begins(&mut self, segment: &Segment, from: End) -> bool {
        if segment.flags.opens() {
            if self.is_other_incarnation(segment, from) {
                if !self.is_over() {
                    // Anybody can send a SYN. Only the end it was sent to can have answered it.
                    self.knock = Some((from, *segment));
                    return false;
                }
                *self = Self::default();
            }
            return true;
        }
        if let Some((knocked, syn)) = self.knock
            && knocked == from.other()
            && segment.ack == syn.seq.wrapping_add(1)
        {
            *self = Self::default();
            self.observe(&syn, knocked);
            return true;
        }
        let (sender, receiver) = (self.side(from), self.side(from.other()));
        let again = sender.initial_seq.is_none_or(|initial| initial == segment.seq);
        let answers = receiver.initial_seq.or(receiver.end_seq).is_none_or(|begun| near(segment.ack, begun));
        if !(again && answers) && self.is_over() {
            *self = Self::default();
            return true;
        }
        again && answers
    }

    /// Whether a segment goes on where a SYN of the same end began, where the other end is not seen
    /// at all.
    fn enters(&mut self, segment: &Segment, from: End) -> bool {
        let Some((knocked, syn)) = self.knock.filter(|_| self.side(from.other()).packets == 0) else { return false };
        if knocked != from || segment.seq != syn.seq.wrapping_add(1) {
            return false;
        }
        *self = Self::default();
        self.observe(&syn, knocked);
        true
    }

    /// An end has closed or reset.
    fn is_over(&self) -> bool {
        self.first.fin || self.second.fin || !self.rsts.is_empty()
    }

    /// Whether the connection goes on elsewhere, after a hole in the capture, by what both ends
    /// say. Its baseline begins anew.
    fn taken_up_by(&mut self, segment: &Segment, from: End) -> bool {
        let alone = self.side(from.other()).packets == 0;
        if !self.strangers.meet(segment, from == End::First, alone) {
            return false;
        }
        *self = Self { rsts: self.rsts, ..Self::default() };
        true
    }

    /// An opening SYN with another initial sequence number is another connection; with the same it
    /// is a retransmission.
    fn is_other_incarnation(&self, syn: &Segment, from: End) -> bool {
        let side = self.side(from);
        match side.initial_seq {
            Some(seq) => seq != syn.seq,
            None => side.packets > 0 || self.side(from.other()).packets > 0 || !self.rsts.is_empty(),
        }
    }

    fn track_silence(&mut self, now_ns: u64, from: End) {
        match self.question {
            Some(question) if question.from != from => {
                self.longest_survived_ns = self.longest_survived_ns.max(question.pause_ns);
                self.question = None;
            }
            Some(_) => {}
            None => {
                let pause_ns = self.last_ns.map_or(0, |last| now_ns.saturating_sub(last));
                if pause_ns >= PAUSE_NS {
                    self.question = Some(Question { from, time_ns: now_ns, pause_ns });
                }
            }
        }
    }

    fn silence(&self, now_ns: u64, from: End) -> Option<Silence> {
        if let Some(question) = self.question.filter(|question| question.from != from) {
            return Some(Silence { length: Duration::from_nanos(question.pause_ns), broken_by_receiver: true });
        }
        let quiet_ns = now_ns.saturating_sub(self.last_ns?);
        (quiet_ns >= PAUSE_NS).then(|| Silence { length: Duration::from_nanos(quiet_ns), broken_by_receiver: false })
    }
}

/// A SYN that would begin another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherSyn {
    /// On the clock of [`Segment::time_ns`].
    pub time_ns: u64,
    pub ttl: u8,
}

/// A RST with everything the wire had to say about it.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The RST itself.
    pub rst: Segment,
    /// Text of a known vendor in its payload.
    pub text: Option<VendorText>,
    /// Its payload, as far as it was seen, is printable ASCII, as RFC 1122, section 4.2.2.12, has
    /// it.
    pub readable: bool,
    /// The end whose address the RST bears, before the RST. Default (no packets) where nothing was
    /// seen.
    pub sender: Side,
    /// The end that the RST was sent to. A tap that sees only what arrives leaves it at its
    /// default.
    pub receiver: Side,
    /// Other RSTs with the same sender, before and after, the latest few.
    pub others: Ring<Segment, RSTS>,
    /// The silence that the RST ended, if it was a second or more.
    pub silence: Option<Silence>,
    /// Longest silence on this connection after which the other end still answered.
    pub longest_survived: Duration,
    /// A SYN of another connection on the same addresses and ports, with the RST's source, before
    /// the RST.
    pub other_syn: Option<OtherSyn>,
    /// The RST is of a machine on the link that answers for so many addresses.
    pub one_machine: Option<usize>,
    /// What was remembered under the peer's address was not the peer's, and is left out.
    pub strangers: bool,
    /// What followed.
    pub after: After,
    /// What the host's tables say of the way it came; `None` where nobody asked them, as for a
    /// capture.
    pub way: Option<Route>,
}

impl Wire {
    /// Takes in one segment that followed the RST. `from_sender`: it bears the same source as the
    /// RST.
    pub fn follow(&mut self, segment: &Segment, from_sender: bool) {
        let expected = self.expected_seq();
        // Of a RST that a SYN was answered by, the number says nothing.
        let anchor = expected.or((self.rst.seq != 0).then_some(self.rst.seq));
        let sequence = anchor.is_none_or(|anchor| near(segment.seq, anchor) || near(segment.seq, self.rst.seq));
        let sent = [self.receiver.end_seq, self.sender.last_ack, self.after.receiver_end()];
        let mut sent = sent.into_iter().flatten().peekable();
        let acknowledges = !segment.flags.ack() || sent.peek().is_none() || sent.any(|end| near(segment.ack, end));
        // SYNs tell by themselves.
        if from_sender && !segment.flags.syn() && !(sequence && acknowledges) {
            return;
        }
        if segment.flags.rst() && from_sender {
            self.others.push(*segment);
        }
        self.after.observe(&self.rst, expected, self.unanswered(), segment, from_sender);
    }

    /// The sequence number that the receiver expected next: the highest it had acknowledged, or had
    /// been sent where its own segments were not seen. RFC 9293, section 3.10.7.4, accepts a RST
    /// with exactly this one (RFC 5961, section 3).
    pub fn expected_seq(&self) -> Option<u32> {
        self.receiver.last_ack.or(self.sender.end_seq)
    }

    /// The end of what the receiver had sent before the RST, if the sender had not acknowledged all
    /// of it.
    fn unanswered(&self) -> Option<u32> {
        self.receiver.end_seq.filter(|end| self.sender.last_ack.is_some_and(|ack| seq_after(*end, ack)))
    }

    /// Shortest round-trip time between here and the sender: of the handshake, and of
    /// acknowledgements, which delay can only lengthen. `None` without a handshake, since delayed
    /// acknowledgements alone say too little.
    pub fn min_rtt(&self) -> Option<Duration> {
        let handshake = self.sender.handshake_rtt_ns?;
        Some(Duration::from_nanos(self.sender.min_rtt_ns.map_or(handshake, |shortest| shortest.min(handshake))))
    }

    /// Since the receiver's last segment before the RST; `None` if none was seen.
    pub fn since_receiver_spoke(&self) -> Option<Duration> {
        self.receiver.times.last_ns.map(|last| Duration::from_nanos(self.rst.time_ns.saturating_sub(last)))
    }
}
