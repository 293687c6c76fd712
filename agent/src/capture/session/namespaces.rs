//! Following the network namespaces of the host.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, TryRecvError, channel, sync_channel},
    },
    thread,
    time::Instant,
};

use tokio::sync::Notify;

use super::{NAMESPACE_CHECK, Session};
use crate::{
    flow::Reset,
    host::{
        crew::Crew,
        netns::{self, Handle, NetnsError},
    },
    model::{Coverage, CoverageState},
};

/// The entry of `coverage` that tells of namespaces that are not found, or cannot be listened in.
const COVERAGE: &str = "network_namespaces";

/// Threads that open namespaces, and how many may wait for one.
const OPENING: (usize, usize) = (2, 256);

/// A look at all namespaces of the host: it takes as long as there are processes, so that a thread
/// apart takes it.
pub(super) struct Look(Receiver<Result<There, NetnsError>>);

/// What a look found.
struct There {
    alive: HashSet<u32>,
    /// Those that are not listened in.
    new: Vec<Handle>,
    /// Why others of those could not be opened.
    failed: Vec<String>,
}

impl Look {
    /// `listened` are those that are known. `None` where there may be no more threads.
    fn begin(listened: BTreeSet<u32>) -> Option<Self> {
        let (tell, told) = sync_channel(1);
        let look = move || {
            let there = netns::discover().map(|there| {
                let alive = there.iter().map(|netns| netns.inode).collect();
                let (mut new, mut failed) = (Vec::new(), Vec::new());
                for netns in there.iter().filter(|netns| !listened.contains(&netns.inode)) {
                    match Handle::open(netns) {
                        Ok(handle) => new.push(handle),
                        Err(error) if error.is_gone() => {}
                        Err(error) => failed.push(error.to_string()),
                    }
                }
                There { alive, new, failed }
            });
            // The session may have ended.
            let _gone = tell.send(there);
        };
        thread::Builder::new().name("namespaces".to_owned()).spawn(look).ok().map(|_| Self(told))
    }
}

/// Namespaces that are opened by a process that was seen in them. Looking a process up waits for
/// locks that others hold too, so that threads apart do it.
pub(super) struct Opening {
    crew: Crew,
    tell: Sender<Handle>,
    told: Receiver<Handle>,
}

impl Default for Opening {
    fn default() -> Self {
        let (tell, told) = channel();
        Self { crew: Crew::new("netns-open", OPENING.0, OPENING.1), tell, told }
    }
}

impl Opening {
    /// Has the namespace of a process opened, and `done` told if that is `netns`. Where it is not
    /// (the process is gone, or has moved on), or where too many wait, the next look at all
    /// namespaces finds it, if it lasts.
    fn open(&self, netns: u32, pid: u32, done: &Arc<Notify>) {
        let (tell, done) = (self.tell.clone(), Arc::clone(done));
        self.crew.run(move || {
            if let Ok(handle) = Handle::at(&PathBuf::from(format!("/proc/{pid}/ns/net")))
                && handle.inode() == netns
            {
                // The session may have ended.
                let _gone = tell.send(handle);
                done.notify_one();
            }
        });
    }

    /// The next one that was opened.
    fn opened(&self) -> Option<Handle> {
        self.told.try_recv().ok()
    }
}

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
        self.opening.open(netns, pid, &self.found);
    }

    /// Follows namespaces that appear, and lets go of those that nothing else keeps.
    pub(super) fn check_namespaces(&mut self) {
        self.armed.listened();
        while let Some(handle) = self.opening.opened() {
            if !self.armed.listens_in(handle.inode()) {
                self.armed.follow(handle);
            }
        }
        if let Some(look) = &self.look {
            match look.0.try_recv() {
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {}
                Ok(there) => self.go_by_look(there),
            }
            self.look = None;
        }
        if self.plan.arm.netns.is_some() || Instant::now() < self.next_namespace_check {
            return;
        }
        self.next_namespace_check = Instant::now() + NAMESPACE_CHECK;
        self.look = Look::begin(self.armed.listened_in());
    }

    /// Whatever could not be seen is not taken for gone.
    fn go_by_look(&mut self, there: Result<There, NetnsError>) {
        let failed = match there {
            Ok(There { alive, new, failed }) => {
                self.armed.retain_namespaces(|netns| alive.contains(&netns));
                for handle in new {
                    self.armed.follow(handle);
                }
                failed
            }
            Err(error) => vec![error.to_string()],
        };
        let refused = self.armed.take_refused();
        let reason = failed.into_iter().chain(refused).next();
        match reason {
            Some(reason) => {
                if self.armed.coverage.get(COVERAGE).and_then(|coverage| coverage.reason.as_ref()) == Some(&reason) {
                    return;
                }
                tracing::warn!("{reason}; packets of some network namespaces are not seen");
                let degraded = Coverage { state: CoverageState::Degraded, reason: Some(reason) };
                let before = self.armed.coverage.insert(COVERAGE.to_owned(), degraded);
                if self.namespaces_before.is_none() {
                    self.namespaces_before = before;
                }
            }
            None => {
                if let Some(before) = self.namespaces_before.take() {
                    tracing::info!("all network namespaces are seen again");
                    self.armed.coverage.insert(COVERAGE.to_owned(), before);
                }
            }
        }
    }
}
