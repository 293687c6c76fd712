//! Connections that this host opened, by their own end: a segment from elsewhere that meets it is
//! one that a translation of addresses on the way should have changed.

/// The own end of a connection. IPv4 addresses are the first four bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalEnd {
    pub address: [u8; 16],
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Host byte order.
    pub port: u16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
}

/// The connection that has it. One end may be that of several; the latest is kept.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveConnection {
    /// Its socket: the address of the `struct sock`.
    pub sock: u64,
    /// Since when: `CLOCK_BOOTTIME`, ns.
    pub since_ns: u64,
    pub peer: [u8; 16],
    /// Host byte order.
    pub peer_port: u16,
    /// Explicit padding, zero.
    pub reserved: [u16; 3],
}

const _: () = assert!(size_of::<LocalEnd>() == 24);
const _: () = assert!(size_of::<LiveConnection>() == 40);
