//! Following the network namespaces of the host.

use std::{collections::HashSet, path::PathBuf, time::Instant};

use super::{NAMESPACE_CHECK, Session};
use crate::{
    flow::Reset,
    host::netns::{self, Handle},
};

impl Session {
    /// Gives a reset the name of its namespace.
    pub(super) fn name_netns(&mut self, reset: &mut Reset) {
        reset.netns_name = reset.netns.and_then(|inode| self.names.name(inode)).map(ToOwned::to_owned);
    }

    /// A process with a watched socket was seen in a namespace that may be new.
    pub(super) fn follow(&mut self, netns: u32, pid: u32) {
        if netns == 0 || self.armed.listens_in(netns) {
            return;
        }
        // The process may be gone, or have moved on; then the namespace is found by the next look at all of them, if it lasts.
        if let Ok(handle) = Handle::at(&PathBuf::from(format!("/proc/{pid}/ns/net")))
            && handle.inode() == netns
        {
            let _best_effort = self.armed.follow(&handle);
        }
    }

    /// Follows namespaces that appear, and lets go of those that nothing else keeps.
    pub(super) fn check_namespaces(&mut self) {
        if self.plan.arm.netns.is_some() || Instant::now() < self.next_namespace_check {
            return;
        }
        self.next_namespace_check = Instant::now() + NAMESPACE_CHECK;
        let there = netns::discover();
        let alive: HashSet<u32> = there.iter().map(|netns| netns.inode).collect();
        self.armed.retain_namespaces(|netns| alive.contains(&netns));
        for netns in there.iter().filter(|netns| !self.armed.listens_in(netns.inode)).collect::<Vec<_>>() {
            if let Ok(handle) = Handle::open(netns) {
                let _best_effort = self.armed.follow(&handle);
            }
        }
    }
}
