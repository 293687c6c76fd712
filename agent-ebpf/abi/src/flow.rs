//! What the packet tap keeps of a connection and tells of its RSTs: header facts only.

#![expect(clippy::inline_always, reason = "as for the table that these keys are of")]

use crate::{Header, flow_table::WORDS};

/// One direction of a connection in one network namespace. IPv4 addresses are the first four bytes.
///
/// Aligned so that it is compared in six words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowKey {
    /// Destination of packets that arrive, source of those that leave.
    pub local: [u8; 16],
    /// The other end.
    pub peer: [u8; 16],
    /// Host byte order.
    pub local_port: u16,
    /// Host byte order.
    pub peer_port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// [`direction`].
    pub direction: u16,
    /// Inode number of the network namespace; 0 when it could not be read. A host that routes for
    /// its containers sees the packets of one connection in several, with another TTL in each.
    pub netns: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
}

impl FlowKey {
    /// All that tells one key from another.
    #[inline(always)]
    pub const fn words(&self) -> &[u32; WORDS] {
        const { assert!(WORDS * size_of::<u32>() <= size_of::<Self>() && align_of::<u32>() <= align_of::<Self>()) };
        // SAFETY: as long and as aligned as asserted, and integers without holes.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    /// Whether two keys are the same one. As words: the compiler would make a loop over the bytes
    /// of it.
    #[inline(always)]
    pub fn is(&self, other: &Self) -> bool {
        // SAFETY: as long and as aligned as asserted beside their size, and integers without holes.
        let [ours, theirs] = [self, other].map(|key| unsafe { &*core::ptr::from_ref(key).cast::<[u64; 6]>() });
        ours.iter().zip(theirs).fold(0, |differ, (ours, theirs)| differ | (ours ^ theirs)) == 0
    }
}

/// `FlowKey::direction`. On loopback a packet leaves one end and arrives at the other in the same
/// namespace.
pub mod direction {
    /// Packets that arrive.
    pub const IN: u16 = 0;
    /// Packets that leave.
    pub const OUT: u16 = 1;
}

/// A SYN or SYN-ACK, kept apart from the flow until the first packet after it: a flood of them
/// shall not drive live connections out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Initial sequence number.
    pub seq: u32,
    /// Jiffies, low 32 bits.
    pub at: u32,
    pub ip_id: u16,
    pub ttl: u8,
    /// [`packet_bit`], and [`HANDSHAKE_TAKEN`].
    pub bits: u8,
}

/// The bit of a [`Handshake`] that a connection was begun with: what becomes of it matters no more.
pub const HANDSHAKE_TAKEN: u8 = 1 << 7;

/// Header facts of one packet, integers in host byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// `CLOCK_BOOTTIME`, ns.
    pub boottime_ns: u64,
    pub seq: u32,
    pub ack: u32,
    pub ts_value: u32,
    pub ts_echo: u32,
    /// IPv6 flow label.
    pub flow_label: u32,
    /// Payload bytes by the IP length.
    pub payload: u32,
    pub ifindex: u32,
    /// The twelve bits beside the data offset.
    pub flags: u16,
    pub window: u16,
    pub ip_id: u16,
    /// VLAN tag control information; means something with [`packet_bit::VLAN`].
    pub vlan: u16,
    pub ttl: u8,
    pub tos: u8,
    /// [`packet_bit`].
    pub bits: u8,
    /// Explicit padding, zero.
    pub reserved: u8,
    pub source_mac: [u8; 6],
    /// Explicit padding, zero.
    pub reserved2: [u8; 2],
}

/// Bits of `Packet::bits`.
pub mod packet_bit {
    /// The timestamps option was there.
    pub const TIMESTAMPS: u8 = 1 << 0;
    /// DF was set.
    pub const DONT_FRAGMENT: u8 = 1 << 1;
    /// `source_mac` was read.
    pub const SOURCE_MAC: u8 = 1 << 2;
    /// The packet bore a VLAN tag.
    pub const VLAN: u8 = 1 << 3;
    /// IPv6: no identification and no DF.
    pub const IPV6: u8 = 1 << 4;
}

/// Bits of `FlowState::seen`.
pub mod seen {
    /// A SYN or SYN-ACK: the `handshake_*` members and `initial_seq`.
    pub const HANDSHAKE: u8 = 1 << 0;
    /// A packet after the handshake.
    pub const ESTABLISHED: u8 = 1 << 1;
    /// A source address of the link.
    pub const SOURCE_MAC: u8 = 1 << 2;
    /// An acknowledgement.
    pub const ACK: u8 = 1 << 3;
    /// A FIN.
    pub const FIN: u8 = 1 << 4;
    /// A timestamp.
    pub const TIMESTAMP: u8 = 1 << 5;
    /// DF on the SYN or SYN-ACK.
    pub const HANDSHAKE_DONT_FRAGMENT: u8 = 1 << 6;
    /// The IPv4 identification counters.
    pub const IP_ID: u8 = 1 << 7;
}

