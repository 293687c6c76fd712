//! Sockets of this host that sent a RST, by whom it goes to: where what a connection sees as its
//! peer is another socket of this host, behind a translation of addresses, this is how it is known.

use crate::Task;

/// The end that a RST goes to, as its sender sees it. A translation of the destination, as a
/// redirect to a proxy is, leaves it as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receiver {
    /// An IPv6 address, or an IPv4 one mapped to it (RFC 4291, section 2.5.5.2); as on the wire.
    pub address: [u32; 4],
    pub port: u16,
    /// Explicit padding, zero.
    pub reserved: u16,
}

/// A socket of this host that sent a RST of its own accord.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// `CLOCK_BOOTTIME`, ns; 0 where none is known.
    pub at_ns: u64,
    /// Who closed it; all zero where that is not certain.
    pub task: Task,
    /// Its address: four bytes for `AF_INET`, sixteen for `AF_INET6`.
    pub address: [u8; 16],
    /// Inode number of its network namespace.
    pub netns: u32,
    pub port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// The sequence number it sends next, which a translation of addresses leaves as it is; 0 where
    /// that cannot be read.
    pub seq: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Receiver>() == 20);
const _: () = assert!(size_of::<Sender>() == 88);
