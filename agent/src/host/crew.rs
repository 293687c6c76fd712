//! Work that another user can delay, done apart from whoever wants it done.
//!
//! Reading `/proc/PID/cmdline` waits for that process's memory map, a file below its root may lie
//! on a file system of its own making, a table of its network namespace may hold a million entries,
//! closing a packet socket waits for every processor. None of that may hold the session up. Threads
//! here do it; what takes too long holds up one of them, until it is done or the agent ends.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

type Job = Box<dyn FnOnce() + Send>;

/// How long a thread waits for another job before it ends.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Whoever has nothing to do ends now.
    leave: bool,
}

/// Threads that do jobs in the order they come, and end when none come.
#[derive(Clone)]
pub struct Crew {
    name: &'static str,
    threads: usize,
    jobs: usize,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Crew {
    /// At most so many `threads` at once, and so many `jobs` that wait for one. The name is that of
    /// the threads, of at most 15 bytes.
    pub fn new(name: &'static str, threads: usize, jobs: usize) -> Self {
        Self { name, threads, jobs, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock panics half way through a change.
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a job done; `false` when too many wait already, and this one will not be done.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut state = self.lock();
        if state.jobs.len() >= self.jobs {
            return false;
        }
        state.jobs.push_back(Box::new(job));
        self.state.1.notify_one();
        if state.idle < state.jobs.len() && state.threads < self.threads {
            let crew = self.clone();
            // Not joined: one that is stuck must not keep the agent from ending. Where there may be
            // no more threads, those that there are do it, or whoever comes next tries again.
            if thread::Builder::new().name(self.name.to_owned()).spawn(move || crew.work()).is_ok() {
                state.threads += 1;
            }
        }
        true
    }

    /// Has all threads end, and waits for that until `deadline`; whether they have. Later jobs
    /// start new ones: a thread has the privileges that the one which started it had then.
    pub fn dismiss(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        state.leave = true;
        self.state.1.notify_all();
        while state.threads > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.state.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.leave = false;
        state.threads == 0
    }

    /// Has every thread end that has nothing to do, and the others when their job is done. Whoever
    /// gives the crew up calls it, so that its threads do not wait for jobs which cannot come.
    fn disband(&self) {
        self.lock().leave = true;
        self.state.1.notify_all();
    }

    fn work(&self) {
        /// Takes a thread off the books, also where its job panics.
        struct Gone<'a>(&'a Crew);
        impl Drop for Gone<'_> {
            fn drop(&mut self) {
                if thread::panicking() {
                    self.0.lock().threads -= 1;
                }
            }
        }
        let _gone = Gone(self);
        loop {
            let mut state = self.lock();
            if state.jobs.is_empty() {
                state.idle += 1;
                let waited = self.state.1.wait_timeout_while(state, IDLE, |state| state.jobs.is_empty() && !state.leave);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                state.idle -= 1;
            }
            let Some(job) = state.jobs.pop_front() else {
                // Under the same lock: a job that comes now finds a thread less.
                state.threads -= 1;
                self.state.1.notify_all();
                return;
            };
            drop(state);
            job();
        }
    }
}

/// How long may be waited in all: so much of every second, and half of it for one `C`. What an
/// attacker can make take long, it can make take long often.
#[derive(Debug)]
struct Patience<C> {
    share: Duration,
    left: Duration,
    spent: HashMap<C, Duration>,
    since: Instant,
}

impl<C: Copy + Eq + Hash> Patience<C> {
    fn new(share: Duration) -> Self {
        Self { share, left: share, spent: HashMap::new(), since: Instant::now() }
    }

    /// What of `wanted` may be waited now.
    fn grant(&mut self, of: C, wanted: Duration) -> Duration {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.left, self.since) = (self.share, Instant::now());
            self.spent.clear();
        }
        let spent = self.spent.get(&of).copied().unwrap_or_default();
        wanted.min(self.left).min((self.share / 2).saturating_sub(spent))
    }

    fn spend(&mut self, of: C, waited: Duration) {
        self.left = self.left.saturating_sub(waited);
        *self.spent.entry(of).or_default() += waited;
    }
}

/// Questions that a [`Crew`] finds the answers to. `K` is what is asked about, `C` whom it belongs
/// to.
pub struct Questions<K, C, A> {
    crew: Crew,
    send: Sender<(K, A)>,
    receive: Receiver<(K, A)>,
    /// Asked and not answered yet.
    open: HashMap<K, C>,
    /// Answers that nobody waited for any more.
    late: Vec<(K, A)>,
    patience: Patience<C>,
    each: Duration,
    of_one: usize,
    missed: u64,
}

impl<K: Clone + Eq + Hash + Send + 'static, C: Copy + Eq + Hash, A: Send + 'static> Questions<K, C, A> {
    /// An answer is waited for no longer than `each`, all of them together no longer than `share`
    /// of any second, and those about one `C` half as long. Of one `C`, no more than `of_one`
    /// questions are open at once: one user that lets them wait holds up so many threads and no
    /// more.
    pub fn new(crew: Crew, each: Duration, share: Duration, of_one: usize) -> Self {
        let (send, receive) = mpsc::channel();
        let patience = Patience::new(share);
        Self { crew, send, receive, open: HashMap::new(), late: Vec::new(), patience, each, of_one, missed: 0 }
    }

