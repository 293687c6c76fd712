//! Which process ended a connection, or owned it when it was reset.
//!
//! The one that is known to have held the socket, because it closed it, is the owner without
//! further ado. Any other candidate (it connected, it was found at the start) has to hold the
//! socket's inode now: sockets are handed to children, passed over unix sockets, and accepted by
//! workers from a listener that another process opened. What cannot be proven is left out.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    flow::{Reset, SocketKind},
    host::{
        command_line::Detail,
        crew::Crew,
        facts::FactsCache,
        netns::{self, Handle},
        process::ProcessFacts,
        sockets::{self, DiagSocket, TCP_LISTEN, dump, fd_owners, fd_owners_told, held_by},
    },
    model::{KnownFrom, Task},
};

/// File descriptors of one process that are looked at for the sockets of one batch of resets.
const MAX_FDS: usize = 1 << 18;

/// The same where resets are not to wait: a few hundred take less than a millisecond.
const GLANCE_FDS: usize = 256;

/// Searches take at most one part in so many of the time; resets that need one wait for the next,
/// but no longer than the other says.
const SEARCH_SHARE: u32 = 5;
const LONGEST_PAUSE: Duration = Duration::from_millis(300);

/// How long resets wait for a search. One that takes longer goes on, and they go without.
const SEARCH_PATIENCE: Duration = Duration::from_millis(600);

/// How much longer they wait each time for one that goes on from process to process, on busy
/// processors, and how long in all.
const SEARCH_STEP: Duration = Duration::from_millis(200);
pub const SEARCH_LIMIT: Duration = Duration::from_secs(2);

/// Holders of one socket that are named.
const MAX_HOLDERS: usize = 8;

/// Sockets found at the start that are remembered.
const MAX_SNAPSHOT: usize = 1 << 20;

/// What was there when the agent started.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Inode of a watched socket to the process that alone held it.
    holders: HashMap<u64, u32>,
    /// Everything known of those processes.
    facts: Vec<ProcessFacts>,
}

impl Snapshot {
    /// Lists the watched sockets of the chosen namespaces (`None`: all), and who holds them. Takes
    /// its time on a host with many descriptors: meant for a thread of its own.
    pub fn take(proc_root: &Path, chosen: Option<&[u32]>, detail: Detail, watched: impl Fn(u16, u16) -> bool) -> Self {
        let mut inodes = HashSet::new();
        for netns in netns::discover().unwrap_or_default().iter().filter(|netns| chosen.is_none_or(|chosen| chosen.contains(&netns.inode)))
        {
            // A namespace that vanished in the meantime has no sockets to list.
            let Ok(sockets) = Handle::open(netns).map_err(sockets::SocketsError::from).and_then(|handle| dump(&handle, &watched)) else {
                continue;
            };
            inodes.extend(sockets.iter().filter_map(|socket| socket.inode).take(MAX_SNAPSHOT.saturating_sub(inodes.len())));
        }
        let mut processes = crate::host::Lookup::new(detail);
        let mut holders = HashMap::new();
        let mut pids = HashSet::new();
        for (inode, owners) in fd_owners(proc_root, &inodes) {
            pids.extend(owners.iter().copied());
            if let [only] = owners.as_slice() {
                holders.insert(inode, *only);
            }
        }
        let facts = pids.into_iter().filter_map(|pid| processes.read(pid)).collect();
        Self { holders, facts }
    }
}

/// Finds owners.
pub struct Owners {
    proc_root: PathBuf,
    facts: FactsCache,
    snapshot: HashMap<u64, u32>,
    not_before: Instant,
    crew: Crew,
    /// Whether a search is under way, one that takes too long included.
    searching: Arc<AtomicBool>,
    /// Searches that were not made, or not in time.
    missed: u64,
}

impl Owners {
    /// Remembers the facts of at most `max_processes` processes that ended.
    pub fn new(max_processes: usize, detail: Detail) -> Self {
        Self {
            proc_root: PathBuf::from("/proc"),
            facts: FactsCache::new(max_processes, detail),
            snapshot: HashMap::new(),
            not_before: Instant::now(),
            crew: Crew::new("search", 1, 1),
            searching: Arc::default(),
            missed: 0,
        }
    }

