//! Reading plain tracepoint records, and submitting reset records.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_boot_ns};
use rstblame_ebpf::{ABSENT, Header, RecordFormat, ResetRecord, TaskRecord, counter, valid};

use crate::{
    address::{AF_INET, AF_INET6, read_ipv4},
    diagnose,
    maps::{EVENTS, count},
    memory::{read, read_into, read_or},
    socket, task,
};

/// Nanoseconds since boot, suspend included.
#[inline(always)]
pub fn boottime_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The beginning of a record that is written now.
#[inline(always)]
pub fn header(kind: u32) -> Header {
    Header {
        kind,
        // SAFETY: a helper without arguments.
        cpu: unsafe { bpf_get_smp_processor_id() },
        boottime_ns: boottime_ns(),
    }
}

/// Counts a reset that passed the filter, makes room for its record, lets `fill` write it, and submits it.
///
/// A reset for which there is no room is counted as lost: `seen` is always the sum of what was submitted and what was not.
#[inline(always)]
pub fn submit_reset(kind: u32, fill: impl FnOnce(&mut ResetRecord)) {
    count(counter::SEEN);
    let Some(mut entry) = EVENTS.reserve::<ResetRecord>(0) else {
        count(counter::RING_FULL);
        diagnose::no_room_for_reset(kind);
        return;
    };
    // SAFETY: the entry is memory for one record, aligned to 8; all-zero bytes are a valid record, and none of the ring's old
    // bytes survive.
    let record = unsafe {
        entry.as_mut_ptr().write_bytes(0, 1);
        &mut *entry.as_mut_ptr()
    };
    record.header = header(kind);
    // SAFETY: a helper without arguments.
    record.jiffies = unsafe { bpf_jiffies64() } as u32;
    fill(record);
    if record.valid & valid::TUPLE == 0 {
        diagnose::no_tuple(kind, u32::from(record.family));
    }
    entry.submit(0);
}

/// Submits the current task, in connection with a socket.
#[inline(always)]
pub fn submit_task(kind: u32, sock: u64) {
    let Some(mut entry) = EVENTS.reserve::<TaskRecord>(0) else {
        count(counter::TASKS_LOST);
        diagnose::no_room_for_task(kind);
        return;
    };
    // SAFETY: as above.
    let record = unsafe {
        entry.as_mut_ptr().write_bytes(0, 1);
        &mut *entry.as_mut_ptr()
    };
    record.header = header(kind);
    record.sock = sock;
    record.netns = socket::netns(sock).unwrap_or(0);
    task::fill_current(&mut record.task);
    task::fill_signal(record.task.tgid, &mut record.signal);
    entry.submit(0);
}

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
    /// Whether `saddr` and `daddr` are socket addresses (`struct sockaddr_in` or `sockaddr_in6`), which have their ports in them: those of
    /// `tcp_send_reset` since Linux 6.10.
    #[inline(always)]
    fn holds_sockaddrs(&self) -> bool {
        record_offset!(self.format, sport) == ABSENT
    }

    /// Ports in host byte order: local, peer.
    #[inline(always)]
    pub fn ports(&self) -> Option<(u16, u16)> {
        if self.holds_sockaddrs() {
            let local: [u8; 2] = read(self.base, record_offset!(self.format, saddr).checked_add(2)?)?;
            let peer: [u8; 2] = read(self.base, record_offset!(self.format, daddr).checked_add(2)?)?;
            return Some((u16::from_be_bytes(local), u16::from_be_bytes(peer)));
        }
        Some((read(self.base, record_offset!(self.format, sport))?, read(self.base, record_offset!(self.format, dport))?))
    }

    /// The ports of a socket, or where it has none those of the record. Not `or_else`: a closure that the compiler does not inline hands an
    /// `Option` back in parts, of which some are never written.
    #[inline(always)]
    pub fn ports_of(&self, sock: u64) -> Option<(u16, u16)> {
        match socket::ports(sock) {
            Some(ports) => Some(ports),
            None => self.ports(),
        }
    }

    /// Fills in the tuple.
    #[inline(always)]
    pub fn fill(&self, record: &mut ResetRecord) {
        let Some((local_port, peer_port)) = self.ports() else {
            return;
        };
        let saddr = record_offset!(self.format, saddr);
        let daddr = record_offset!(self.format, daddr);
        // sockaddr_in has the address at byte 4, sockaddr_in6 at byte 8 (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/in.h>,
        // in6.h).
        let (family, v4, local6, peer6) = if self.holds_sockaddrs() {
            (read_or(self.base, saddr, 0), 4, saddr.wrapping_add(8), daddr.wrapping_add(8))
        } else {
            (
                // Before Linux 5.18 there is none; the long addresses are there for both families, mapped for IPv4.
                read_or(self.base, record_offset!(self.format, family), AF_INET6),
                0,
                record_offset!(self.format, saddr_v6),
                record_offset!(self.format, daddr_v6),
            )
        };
        record.family = family;
        let done = match family {
            AF_INET => {
                read_ipv4(self.base, saddr.wrapping_add(v4), &mut record.local)
                    && read_ipv4(self.base, daddr.wrapping_add(v4), &mut record.peer)
            }
            AF_INET6 => read_into(self.base, local6, &mut record.local) && read_into(self.base, peer6, &mut record.peer),
            _ => false,
        };
        if !done {
            return;
        }
        record.local_port = local_port;
        record.peer_port = peer_port;
        record.valid |= valid::TUPLE;
    }
}
