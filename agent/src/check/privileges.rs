//! Capabilities: what each is for, and what stands in for it.

use rustix::thread::CapabilitySet;

use super::{Line, Status, machine::version};
use crate::privileges::capabilities::{self, Capability};

/// One line for each capability.
pub(super) fn lines(held: CapabilitySet, without_btf: bool, release: &str) -> Vec<Line> {
    let charged = version(release).is_some_and(|version| version < (5, 11));
    capabilities::ALL
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
            // Without BTF there is no other way than plain tracepoints, but root needs no
            // capability to read tracefs.
            let needed_for_tracefs =
                capability.bit == CapabilitySet::DAC_READ_SEARCH && without_btf && !rustix::process::geteuid().is_root();
            let status = if needed_for_tracefs || capability.essential { Status::Fail } else { Status::Note };
            Line::new(status, *name, format!("missing: {serves}"))
                .breaks(capability.breaks)
                .fix(format!("run with sudo, or add {name} (setcap, systemd AmbientCapabilities=, container capabilities)"))
        })
        .collect()
}

/// What a daemon would give up once it is armed.
pub(super) fn confinement(held: CapabilitySet) -> Line {
    let enters = held.contains(CapabilitySet::SYS_ADMIN);
    let left = |follows| match capabilities::names(capabilities::lasting(follows) & held).as_slice() {
        [] => "no capability".to_owned(),
        names => names.join(", "),
    };
    let kept = if enters { format!("{}; with netns = \"self\" {}", left(true), left(false)) } else { left(false) };
    match rustix::thread::secure_computing_mode() {
        Ok(_) => Line::ok("confinement", format!("an armed daemon goes on with {kept}; system calls it does not make are refused")),
        Err(error) => Line::note("confinement", format!("an armed daemon goes on with {kept}; system calls cannot be filtered: {error}"))
            .breaks("nothing, unless `confine = \"require\"` is in [privileges]: then a daemon does not start")
            .fix("run a kernel with CONFIG_SECCOMP_FILTER=y"),
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::CapabilitySet;

    use super::{confinement, lines};
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
    fn what_a_daemon_would_keep_is_of_what_it_has() {
        let found = confinement(CapabilitySet::SYS_PTRACE | CapabilitySet::BPF | CapabilitySet::NET_RAW).found;
        assert!(found.contains("goes on with CAP_SYS_PTRACE;"), "{found}");
        let found = confinement(CapabilitySet::all()).found;
        assert!(found.contains("CAP_SYS_ADMIN, CAP_NET_RAW; with netns = \"self\" CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE;"), "{found}");
    }

    #[test]
    fn whatever_is_missing_comes_with_its_loss_and_a_fix() {
        for line in lines(CapabilitySet::empty(), true, "5.10.0") {
            assert!(line.breaks.is_some() && line.fix.is_some(), "{line}");
        }
    }
}
