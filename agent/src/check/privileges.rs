//! Capabilities: what each is for, and what stands in for it.

use rustix::thread::CapabilitySet;

use super::{Line, Status, machine::version};

/// One capability the agent has a use for.
struct Capability {
    name: &'static str,
    bit: CapabilitySet,
    /// `CAP_SYS_ADMIN` contains it (`bpf_capable()` and `perfmon_capable()`,
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/capability.h>).
    in_sys_admin: bool,
    serves: &'static str,
    /// What it means to go without.
    without: Status,
    breaks: &'static str,
}

const CAPABILITIES: [Capability; 7] = [
    Capability {
        name: "CAP_BPF",
        bit: CapabilitySet::BPF,
        in_sys_admin: true,
        serves: "creates the maps and loads the programs",
        without: Status::Fail,
        breaks: "everything",
    },
    Capability {
        name: "CAP_PERFMON",
        bit: CapabilitySet::PERFMON,
        in_sys_admin: true,
        serves: "lets the programs read kernel memory and be attached",
        without: Status::Fail,
        breaks: "everything",
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        bit: CapabilitySet::DAC_READ_SEARCH,
        in_sys_admin: false,
        serves: "lists the descriptors of other users' processes, and reads tracefs",
        without: Status::Note,
        breaks: "owners of connections that belong to other users, and plain tracepoints",
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: CapabilitySet::SYS_PTRACE,
        in_sys_admin: false,
        serves: "reads the descriptors, executable and namespaces of other users' processes",
        without: Status::Note,
        breaks: "owners of connections that belong to other users, and --netns /proc/PID/ns/net for their processes",
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        bit: CapabilitySet::SYS_ADMIN,
        in_sys_admin: false,
        serves: "enters other network namespaces to list their sockets",
        without: Status::Note,
        breaks: "owners of connections in other network namespaces, where the reset itself does not name them",
    },
    Capability {
        name: "CAP_NET_RAW",
        bit: CapabilitySet::NET_RAW,
        in_sys_admin: false,
        serves: "opens the packet sockets that the tap listens on",
        without: Status::Note,
        breaks: "packet evidence: a received reset is then not told apart from a forged one",
    },
    Capability {
        name: "CAP_SYS_RESOURCE",
        bit: CapabilitySet::SYS_RESOURCE,
        in_sys_admin: false,
        serves: "lifts the limit on locked memory before Linux 5.11",
        without: Status::Note,
        breaks: "loading, if the maps do not fit into the limit (see memlock)",
    },
];

/// One line for each capability.
pub(super) fn lines(held: CapabilitySet, without_btf: bool, release: &str) -> Vec<Line> {
    let charged = version(release).is_some_and(|version| version < (5, 11));
    CAPABILITIES
        .iter()
        .map(|capability| {
            let Capability { name, serves, .. } = capability;
            if held.contains(capability.bit) {
                return Line::ok(*name, format!("held: {serves}"));
            }
            if capability.in_sys_admin && held.contains(CapabilitySet::SYS_ADMIN) {
                return Line::ok(*name, format!("contained in CAP_SYS_ADMIN: {serves}"));
            }
            if capability.bit == CapabilitySet::SYS_RESOURCE && !charged {
                return Line::ok(*name, format!("not held, and not needed on this kernel: {serves}"));
            }
            // Without BTF there is no other way than plain tracepoints, but root needs no capability to read tracefs.
            let needed_for_tracefs =
                capability.bit == CapabilitySet::DAC_READ_SEARCH && without_btf && !rustix::process::geteuid().is_root();
            let status = if needed_for_tracefs { Status::Fail } else { capability.without };
            Line::new(status, *name, format!("missing: {serves}"))
                .breaks(capability.breaks)
                .fix(format!("run with sudo, or add {name} (setcap, systemd AmbientCapabilities=, container capabilities)"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rustix::thread::CapabilitySet;

    use super::lines;
    use crate::check::Status;

    fn statuses(held: CapabilitySet, release: &str) -> Vec<Status> {
        lines(held, false, release).iter().map(|line| line.status).collect()
    }

    #[test]
    fn sys_admin_stands_in_for_bpf_and_perfmon_only() {
        use Status::{Fail, Note, Ok};
        assert_eq!(statuses(CapabilitySet::all(), "5.10.0"), [Ok; 7]);
        assert_eq!(statuses(CapabilitySet::empty(), "6.12.0"), [Fail, Fail, Note, Note, Note, Note, Ok]);
        assert_eq!(statuses(CapabilitySet::SYS_ADMIN, "6.12.0"), [Ok, Ok, Note, Note, Ok, Note, Ok]);
        assert_eq!(statuses(CapabilitySet::BPF | CapabilitySet::PERFMON, "5.10.0"), [Ok, Ok, Note, Note, Note, Note, Note]);
    }

    #[test]
    fn whatever_is_missing_comes_with_its_loss_and_a_fix() {
        for line in lines(CapabilitySet::empty(), true, "5.10.0") {
            assert!(line.breaks.is_some() && line.fix.is_some(), "{line}");
        }
    }
}
