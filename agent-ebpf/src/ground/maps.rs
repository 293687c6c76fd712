//! Maps and counters. Names are at most 15 bytes: the kernel cuts them there.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use rstblame_abi::{
    Config, Connection, LiveConnection, LocalEnd, Receiver, Sender, Signal, called,
    conversation::{ChannelError, Spoken},
    counter,
    flow::{FlowKey, Handshake},
    flow_table::{Set, Slot, WAYS},
};

/// Reset records on their way to the agent. User space sets the size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Counters of [`counter`], one set a CPU so that counting never contends.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// Watched network namespaces by inode number, when [`Config`] says that there is a choice.
#[map]
pub static NETNS: HashMap<u32, u8> = HashMap::with_max_entries(1024, 0);

/// Settings that may change while attached.
#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// Watched connections by the address of their `struct sock`. User space sets the size, and all of
/// it is allocated at once: before Linux 6.1 a tracing program that allocates can deadlock, and the
/// kernel warns when one with such a map is loaded
/// (<https://github.com/torvalds/linux/blob/v5.10/kernel/bpf/verifier.c>,
/// `check_map_prog_compatibility()`).
#[map]
pub static CONNECTIONS: HashMap<u64, Connection> = HashMap::with_max_entries(131_072, 0);

/// Processes already reported with a watched socket: process id to start time, so that each is
/// reported once.
#[map]
pub static PROCESSES: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4096, 0);

/// The last fatal signal of a process. All processes, since which of them own watched sockets shows
/// only at their end; such signals are rare.
#[map]
pub static SIGNALS: LruHashMap<u32, Signal> = LruHashMap::with_max_entries(1024, 0);

/// Sockets that sent a RST of their own accord, by the end that it went to: all of this host, since
/// which of them stand for the peer of a watched connection is known only there.
#[map]
pub static SENDERS: LruHashMap<Receiver, Sender> = LruHashMap::with_max_entries(4096, 0);

/// When this host last answered a segment with a RST, by the end that it went to (`CLOCK_BOOTTIME`,
/// ns): all of this host, since under which address it leaves is not known yet.
#[map]
pub static ANSWERED: LruHashMap<Receiver, u64> = LruHashMap::with_max_entries(4096, 0);

/// Open connections that this host opened, by their own end; the least recently used make room.
#[map]
pub static LIVE: LruHashMap<LocalEnd, LiveConnection> = LruHashMap::with_max_entries(8192, 0);

/// What the tap remembers of the packets of watched connections: a
/// [`table`](rstblame_abi::flow_table). User space sets the size. Mappable, since the kernel has
/// the slots of such an array begin with a page, and so each with a line of memory.
#[map]
pub static FLOWS: Array<Slot> = Array::with_max_entries(WAYS, BPF_F_MMAPABLE);

/// What stands in the sets of that table.
#[map]
pub static SETS: Array<Set> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Sets in which something is just being put down, by number: the map's own lock decides between
/// two CPUs, since socket filters are not given `bpf_spin_lock()` and Linux 5.10 has no atomic
/// exchange. There are never more than twice as many as CPUs.
#[map]
pub static TAKEN: HashMap<u32, u8> = HashMap::with_max_entries(4096, 0);

/// The latest SYNs and SYN-ACKs. As many as a burst of new connections, or some of a flood.
#[map]
pub static HANDSHAKES: LruHashMap<FlowKey, Handshake> = LruHashMap::with_max_entries(16_384, 0);

/// What was said on connections whose beginning was seen; the least recently used make room. User
/// space sets the size.
#[map]
pub static SPOKEN: LruHashMap<FlowKey, Spoken> = LruHashMap::with_max_entries(32_768, 0);

/// The latest error of a channel on such connections, of which few have one; the least recently
/// used make room.
#[map]
pub static CHANNEL_ERRORS: LruHashMap<FlowKey, ChannelError> = LruHashMap::with_max_entries(4096, 0);

/// Programs that others call ([`called`]), so that the verifier looks at each on its own, and so
/// that what each packet runs through stays short.
#[map]
pub static CALLED: ProgramArray = ProgramArray::with_max_entries(called::COUNT, 0);

/// Adds one to a counter of this CPU.
///
/// Atomic although the counter is the CPU's own: a softirq may interrupt a program that runs in
/// process context, between its load and its store.
#[inline(always)]
pub fn count(index: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the element is aligned to 8 and outlives the program; it is only ever changed
        // here.
        unsafe { add_one(value) };
    }
}

/// Adds one, atomically.
///
/// `core` offers no read-modify-write for this target (it has no compare-and-swap), the instruction
/// set has an atomic add (RFC 9669, section 5.3).
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub unsafe fn add_one(value: *mut u64) {
    // SAFETY: one atomic add to memory the caller vouches for.
    unsafe {
        core::arch::asm!("lock *(u64 *)({value} + 0) += {one}", value = in(reg) value, one = in(reg) 1_u64);
    }
}

/// Stand-in where the programs are only checked, not run.
#[cfg(not(target_arch = "bpf"))]
pub unsafe fn add_one(value: *mut u64) {
    // SAFETY: as above.
    unsafe { *value += 1 };
}