    /// Asks, for an answer that is [`Self::late`]; `false` where the same is asked already, or too
    /// much is.
    pub fn begin(&mut self, key: &K, of: C, find: impl FnOnce() -> A + Send + 'static) -> bool {
        self.take_in();
        let free = !self.open.contains_key(key) && self.open.values().filter(|open| **open == of).count() < self.of_one;
        let (asked, answers) = (key.clone(), self.send.clone());
        let begun = free
            && self.crew.run(move || {
                let _gone = answers.send((asked, find()));
            });
        if begun {
            self.open.insert(key.clone(), of);
        } else {
            self.missed += 1;
        }
        begun
    }

    /// The answer, if it comes in time. What comes later is for [`Self::late`].
    pub fn ask(&mut self, key: &K, of: C, find: impl FnOnce() -> A + Send + 'static) -> Option<A> {
        if !self.begin(key, of, find) {
            return None;
        }
        let began = Instant::now();
        let until = began + self.patience.grant(of, self.each);
        let mut found = None;
        while found.is_none() {
            match self.receive.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((answered, answer)) if answered == *key => {
                    self.open.remove(key);
                    found = Some(answer);
                }
                Ok((answered, answer)) => self.keep(answered, answer),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        self.patience.spend(of, began.elapsed());
        self.missed += u64::from(found.is_none());
        found
    }

    /// Answers that came too late for whoever asked.
    pub fn late(&mut self) -> Vec<(K, A)> {
        self.take_in();
        std::mem::take(&mut self.late)
    }

    /// Questions that were not answered in time, or not asked.
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    fn take_in(&mut self) {
        while let Ok((key, answer)) = self.receive.try_recv() {
            self.keep(key, answer);
        }
    }

    fn keep(&mut self, key: K, answer: A) {
        self.open.remove(&key);
        self.late.push((key, answer));
    }
}

impl<K, C, A> Drop for Questions<K, C, A> {
    fn drop(&mut self) {
        self.crew.disband();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        sync::mpsc,
        time::{Duration, Instant},
    };

    use super::{Crew, Questions};

    const EACH: Duration = Duration::from_millis(50);
    const SHARE: Duration = Duration::from_millis(200);

    fn questions(threads: usize) -> Questions<u32, u32, &'static str> {
        Questions::new(Crew::new("test", threads, 64), EACH, SHARE, 2)
    }

    #[test]
    fn an_answer_that_comes_is_had() {
        let mut questions = questions(2);
        for key in 0..100 {
            assert_eq!(questions.ask(&key, 0, || "yes"), Some("yes"));
        }
        assert_eq!(questions.missed(), 0);
    }

    #[test]
    fn what_does_not_come_is_waited_for_a_little_and_others_not_at_all() {
        let mut questions = questions(4);
        let (release, stuck) = mpsc::channel::<()>();
        let began = Instant::now();
        let answer = questions.ask(&1, 1000, move || {
            let _released = stuck.recv();
            "late"
        });
        assert_eq!(answer, None);
        assert!(began.elapsed() >= EACH && began.elapsed() < EACH * 10);
        assert_eq!(questions.ask(&2, 0, || "yes"), Some("yes"));
        // The same is not asked twice.
        assert_eq!(questions.ask(&1, 1000, || "again"), None);
        release.send(()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while questions.late() != [(1, "late")] {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert_eq!(questions.ask(&1, 1000, || "again"), Some("again"));
    }

    #[test]
    fn one_that_lets_everything_wait_holds_up_a_few_threads_and_a_share_of_the_time() {
        let mut questions = questions(4);
        let began = Instant::now();
        for key in 0..1000 {
            let answer = questions.ask(&key, 1000, || {
                std::thread::sleep(Duration::from_hours(1));
                ""
            });
            assert_eq!(answer, None);
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(questions.missed(), 1000);
        // Others have some of the same second left.
        assert_eq!(questions.ask(&5000, 0, || "yes"), Some("yes"));
    }

    #[test]
    fn many_that_let_everything_wait_cost_a_share_of_the_time() {
        let mut questions = questions(4);
        let began = Instant::now();
        for key in 0..1000 {
            questions.ask(&key, key, || {
                std::thread::sleep(Duration::from_hours(1));
                ""
            });
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }

    #[test]
    fn all_go_when_they_are_dismissed_and_others_come() {
        let crew = Crew::new("test", 4, 64);
        for _ in 0..16 {
            crew.run(|| std::thread::sleep(Duration::from_millis(1)));
        }
        assert!(crew.dismiss(Instant::now() + Duration::from_secs(10)));
        let (tell, told) = mpsc::channel();
        crew.run(move || tell.send(()).unwrap());
        told.recv_timeout(Duration::from_secs(10)).unwrap();
        crew.run(|| std::thread::sleep(Duration::from_hours(1)));
        assert!(!crew.dismiss(Instant::now() + Duration::from_millis(20)), "one is stuck");
    }

    #[test]
    fn all_go_with_the_questions_they_were_for() {
        let mut questions = questions(4);
        let crew = questions.crew.clone();
        assert_eq!(questions.ask(&1, 0, || "yes"), Some("yes"));
        assert_eq!(crew.lock().threads, 1);
        drop(questions);
        let deadline = Instant::now() + super::IDLE / 2;
        while crew.lock().threads > 0 {
            assert!(Instant::now() < deadline, "it waits for jobs that cannot come");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_job_that_panics_takes_no_thread_along() {
        let crew = Crew::new("test", 1, 8);
        for _ in 0..3 {
            let (tell, told) = mpsc::channel();
            assert!(crew.run(|| std::panic::resume_unwind(Box::new(()))));
            assert!(crew.run(move || tell.send(()).unwrap()));
            // The thread that is left, or the next one.
            let deadline = Instant::now() + Duration::from_secs(10);
            while told.try_recv().is_err() {
                assert!(Instant::now() < deadline);
                crew.run(|| ());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
