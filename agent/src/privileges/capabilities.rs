//! The capabilities the agent has a use for, and letting go of them.
//!
//! Capabilities belong to a thread (capabilities(7)), and a new thread has those of the one that
//! starts it.

use std::io;

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    },
};

/// One capability the agent has a use for.
pub struct Capability {
    pub name: &'static str,
    pub bit: CapabilitySet,
    /// `CAP_SYS_ADMIN` contains it (`bpf_capable()` and `perfmon_capable()`,
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/capability.h>).
    pub in_sys_admin: bool,
    pub serves: &'static str,
    /// Whether nothing at all works without it.
    pub essential: bool,
    /// What is lost without it.
    pub breaks: &'static str,
}

/// All of them: what a service needs to be started with.
pub const ALL: [Capability; 7] = [
    Capability {
        name: "CAP_BPF",
        bit: CapabilitySet::BPF,
        in_sys_admin: true,
        serves: "creates the maps and loads the programs",
        essential: true,
        breaks: "everything",
    },
    Capability {
        name: "CAP_PERFMON",
        bit: CapabilitySet::PERFMON,
        in_sys_admin: true,
        serves: "lets the programs read kernel memory and be attached",
        essential: true,
        breaks: "everything",
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        bit: CapabilitySet::DAC_READ_SEARCH,
        in_sys_admin: false,
        serves: "lists the descriptors of other users' processes, and reads tracefs",
        essential: false,
        breaks: "owners of connections that belong to other users, and plain tracepoints",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: CapabilitySet::SYS_PTRACE,
        in_sys_admin: false,
        serves: "reads the descriptors, executable and namespaces of other users' processes",
        essential: false,
        breaks: "owners of connections that belong to other users, and the network namespaces of their processes",
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        bit: CapabilitySet::SYS_ADMIN,
        in_sys_admin: false,
        serves: "enters other network namespaces to list their sockets and to listen there",
        essential: false,
        breaks: "packet evidence of other network namespaces, and owners where the reset itself does not name them",
    },
    Capability {
        name: "CAP_NET_RAW",
        bit: CapabilitySet::NET_RAW,
        in_sys_admin: false,
        serves: "opens the packet sockets that the tap listens on",
        essential: false,
        breaks: "packet evidence: a received reset is then not told apart from a forged one",
    },
    Capability {
        name: "CAP_SYS_RESOURCE",
        bit: CapabilitySet::SYS_RESOURCE,
        in_sys_admin: false,
        serves: "lifts the limit on locked memory before Linux 5.11",
        essential: false,
        breaks: "loading, if the maps do not fit into the limit (see memlock)",
    },
];

/// What owners are searched for with, for as long as the agent runs.
const OWNERS: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// What a network namespace that appears is listened in with.
const NAMESPACES: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::NET_RAW);

/// What is in effect in the calling thread.
///
/// # Errors
///
/// What capget(2) said.
pub fn held() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

/// Names of those in a set that the agent has a use for.
pub fn names(set: CapabilitySet) -> Vec<&'static str> {
    ALL.iter().filter(|capability| set.contains(capability.bit)).map(|capability| capability.name).collect()
}

/// Names of those in `wanted` that are not held, nor contained in one that is.
pub fn missing(wanted: CapabilitySet, held: CapabilitySet) -> Vec<&'static str> {
    let has = |capability: &Capability| held.contains(capability.bit) || capability.in_sys_admin && held.contains(CapabilitySet::SYS_ADMIN);
    ALL.iter().filter(|capability| wanted.contains(capability.bit) && !has(capability)).map(|capability| capability.name).collect()
}

/// All that the agent has a use for.
pub fn useful() -> CapabilitySet {
    ALL.iter().map(|capability| capability.bit).collect()
}

/// What an armed agent goes on to need. Used by [`drop_to`] and by what says beforehand what would
/// be dropped.
pub fn lasting(follows_namespaces: bool) -> CapabilitySet {
    if follows_namespaces { OWNERS | NAMESPACES } else { OWNERS }
}

/// Tries the smallest set first and returns the first by which the maps can be used.
///
/// Since Linux 5.19 open maps can be used without any
/// (<https://github.com/torvalds/linux/blob/v5.19/kernel/bpf/syscall.c>, `__sys_bpf()`); before,
/// that is up to the sysctl `unprivileged_bpf_disabled`. Whether it is so is tried, since
/// distributions backport.
///
/// # Errors
///
/// What capset(2) said.
pub fn smallest(lasting: CapabilitySet, maps_work: impl Fn() -> bool) -> io::Result<CapabilitySet> {
    let before = capabilities(None)?;
    let mut found = before.permitted;
    for more in [CapabilitySet::empty(), CapabilitySet::BPF, CapabilitySet::SYS_ADMIN] {
        let effective = (lasting | more) & before.permitted;
        set_capabilities(None, CapabilitySets { effective, ..before })?;
        if maps_work() {
            found = effective;
            break;
        }
    }
    set_capabilities(None, before)?;
    Ok(found)
}

/// Lets go for ever of every capability but `keep`: in this thread, and in those that it starts
/// from now on. Where `CAP_SETPCAP` allows it, the bounding set is emptied too; without it (an
/// agent that was given its capabilities by systemd) that is systemd's to do.
///
/// # Errors
///
/// What the kernel said.
pub fn drop_to(keep: CapabilitySet) -> io::Result<()> {
    let before = capabilities(None)?;
    if before.permitted.contains(CapabilitySet::SETPCAP) {
        set_capabilities(None, CapabilitySets { effective: before.effective | CapabilitySet::SETPCAP, ..before })?;
        empty_bounding_set()?;
    }
    clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

fn empty_bounding_set() -> io::Result<()> {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            // Past the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            removed => removed?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::thread::CapabilitySet;

    use super::{lasting, missing, names, useful};

    #[test]
    fn sys_admin_stands_in_for_bpf_and_perfmon() {
        let needed = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_RAW;
        assert_eq!(missing(needed, CapabilitySet::SYS_ADMIN), ["CAP_NET_RAW"]);
        assert_eq!(missing(needed, CapabilitySet::BPF), ["CAP_PERFMON", "CAP_NET_RAW"]);
        assert_eq!(missing(needed, useful()), [""; 0]);
    }

    #[test]
    fn other_namespaces_are_what_costs_sys_admin() {
        assert_eq!(names(lasting(false)), ["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"]);
        assert_eq!(names(lasting(true)), ["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_NET_RAW"]);
    }
}