    /// Searches that were not made or not in time, and processes that were not read in time.
    pub const fn missed(&self) -> u64 {
        self.missed + self.facts.missed()
    }

    /// Takes in what is there. What an earlier snapshot found and this one did not is gone, or not
    /// watched any more.
    pub fn set_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot.holders;
        for facts in snapshot.facts {
            self.facts.insert(facts.into());
        }
    }

    /// Reads the facts of a process while it lives.
    pub fn learn(&mut self, task: &Task) {
        self.facts.of_task(task);
    }

    /// Processes whose facts are kept.
    pub fn known(&self) -> usize {
        self.facts.known()
    }

    /// Processes whose facts had to make room.
    pub const fn evicted(&self) -> u64 {
        self.facts.evicted()
    }

    /// When the next search may be made.
    pub const fn not_before(&self) -> Instant {
        self.not_before
    }

    /// Names the owner of a reset without a search, if that can be done.
    pub fn name(&mut self, reset: &mut Reset) {
        if reset.process.is_none()
            && let Some(task) = reset.holder().cloned()
        {
            reset.process = Some((self.facts.of_task(&task), KnownFrom::Close));
        }
        if reset.process.is_none()
            && let Some(task) = reset.destroyer().cloned()
        {
            reset.process = Some((self.facts.of_task(&task), KnownFrom::Destroy));
        }
        if let Some(sender) = &mut reset.sender
            && sender.process.is_none()
            && let Some(task) = &sender.task
        {
            sender.process = Some(self.facts.of_task(task));
        }
        // What was read of it since.
        if let Some((told, _)) = &mut reset.process
            && let Some(more) = self.facts.more_than(told)
        {
            *told = more;
        }
    }

    /// Names the process that called connect(2) as the owner of a connection that was never open:
    /// nobody else can have used it.
    pub fn name_connector(&mut self, reset: &mut Reset) {
        if reset.process.is_none()
            && let Some((task, KnownFrom::Connect)) = &reset.remembered
        {
            reset.process = Some((self.facts.of_task(task), KnownFrom::Connect));
        }
    }

    /// Whether an earlier search, which took too long, still goes on: no other can begin. It is
    /// asked again a moment later.
    pub fn is_searching(&mut self) -> bool {
        let busy = self.searching.load(Ordering::Acquire);
        if busy {
            self.not_before = Instant::now() + SEARCH_STEP;
        }
        busy
    }

    /// Begins to search for the owners of a batch of resets; `None` while another search is under
    /// way, which then takes too long. [`Notify`] tells when it is done.
    pub fn search(&mut self, resets: &mut [Reset], done: &Arc<Notify>) -> Option<Search> {
        for reset in resets.iter_mut() {
            self.name(reset);
        }
        if self.searching.swap(true, Ordering::AcqRel) {
            self.missed += 1;
            return None;
        }
        let wanted = self.wanted(resets);
        let (tell, told) = sync_channel(1);
        let (proc_root, done) = (self.proc_root.clone(), Arc::clone(done));
        let searching = Searching(Arc::clone(&self.searching));
        let looked = Arc::new(AtomicU64::new(0));
        let looking = Arc::clone(&looked);
        let accepted = self.crew.run(move || {
            let found = wanted.look(&proc_root, &looking);
            drop(searching);
            let _nobody_waits = tell.send(found);
            done.notify_one();
        });
        let now = Instant::now();
        accepted.then(|| Search { told, until: now + SEARCH_PATIENCE, limit: now + SEARCH_LIMIT, looked, noticed: 0 })
    }

    /// Names the owners of a batch of resets, as far as they can be proven by what was found.
    /// `None`: nothing was, in time.
    pub fn found(&mut self, resets: &mut [Reset], found: Option<&Found>) {
        let Some(found) = found else {
            self.missed += 1;
            return;
        };
        self.check_candidates(resets, &found.held);
        self.look_for_inodes(resets, &found.holders);
        self.look_for_listeners(resets, found);
        self.not_before = Instant::now() + found.took.saturating_mul(SEARCH_SHARE).min(LONGEST_PAUSE);
    }

    /// What has to be looked for.
    fn wanted(&self, resets: &[Reset]) -> Wanted {
        let mut wanted = Wanted { candidates: self.candidates(resets), ..Wanted::default() };
        wanted.connectors = resets.iter().filter_map(connector).collect();
        wanted.inodes = resets.iter().filter_map(|reset| unnamed(reset).or_else(|| shut_down(reset))).collect();
        wanted.listeners = resets.iter().filter(|reset| awaits_accept(reset)).filter_map(listener_of).collect();
        wanted
    }

    /// Names the owners of a batch of resets as far as that takes no time to speak of.
    pub fn glance(&mut self, resets: &mut [Reset]) {
        for reset in resets.iter_mut() {
            self.name(reset);
        }
        let held = held(&self.proc_root, self.candidates(resets), GLANCE_FDS);
        self.check_candidates(resets, &held);
    }

    /// Inodes by the processes that are remembered to have held them.
    fn candidates(&self, resets: &[Reset]) -> HashMap<u32, HashSet<u64>> {
        let mut wanted: HashMap<u32, HashSet<u64>> = HashMap::new();
        for (_, pid, inode) in resets.iter().filter_map(|reset| self.candidate(reset)) {
            wanted.entry(pid).or_default().insert(inode);
        }
        wanted
    }

    /// Candidates that are remembered: do they hold the socket?
    fn check_candidates(&mut self, resets: &mut [Reset], held: &HashMap<u32, HashSet<u64>>) {
        for reset in resets {
            let Some((from, pid, inode)) = self.candidate(reset) else { continue };
            if held.get(&pid).is_some_and(|held| held.contains(&inode)) {
                reset.process = self.at_reset(pid, reset).map(|facts| (facts, from));
            }
        }
    }

    /// Facts of a living process, if it was there when the connection was reset: a child forked
    /// since has inherited what it holds.
    fn at_reset(&mut self, pid: u32, reset: &Reset) -> Option<Arc<ProcessFacts>> {
        let facts = self.facts.of_pid(pid)?;
        (facts.start_time_ticks <= self.facts.ticks(reset.boottime_ns)).then_some(facts)
    }

    fn candidate(&self, reset: &Reset) -> Option<(KnownFrom, u32, u64)> {
        let inode = unnamed(reset)?;
        let remembered = reset.remembered.as_ref().map(|(task, from)| {
            // It shut the socket down and may hold it still, which is not closing it.
            let from = if *from == KnownFrom::Close { KnownFrom::Inode } else { *from };
            (from, task.pid, inode)
        });
        remembered.or_else(|| self.snapshot.get(&inode).map(|pid| (KnownFrom::Snapshot, *pid, inode)))
    }

    /// Nobody is remembered, or it was not them: who holds the socket?
    fn look_for_inodes(&mut self, resets: &mut [Reset], holders: &HashMap<u64, Vec<u32>>) {
        for reset in resets {
            if let Some(holders) = shut_down(reset).and_then(|inode| holders.get(&inode)) {
                reset.shared_by = holders.iter().take(MAX_HOLDERS).filter_map(|pid| self.at_reset(*pid, reset)).collect();
            }
            let Some(inode) = unnamed(reset) else { continue };
            match holders.get(&inode).map(Vec::as_slice) {
                Some([only]) => reset.process = self.at_reset(*only, reset).map(|facts| (facts, KnownFrom::Inode)),
                // Several holders: no telling which of them it was.
                Some(several) => {
                    reset.shared_by = several.iter().take(MAX_HOLDERS).filter_map(|pid| self.at_reset(*pid, reset)).collect();
                }
                None => {}
            }
        }
    }

    /// Connections that nobody had accepted yet belong to whoever holds the listener, if that is
    /// one process.
    fn look_for_listeners(&mut self, resets: &mut [Reset], Found { listeners, holders, .. }: &Found) {
        for reset in resets.iter_mut().filter(|reset| awaits_accept(reset)) {
            let local = reset.tuple.local;
            let holders: HashSet<u32> = listeners
                .iter()
                .filter(|listener| Some(listener.netns) == reset.netns && listener.local.port() == local.port())
                .filter(|listener| listener.local.ip().is_unspecified() || listener.local.ip().to_canonical() == local.ip())
                .flat_map(|listener| listener.inode.and_then(|inode| holders.get(&inode)).map_or(&[][..], Vec::as_slice))
                .copied()
                .collect();
            if holders.len() == 1
                && let Some(pid) = holders.into_iter().next()
            {
                reset.process = self.at_reset(pid, reset).map(|facts| (facts, KnownFrom::Listener));
            }
        }
    }
}

