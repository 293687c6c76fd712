//! What cannot be seen for want of a capability, in the words of `coverage`.

use std::{collections::BTreeMap, fs};

use rustix::thread::CapabilitySet;

use super::capabilities::missing;
use crate::model::{Coverage, CoverageState};

/// The host's own pid namespace: `PROC_PID_INIT_INO` of
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/proc_ns.h>.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Coverage of what takes capabilities and shows no error where they are missing: `/proc` is then
/// only emptier.
pub fn coverage(held: CapabilitySet, other_namespaces: bool) -> BTreeMap<String, Coverage> {
    let in_host_pids = fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == INITIAL_PID_NAMESPACE);
    let entries = [("owners", owners(held, other_namespaces, in_host_pids)), ("network_namespaces", namespaces(held, other_namespaces))];
    entries.into_iter().map(|(name, coverage)| (name.to_owned(), coverage)).collect()
}

fn owners(held: CapabilitySet, other_namespaces: bool, in_host_pids: bool) -> Coverage {
    let mut reasons = Vec::new();
    if !in_host_pids {
        reasons.push(
            "the agent is in a pid namespace of its own and does not see the processes of the host (hostPID: true, or --pid=host)"
                .to_owned(),
        );
    }
    let looking = missing(CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH, held);
    if !looking.is_empty() {
        reasons.push(format!(
            "missing {}: which sockets the processes of other users hold cannot be read, and their connections have an owner only where the \
             kernel saw who closed them",
            looking.join(" and ")
        ));
    }
    if other_namespaces && !missing(CapabilitySet::SYS_ADMIN, held).is_empty() {
        reasons.push("missing CAP_SYS_ADMIN: sockets of other network namespaces cannot be listed".to_owned());
    }
    stated(&reasons)
}

fn namespaces(held: CapabilitySet, other_namespaces: bool) -> Coverage {
    let mut reasons = Vec::new();
    if other_namespaces {
        if !missing(CapabilitySet::SYS_PTRACE, held).is_empty() {
            reasons.push(
                "missing CAP_SYS_PTRACE: those that have no name in /run/netns and hold only processes of other users are not found"
                    .to_owned(),
            );
        }
        if !missing(CapabilitySet::SYS_ADMIN, held).is_empty() {
            reasons.push("missing CAP_SYS_ADMIN: none but the agent's own can be entered".to_owned());
        }
    }
    stated(&reasons)
}

fn stated(reasons: &[String]) -> Coverage {
    if reasons.is_empty() {
        Coverage { state: CoverageState::Active, reason: None }
    } else {
        Coverage { state: CoverageState::Degraded, reason: Some(reasons.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::CapabilitySet;

    use super::{namespaces, owners};
    use crate::model::CoverageState;

    #[test]
    fn each_missing_capability_is_named() {
        let all = CapabilitySet::all();
        assert_eq!(owners(all, true, true).state, CoverageState::Active);
        assert_eq!(namespaces(all, true).state, CoverageState::Active);
        assert!(owners(all, true, false).reason.is_some_and(|reason| reason.contains("hostPID")));
        for (bit, name) in [
            (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
            (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
            (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
        ] {
            let reason = owners(all - bit, true, true).reason;
            assert!(reason.as_ref().is_some_and(|reason| reason.contains(name)), "{reason:?}");
        }
    }

    #[test]
    fn the_own_namespace_takes_no_capability_to_enter() {
        let little = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
        assert_eq!(owners(little, false, true).state, CoverageState::Active);
        assert_eq!(namespaces(CapabilitySet::empty(), false).state, CoverageState::Active);
        assert_eq!(namespaces(little, true).state, CoverageState::Degraded);
    }
}
