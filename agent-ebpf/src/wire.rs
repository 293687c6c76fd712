//! What the packet tap keeps of a connection and tells of its RSTs: header facts only, of packets that arrived.

use crate::Header;

/// One direction of a connection: packets from `peer` to `local`. IPv4 addresses are the first four bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowKey {
    /// Destination of the packets.
    pub local: [u8; 16],
    /// Source of the packets.
    pub peer: [u8; 16],
    /// Host byte order.
    pub local_port: u16,
    /// Host byte order.
    pub peer_port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// Explicit padding, zero.
    pub reserved: u16,
}

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
    /// A SYN-ACK: the `handshake_*` members.
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
    /// DF on the SYN-ACK.
    pub const HANDSHAKE_DONT_FRAGMENT: u8 = 1 << 6;
    /// The IPv4 identification counters.
    pub const IP_ID: u8 = 1 << 7;
}

/// What the packets of one direction had in common before the RST. Times are jiffies, low 32 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// Packets, RSTs left out.
    pub packets: u64,
    /// Payload bytes.
    pub bytes: u64,
    pub first: u32,
    pub last: u32,
    pub last_payload: u32,
    /// Silence before the latest packet.
    pub pause: u32,
    /// Longest silence that ended with a packet.
    pub longest_pause: u32,
    /// Highest sequence number, plus one.
    pub end_seq: u32,
    pub last_ack: u32,
    pub initial_seq: u32,
    pub first_ts_value: u32,
    pub first_ts: u32,
    pub last_ts_value: u32,
    pub last_ts_echo: u32,
    pub last_ts: u32,
    pub flow_label: u32,
    pub ifindex: u32,
    pub other_interfaces: u32,
    pub other_macs: u32,
    /// Packets after the handshake.
    pub ttl_count: u32,
    pub ttl_votes: u32,
    pub id_by_one: u32,
    pub id_zeros: u32,
    pub id_forward: u32,
    pub id_other: u32,
    pub dont_fragment_set: u32,
    pub dont_fragment_clear: u32,
    pub with_timestamps: u32,
    pub without_timestamps: u32,
    /// Until when packets are reported after a RST; 0 when there was none.
    pub watch_until: u32,
    pub id_last: u16,
    pub handshake_ip_id: u16,
    pub window: u16,
    /// Packets reported since the RST.
    pub followed: u16,
    pub ttl_mode: u8,
    pub ttl_last: u8,
    pub ttl_lowest: u8,
    pub ttl_highest: u8,
    pub handshake_ttl: u8,
    pub tos: u8,
    /// [`seen`].
    pub seen: u8,
    /// RSTs.
    pub rsts: u8,
    pub source_mac: [u8; 6],
    /// Explicit padding, zero.
    pub reserved: [u8; 2],
}

/// A RST arrived.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivedRst {
    pub header: Header,
    pub key: FlowKey,
    pub packet: Packet,
    pub flow: FlowState,
    /// Jiffies now, low 32 bits: `flow` counts in them.
    pub now: u32,
    /// Inode number of the network namespace; 0 when it could not be read.
    pub netns: u32,
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
    /// Inode number of the network namespace; 0 when it could not be read.
    pub netns: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<Packet>() == 56);
const _: () = assert!(size_of::<FlowState>() == 152);
const _: () = assert!(size_of::<ArrivedRst>() == 16 + 40 + 56 + 152 + 8 + 40 + 64);
const _: () = assert!(size_of::<Followed>() == 16 + 40 + 56 + 8);