/// A search that is under way. It takes as long as the host has descriptors, and any user may have
/// a million of them, so that a thread apart makes it.
pub struct Search {
    told: Receiver<Found>,
    until: Instant,
    limit: Instant,
    /// Processes that were looked at, and how many of them were noticed when it was asked last.
    looked: Arc<AtomicU64>,
    noticed: u64,
}

/// How far a search is.
pub enum Progress {
    Searching,
    Done(Found),
    /// It takes too long, or its thread failed.
    Over,
}

impl Search {
    /// How far it is; with `wait` once it is through or takes too long.
    pub fn progress(&mut self, wait: bool) -> Progress {
        let now = Instant::now();
        let looked = self.looked.load(Ordering::Relaxed);
        if now >= self.until && looked > self.noticed && now < self.limit {
            self.until = (now + SEARCH_STEP).min(self.limit);
            self.noticed = looked;
        }
        let left = self.until.saturating_duration_since(now);
        match self.told.recv_timeout(if wait { left } else { Duration::ZERO }) {
            Ok(found) => Progress::Done(found),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() && !wait => Progress::Searching,
            Err(_) => Progress::Over,
        }
    }

    /// When it takes too long.
    pub const fn until(&self) -> Instant {
        self.until
    }
}

/// Marks that a search is under way, until it is dropped.
struct Searching(Arc<AtomicBool>);

