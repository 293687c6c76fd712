//! The record of a plain tracepoint, read as its `format` file declares it.

use rstblame_abi::{ABSENT, AF_INET, AF_INET6, RecordFormat};

use super::socket;
use crate::ground::{
    endpoints::{Ends, read_ipv4},
    probe_read::{read_into, read_or, read_or_zero},
    verifier::unknown,
};

/// The addresses of a plain tracepoint's record, in the layout its `format` file declares.
pub struct RecordTuple<'a> {
    pub base: u64,
    pub format: &'a RecordFormat,
}

/// One member of a frozen [`RecordFormat`] global.
macro_rules! record_offset {
    ($format:expr, $member:ident) => {
        // SAFETY: a valid, aligned reference to plain integers.
        unsafe { core::ptr::read_volatile(&raw const $format.$member) }
    };
}
pub(crate) use record_offset;

impl RecordTuple<'_> {
    /// Whether `saddr` and `daddr` are socket addresses (`struct sockaddr_in` or `sockaddr_in6`),
    /// which have their ports in them: those of `tcp_send_reset` since Linux 6.10.
    #[inline(always)]
    fn holds_sockaddrs(&self) -> bool {
        record_offset!(self.format, sport) == ABSENT
    }

    /// Ports in host byte order: local, peer. Zeros where there are none.
    #[inline(always)]
    pub fn ports(&self) -> (u16, u16) {
        // The BTF tracepoint has no record: said here, the compiler leaves all this out.
        if self.base == 0 {
            return (0, 0);
        }
        if self.holds_sockaddrs() {
            let port =
                |address: u32| if address == ABSENT { 0 } else { u16::from_be_bytes(read_or_zero(self.base, address.wrapping_add(2))) };
            return (port(record_offset!(self.format, saddr)), port(record_offset!(self.format, daddr)));
        }
        (read_or_zero(self.base, record_offset!(self.format, sport)), read_or_zero(self.base, record_offset!(self.format, dport)))
    }

    /// The ports of a socket, or where it has none those of the record.
    #[inline(always)]
    pub fn ports_of(&self, sock: u64) -> (u16, u16) {
        let (local, peer) = socket::ports(sock);
        if local | peer == 0 { self.ports() } else { (local, peer) }
    }

    /// Reads both ends.
    #[inline(always)]
    pub fn read_ends(&self, ends: &mut Ends) {
        if self.base == 0 {
            return;
        }
        let (local_port, peer_port) = self.ports();
        let saddr = record_offset!(self.format, saddr);
        let daddr = record_offset!(self.format, daddr);
        // sockaddr_in has the address at byte 4, sockaddr_in6 at byte 8
        // (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/in.h>, in6.h).
        let (family, v4, local6, peer6) = if self.holds_sockaddrs() {
            (read_or_zero(self.base, saddr), 4, saddr.wrapping_add(8), daddr.wrapping_add(8))
        } else {
            (
                // Before Linux 5.18 there is none; the long addresses are there for both families,
                // mapped for IPv4.
                read_or(self.base, record_offset!(self.format, family), AF_INET6),
                0,
                record_offset!(self.format, saddr_v6),
                record_offset!(self.format, daddr_v6),
            )
        };
        ends.family = family;
        let done = match family {
            AF_INET => {
                read_ipv4(self.base, saddr.wrapping_add(v4), &mut ends.local) & read_ipv4(self.base, daddr.wrapping_add(v4), &mut ends.peer)
            }
            AF_INET6 => read_into(self.base, local6, &mut ends.local) & read_into(self.base, peer6, &mut ends.peer),
            _ => false,
        };
        ends.local_port = local_port;
        ends.peer_port = peer_port;
        ends.present = unknown(done);
    }
}
