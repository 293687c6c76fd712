//! What is known of processes, kept for a while after they have ended.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Lookup, command_line::Detail, process::ProcessFacts};
use crate::model::Task;

/// How long facts of a living process are taken as they are: a storm of resets of one process reads
/// `/proc` once.
const FRESH: Duration = Duration::from_secs(1);

/// A process: its id and its start in clock ticks.
type Identity = (u32, u64);

/// Facts by identity; the oldest make room.
pub struct FactsCache {
    lookup: Lookup,
    known: HashMap<Identity, (Instant, Arc<ProcessFacts>)>,
    order: VecDeque<Identity>,
    capacity: usize,
    evicted: u64,
}

impl FactsCache {
    /// Keeps at most `capacity` processes, and so much of their command lines.
    pub fn new(capacity: usize, detail: Detail) -> Self {
        Self { lookup: Lookup::new(detail), known: HashMap::new(), order: VecDeque::new(), capacity, evicted: 0 }
    }

    /// Processes whose facts are kept.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// Processes that had to make room.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The clock tick of a moment in nanoseconds since boot.
    pub const fn ticks(&self, boottime_ns: u64) -> u64 {
        self.lookup.ticks(boottime_ns)
    }

    /// Keeps facts, and what was known before of the same program that could not be read now.
    pub fn insert(&mut self, mut facts: Arc<ProcessFacts>) -> Arc<ProcessFacts> {
        let identity = (facts.pid, facts.start_time_ticks);
        if let Some((_, known)) = self.known.get(&identity)
            && facts.command_line.is_none()
            && known.command_line.is_some()
            && known.executable_path == facts.executable_path
        {
            Arc::make_mut(&mut facts).command_line.clone_from(&known.command_line);
        }
        if self.known.insert(identity, (Instant::now(), Arc::clone(&facts))).is_some() {
            return facts;
        }
        self.order.push_back(identity);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
            self.evicted += 1;
        }
        facts
    }

    /// Processes that were not read in time: their facts came later, or not at all.
    pub const fn missed(&self) -> u64 {
        self.lookup.missed()
    }

    /// Takes in what came late, and tells what is known of a process by now, if that is more than
    /// `told`.
    pub fn more_than(&mut self, told: &Arc<ProcessFacts>) -> Option<Arc<ProcessFacts>> {
        self.take_in();
        let (_, known) = self.known.get(&(told.pid, told.start_time_ticks))?;
        let more = |known: &ProcessFacts| {
            (known.executable_path.is_some() && told.executable_path.is_none())
                || (known.command_line.is_some() && told.command_line.is_none())
        };
        more(known).then(|| Arc::clone(known))
    }

    fn take_in(&mut self) {
        for facts in self.lookup.late() {
            let identity = (facts.pid, facts.start_time_ticks);
            // A process on its way out has lost its executable already.
            if facts.executable_path.is_some() || !self.known.contains_key(&identity) {
                self.insert(facts.into());
            }
        }
    }

    /// Facts of a living process.
    pub fn of_pid(&mut self, pid: u32) -> Option<Arc<ProcessFacts>> {
        let ticks = self.lookup.start_time_ticks(pid)?;
        if let Some(fresh) = self.fresh((pid, ticks)) {
            return Some(fresh);
        }
        let Some(facts) = self.lookup.read(pid) else {
            let known = self.known.get(&(pid, ticks)).map(|(_, facts)| Arc::clone(facts));
            // On busy processors the rest may come late: that it is this process is known all the
            // same.
            return known.or_else(|| {
                self.lookup.name(pid).filter(|(_, started)| *started == ticks).map(|(name, _)| named(pid, name, ticks).into())
            });
        };
        Some(self.insert(facts.into()))
    }

    /// Facts of a process the kernel told of: from `/proc` while it lives, else as they were, else
    /// what the kernel said.
    pub fn of_task(&mut self, task: &Task) -> Arc<ProcessFacts> {
        self.take_in();
        let Some(ticks) = task.start_boottime_ns.map(|ns| self.lookup.ticks(ns)) else {
            return self.lookup.read(task.pid).unwrap_or_else(|| told(task, 0)).into();
        };
        let identity = (task.pid, ticks);
        if let Some(fresh) = self.fresh(identity).filter(|fresh| fresh.comm == task.comm || !self.runs_another(fresh)) {
            return fresh;
        }
        match self.lookup.read(task.pid) {
            // A process on its way out has lost its executable already.
            Some(facts) if facts.start_time_ticks == ticks && (facts.executable_path.is_some() || !self.known.contains_key(&identity)) => {
                self.insert(facts.into())
            }
            _ => self.known.get(&identity).map_or_else(|| told(task, ticks).into(), |(_, facts)| Arc::clone(facts)),
        }
    }

    /// Whether a process has begun another program since its facts were read (execve(2)): it is the
    /// same one, and has another name.
    fn runs_another(&self, known: &ProcessFacts) -> bool {
        self.lookup.name(known.pid).is_some_and(|(name, started)| started == known.start_time_ticks && name != known.comm)
    }

    fn fresh(&self, identity: Identity) -> Option<Arc<ProcessFacts>> {
        self.known.get(&identity).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, facts)| Arc::clone(facts))
    }
}