impl Drop for Searching {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// What a search looks for.
#[derive(Debug, Default)]
struct Wanted {
    /// Inodes by the process that is remembered to have held them.
    candidates: HashMap<u32, HashSet<u64>>,
    /// Processes that connected, and may be ending.
    connectors: HashSet<u32>,
    inodes: HashSet<u64>,
    /// Namespace and port of listeners.
    listeners: HashSet<(u32, u16)>,
}

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// Of the candidates, what they hold.
    held: HashMap<u32, HashSet<u64>>,
    /// Who holds the other inodes, and those of the listeners.
    holders: HashMap<u64, Vec<u32>>,
    listeners: Vec<DiagSocket>,
    /// Processes that have let go of all their files.
    ending: HashSet<u32>,
    took: Duration,
}

impl Found {
    /// Whether the process that connected has let go of all its files, and the kernel has still to
    /// say which sockets it closed by that.
    pub fn is_ending(&self, reset: &Reset) -> bool {
        connector(reset).is_some_and(|pid| self.ending.contains(&pid))
    }
}

impl Wanted {
    fn look(self, proc_root: &Path, looked: &AtomicU64) -> Found {
        let began = Instant::now();
        let Self { candidates, mut connectors, mut inodes, listeners } = self;
        let tick = || {
            looked.fetch_add(1, Ordering::Relaxed);
        };
        let held = candidates
            .into_iter()
            .filter_map(|(pid, inodes)| {
                let held = held_by(proc_root, pid, &inodes, MAX_FDS);
                tick();
                Some((pid, held?))
            })
            .collect::<HashMap<_, _>>();
        for found in held.values() {
            inodes.retain(|inode| !found.contains(inode));
        }
        let listeners = find_listeners(&listeners);
        inodes.extend(listeners.iter().filter_map(|listener| listener.inode));
        let holders = fd_owners_told(proc_root, &inodes, tick);
        // Last: a process that held on to its files until here will tell of their end by itself.
        connectors.retain(|pid| has_no_files(proc_root, *pid));
        Found { holders, held, listeners, ending: connectors, took: began.elapsed() }
    }
}

