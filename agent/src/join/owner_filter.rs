//! Showing the resets of some processes only.

use crate::flow::Reset;

/// Which owners are asked for; all of them when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerFilter {
    pub pids: Vec<u32>,
    /// Names of executables or of processes.
    pub comms: Vec<String>,
    /// Beginnings of container ids.
    pub containers: Vec<String>,
}

impl OwnerFilter {
    /// Whether a reset is asked for. One whose owner is not known belongs to nobody who was.
    pub fn admits(&self, reset: &Reset) -> bool {
        if *self == Self::default() {
            return true;
        }
        let Some((process, _)) = &reset.process else {
            return false;
        };
        let container = process.cgroup.as_ref().and_then(|cgroup| cgroup.container.as_ref());
        (self.pids.is_empty() || self.pids.contains(&process.pid))
            && (self.comms.is_empty() || self.comms.iter().any(|comm| *comm == process.comm || *comm == process.executable_name))
            && (self.containers.is_empty()
                || container.is_some_and(|container| self.containers.iter().any(|prefix| container.id.starts_with(prefix))))
    }
}

#[cfg(test)]
mod tests {
    use super::OwnerFilter;
    use crate::{
        flow::Reset,
        host::{
            cgroup::{CgroupFacts, Container},
            process::ProcessFacts,
        },
        model::KnownFrom,
        testing,
    };

    fn owned() -> Reset {
        let container = Container { id: "0123abc".to_owned(), runtime: None };
        let process = ProcessFacts {
            pid: 7,
            start_time_ticks: 1,
            comm: "worker".to_owned(),
            executable_name: "python3.11".to_owned(),
            executable_path: None,
            command_line: None,
            uid: None,
            user_name: None,
            cgroup: Some(CgroupFacts { container: Some(container), ..CgroupFacts::default() }),
            namespace_pid: None,
            net_namespace: None,
        };
        Reset { process: Some((process.into(), KnownFrom::Close)), ..testing::reset() }
    }

    #[test]
    fn all_that_is_asked_for_has_to_match() {
        let filter = |pids: &[u32], comms: &[&str], containers: &[&str]| OwnerFilter {
            pids: pids.to_vec(),
            comms: comms.iter().map(ToString::to_string).collect(),
            containers: containers.iter().map(ToString::to_string).collect(),
        };
        assert!(OwnerFilter::default().admits(&testing::reset()));
        for (filter, admitted) in [
            (filter(&[7], &[], &[]), true),
            (filter(&[8, 7], &["worker"], &["0123"]), true),
            (filter(&[], &["python3.11"], &[]), true),
            (filter(&[8], &[], &[]), false),
            (filter(&[7], &["beam.smp"], &[]), false),
            (filter(&[], &[], &["123"]), false),
        ] {
            assert_eq!(filter.admits(&owned()), admitted, "{filter:?}");
            assert!(!filter.admits(&testing::reset()), "{filter:?} without an owner");
        }
    }
}
