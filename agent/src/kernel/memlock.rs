//! The limit on locked memory, against which kernels before 5.11 charge BPF maps
//! (<https://github.com/torvalds/linux/blob/v5.10/kernel/bpf/syscall.c>, `bpf_map_charge_init()`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit in bytes; `None` when there is none.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

/// Lifts the limit, which takes `CAP_SYS_RESOURCE` where the hard limit is in the way too. Tells
/// whether there was one and it is gone.
pub fn lift() -> bool {
    limit().is_some() && setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None }).is_ok()
}