/// Size of `FlowState::carry`.
pub const CARRY: usize = 24;

/// What fills `FlowState` up to the size of which its docstring tells.
pub const RESERVED: usize = 19;

/// What the packets of one direction have in common. Times are jiffies, low 32 bits.
///
/// Most of what a packet costs is waiting for lines of memory that were used for something else
/// since the packet before. With its key this is four lines of 64 bytes
/// ([`Slot`](crate::flow_table::Slot)). What each packet touches stands first, so that it is in two
/// of them with the key; what following the conversation takes, and the flow label, stand in the
/// third.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// Packets, RSTs left out.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
    pub last: u32,
    pub last_payload: u32,
    /// Silence before the latest packet.
    pub pause: u32,
    /// Longest silence that ended with a packet.
    pub longest_pause: u32,
    /// Highest sequence number, plus one.
    pub end_seq: u32,
    pub last_ack: u32,
    pub last_ts_value: u32,
    pub last_ts_echo: u32,
    pub last_ts: u32,
    pub ifindex: u32,
    pub ttl_votes: u32,
    pub id_by_one: u32,
    /// Until when packets are reported after a RST; 0 when there was none.
    pub watch_until: u32,
    pub id_last: u16,
    pub window: u16,
    pub ttl_mode: u8,
    pub ttl_last: u8,
    pub ttl_lowest: u8,
    pub ttl_highest: u8,
    pub tos: u8,
    /// [`seen`].
    pub seen: u8,
    /// [`stage`](crate::conversation::stage).
    pub stage: u8,
    /// Bytes that this stage needs.
    pub want: u8,
    /// The sequence number of the next byte that is needed to follow what is spoken.
    pub next: u32,
    /// Where the next frame begins, with the end octet of this one.
    pub resume: u32,
    /// Those bytes: of headers, and of the methods that are looked at.
    pub carry: [u8; CARRY],
    /// [`method`](crate::conversation::method): a frame that counts once its end octet is there.
    pub pending: u16,
    /// How many of the bytes that the stage needs are there.
    pub have: u8,
    /// [`channels`](crate::conversation::channels): whether frames on channels may come, and have.
    pub channels: u8,
    pub flow_label: u32,
    pub first: u32,
    pub initial_seq: u32,
    pub first_ts_value: u32,
    pub first_ts: u32,
    pub other_interfaces: u32,
    pub other_macs: u32,
    pub id_zeros: u32,
    pub id_forward: u32,
    pub id_other: u32,
    /// Packets without DF after the handshake; none of IPv6.
    pub dont_fragment_clear: u32,
    /// Packets without the timestamps option after the handshake.
    pub without_timestamps: u32,
    /// When a packet broke a silence of both directions that the other has not answered; 0 when
    /// there is none such.
    pub asked: u32,
    /// How long that silence was.
    pub asked_pause: u32,
    /// Longest silence of both directions that the other direction broke and this one answered.
    pub survived: u32,
    pub handshake_ip_id: u16,
    /// Packets reported since the RST.
    pub followed: u16,
    pub source_mac: [u8; 6],
    pub handshake_ttl: u8,
    /// RSTs since packets are reported.
    pub rsts: u8,
    /// Packets that cannot be of this connection, by their numbers.
    pub strangers: u8,
    /// Explicit padding, zero.
    pub reserved: [u8; RESERVED],
}

impl FlowState {
    /// Packets after the handshake, which was the first if it was seen.
    pub const fn established(&self) -> u64 {
        self.packets.saturating_sub((self.seen & seen::HANDSHAKE != 0) as u64)
    }
}

/// A RST arrived, or left.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireRst {
    pub header: Header,
    pub key: FlowKey,
    /// Jiffies now, low 32 bits: `flow` and `answered` count in them.
    pub now: u32,
    /// The latest SYN or SYN-ACK of the same direction; zeros where none is known.
    pub handshake: Handshake,
    pub packet: Packet,
    /// The packets before it, of the same direction.
    pub flow: FlowState,
    /// The packets of the other direction; nothing where those are not watched.
    pub answered: FlowState,
    /// The TCP options as they are on the wire.
    pub options: [[u8; 4]; 10],
    /// The beginning of the payload, if it bears the mark of a device that explains itself there.
    pub text: [[u8; 16]; 4],
}

/// A packet arrived on a connection that had a RST a moment ago.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    pub header: Header,
    pub key: FlowKey,
    pub packet: Packet,
}

const _: () = assert!(size_of::<FlowKey>() == 48 && align_of::<FlowKey>() == 8);
const _: () = assert!(size_of::<Handshake>() == 12);
const _: () = assert!(size_of::<Packet>() == 56);
const _: () = assert!(size_of::<FlowState>() == 208);
const _: () = assert!(size_of::<WireRst>() == 16 + 48 + 4 + 12 + 56 + 2 * 208 + 40 + 64);
const _: () = assert!(size_of::<Followed>() == 16 + 48 + 56);
