//! Reading plain tracepoint records, and submitting reset records.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE},
    helpers::generated::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_boot_ns},
    maps::ring_buf::RingBufEntry,
};
use rstblame_ebpf::{ABSENT, Header, RecordFormat, ResetRecord, TaskRecord, counter, valid};

use crate::{
    address::{AF_INET, AF_INET6, read_ipv4},
    budget, diagnose,
    maps::{EVENTS, count},
    memory::{mark, marked, read_into, read_or, read_or_zero, unknown, unknown_number, zero},
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

/// The two ends of a connection. Kept as a value with a mark, and not as an `Option`: see
/// [`read_or`].
#[repr(C, align(8))]
pub struct Ends {
    /// Four bytes for `AF_INET`, sixteen for `AF_INET6`.
    pub local: [u8; 16],
    pub peer: [u8; 16],
    /// They were read.
    pub present: bool,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u16,
    /// Ports in host byte order.
    pub local_port: u16,
    pub peer_port: u16,
}

impl Ends {
    /// None yet. Zero bytes, of which the verifier does not know that they are: else those that are
    /// read into and those that are not differ.
    #[inline(always)]
    pub fn none() -> Self {
        let zero = unknown_number(0) as u32;
        let mut words = [0_u32; 4];
        for word in &mut words {
            // SAFETY: a valid, aligned reference. Volatile, so that it is written and each on its
            // own.
            unsafe { core::ptr::write_volatile(word, zero) };
        }
        // SAFETY: the same bytes.
        let bytes: [u8; 16] = unsafe { core::mem::transmute(words) };
        Self { local: bytes, peer: bytes, present: false, family: 0, local_port: 0, peer_port: 0 }
    }
}

/// A reset that passed the filter.
pub struct Seen<'a> {
    /// One of [`rstblame_ebpf::kind`].
    pub kind: u32,
    /// One of [`rstblame_ebpf::flood::class`].
    pub class: u32,
    pub ends: &'a Ends,
    /// 0 when it could not be read.
    pub netns: u32,
}

/// Counts a reset that passed the filter, makes room for its record if that is within the budget,
/// lets `fill` write the rest of it, and submits it.
///
/// A reset for which there is no room is counted as lost: `seen` is always the sum of what was
/// submitted and what was not.
#[inline(always)]
pub fn submit_reset(seen: &Seen<'_>, fill: impl FnOnce(&mut ResetRecord)) {
    count(counter::SEEN);
    if !budget::admits_reset(seen.class, seen.ends, seen.netns) {
        return;
    }
    let Some(entry) = EVENTS.reserve::<ResetRecord>(0) else {
        count(counter::RING_FULL);
        diagnose::no_room_for_reset(seen.kind);
        return;
    };
    submit(entry, seen, fill);
}

/// Submits the end of a connection, unless the ring buffer is filling up: a crowd that leaves at
/// once takes no room from resets.
///
/// What is not submitted is counted as lost.
#[inline(always)]
pub fn submit_ending(seen: &Seen<'_>, fill: impl FnOnce(&mut ResetRecord)) {
    count(counter::ENDINGS);
    let crowded = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > EVENTS.query(u64::from(BPF_RB_RING_SIZE)) / 2;
    let entry = if crowded { None } else { EVENTS.reserve::<ResetRecord>(0) };
    let Some(entry) = entry else {
        count(counter::ENDINGS_LOST);
        return;
    };
    submit(entry, seen, fill);
}

/// Writes the record of a connection: what every one begins with, and what `fill` knows.
#[inline(always)]
fn submit(mut entry: RingBufEntry<ResetRecord>, seen: &Seen<'_>, fill: impl FnOnce(&mut ResetRecord)) {
    // SAFETY: the entry is memory for one record, aligned to 8; all-zero bytes are a valid record,
    // and none of the ring's old bytes survive.
    let record = unsafe {
        zero(entry.as_mut_ptr());
        &mut *entry.as_mut_ptr()
    };
    record.header = header(seen.kind);
    // SAFETY: a helper without arguments.
    record.jiffies = unsafe { bpf_jiffies64() } as u32;
    if seen.netns != 0 {
        record.netns = seen.netns;
        mark(&mut record.valid, valid::NETNS);
    }
    if unknown(seen.ends.present) {
        record.family = seen.ends.family;
        record.local_port = seen.ends.local_port;
        record.peer_port = seen.ends.peer_port;
        record.local = seen.ends.local;
        record.peer = seen.ends.peer;
        mark(&mut record.valid, valid::TUPLE);
    }
    fill(record);
    if marked(&record.valid) & valid::TUPLE == 0 {
        diagnose::no_tuple(seen.kind, u32::from(record.family));
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
        zero(entry.as_mut_ptr());
        &mut *entry.as_mut_ptr()
    };
    record.header = header(kind);
    record.sock = sock;
    record.netns = socket::netns(sock);
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