/// No more than its name.
fn named(pid: u32, name: String, start_time_ticks: u64) -> ProcessFacts {
    ProcessFacts {
        pid,
        start_time_ticks,
        executable_name: name.clone(),
        comm: name,
        executable_path: None,
        command_line: None,
        uid: None,
        user_name: None,
        cgroup: None,
        namespace_pid: None,
        net_namespace: None,
    }
}

/// The little that the kernel said.
fn told(task: &Task, start_time_ticks: u64) -> ProcessFacts {
    ProcessFacts { uid: Some(task.uid), ..named(task.pid, task.comm.clone(), start_time_ticks) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{Detail, FactsCache, told};
    use crate::model::Task;

    fn task(pid: u32) -> Task {
        Task { pid, start_boottime_ns: Some(10_000_000_000), comm: "client".to_owned(), uid: 1000, end: None }
    }

    #[test]
    fn a_process_that_is_gone_is_named_from_memory_and_else_as_the_kernel_did() {
        let mut cache = FactsCache::new(2, Detail::default());
        // Beyond every pid_max: nobody has it.
        let gone = task(u32::MAX);
        let ticks = cache.lookup.ticks(10_000_000_000);
        assert_eq!(cache.of_task(&gone).executable_name, "client");
        let mut facts = told(&gone, ticks);
        facts.executable_name = "app".to_owned();
        cache.insert(facts.into());
        assert_eq!(cache.of_task(&gone).executable_name, "app");
    }

    #[test]
    fn a_process_that_begins_another_program_is_read_again() {
        let mut cache = FactsCache::new(8, Detail::default());
        let mut child =
            std::process::Command::new("sh").args(["-c", "read go; exec sleep 10"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let before = cache.of_pid(child.id()).unwrap();
        let started = u64::from(rustix::param::clock_ticks_per_second() == 100) * before.start_time_ticks * 10_000_000;
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
        while cache.lookup.name(child.id()).unwrap().0 == before.comm {
            std::thread::yield_now();
        }
        let task = |comm: &str| Task { pid: child.id(), start_boottime_ns: Some(started), comm: comm.to_owned(), uid: 0, end: None };
        assert_eq!(cache.of_task(&task(&before.comm)).executable_name, before.executable_name, "of before");
        assert_eq!(cache.of_task(&task("sleep")).executable_name, "sleep");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_command_line_that_cannot_be_read_any_more_is_kept_with_its_program() {
        let mut cache = FactsCache::new(2, Detail::default());
        let mut facts = told(&task(1), 1);
        (facts.executable_path, facts.command_line) = (Some("/usr/bin/app".to_owned()), Some("app --serve".to_owned()));
        cache.insert(facts.clone().into());
        facts.command_line = None;
        assert_eq!(cache.insert(facts.clone().into()).command_line.as_deref(), Some("app --serve"));
        facts.executable_path = Some("/usr/bin/other".to_owned());
        assert_eq!(cache.insert(facts.into()).command_line, None);
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut cache = FactsCache::new(2, Detail::default());
        for pid in 1..=3 {
            cache.insert(told(&task(pid), 1).into());
        }
        assert_eq!((cache.evicted(), cache.known.len(), cache.order.len()), (1, 2, 2));
        assert!(!cache.known.contains_key(&(1, 1)));
    }

    #[test]
    fn the_agent_itself_can_be_read() {
        let mut cache = FactsCache::new(2, Detail::default());
        assert!(cache.of_pid(std::process::id()).is_some_and(|facts| facts.executable_path.is_some()));
    }
}