/// Whether a process has no file open, or is gone. The first entry takes as long to find as its
/// table has room before it, a million entries at most.
fn has_no_files(proc_root: &Path, pid: u32) -> bool {
    std::fs::read_dir(proc_root.join(format!("{pid}/fd"))).map_or(true, |mut files| files.next().is_none())
}

/// Of processes and inodes that they may hold, those that they do.
fn held(proc_root: &Path, candidates: HashMap<u32, HashSet<u64>>, max_fds: usize) -> HashMap<u32, HashSet<u64>> {
    candidates.into_iter().filter_map(|(pid, inodes)| Some((pid, held_by(proc_root, pid, &inodes, max_fds)?))).collect()
}

fn find_listeners(wanted: &HashSet<(u32, u16)>) -> Vec<DiagSocket> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let spaces: HashSet<u32> = wanted.iter().map(|(netns, _)| *netns).collect();
    netns::discover()
        .unwrap_or_default()
        .iter()
        .filter(|netns| spaces.contains(&netns.inode))
        .filter_map(|netns| {
            let handle = Handle::open(netns).ok()?;
            dump(&handle, |local, _| wanted.contains(&(netns.inode, local))).ok()
        })
        .flatten()
        .filter(|socket| socket.state == TCP_LISTEN)
        .collect()
}

/// Whether nobody had accepted the connection.
fn awaits_accept(reset: &Reset) -> bool {
    reset.process.is_none()
        && reset.socket_kind == SocketKind::Connection
        && reset.socket.as_ref().is_some_and(|socket| !socket.owned && !socket.orphan)
}

/// Who connected, where nobody is known to own the connection.
fn connector(reset: &Reset) -> Option<u32> {
    match &reset.remembered {
        Some((task, KnownFrom::Connect)) if reset.lacks_owner() => Some(task.pid),
        _ => None,
    }
}

/// Namespace and port of its listener.
fn listener_of(reset: &Reset) -> Option<(u32, u16)> {
    Some((reset.netns?, reset.tuple.local.port()))
}

/// The inode of a reset whose owner is not named yet.
fn unnamed(reset: &Reset) -> Option<u64> {
    if reset.process.is_some() { None } else { reset.socket.as_ref()?.inode }
}

/// The inode of a socket that its owner shut down: somebody may hold it still.
fn shut_down(reset: &Reset) -> Option<u64> {
    reset.socket.as_ref().filter(|_| reset.was_shut_down())?.inode
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs};

    use super::{Detail, Owners, Snapshot, Wanted};

    #[test]
    fn a_search_tells_who_has_let_go_of_all_files() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        for (pid, file) in [(1, None), (2, Some("0"))] {
            let fd = root.path().join(format!("{pid}/fd"));
            fs::create_dir_all(&fd)?;
            file.map_or(Ok(()), |file| std::os::unix::fs::symlink("/dev/null", fd.join(file)))?;
        }
        // The third is gone.
        let wanted = Wanted { connectors: [1, 2, 3].into(), ..Wanted::default() };
        assert_eq!(wanted.look(root.path(), &std::sync::atomic::AtomicU64::new(0)).ending, HashSet::from([1, 3]));
        Ok(())
    }

    #[test]
    fn a_snapshot_takes_the_place_of_the_one_before() {
        let mut owners = Owners::new(1, Detail::default());
        for inodes in [0..100, 100..150] {
            owners.set_snapshot(Snapshot { holders: inodes.map(|inode| (inode, 1)).collect(), facts: Vec::new() });
        }
        assert_eq!(owners.snapshot.len(), 50);
        assert!(owners.snapshot.contains_key(&149));
    }
}
