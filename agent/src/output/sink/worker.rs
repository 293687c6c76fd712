//! The thread of a sink.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    backoff::Backoff,
    destination::Destination,
    queue::{Fate, Queue},
};
use crate::output::OutputError;

/// A sink that comes and goes is reported no more often than this.
const REPORTS: Duration = Duration::from_secs(30);

/// Starts the thread. With `retry` it goes on whatever happens; without, the first error ends the
/// sink, and is for the session to take.
///
/// # Errors
///
/// When there may be no more threads.
pub fn start(name: &str, queue: &Arc<Queue>, destination: Box<dyn Destination>, retry: bool) -> io::Result<JoinHandle<()>> {
    let (queue, owned) = (Arc::clone(queue), name.to_owned());
    // Not joined: one that is stuck on its reader must not keep the agent from ending. The queue
    // tells when it is through.
    thread::Builder::new().name("sink".to_owned()).spawn(move || run(&owned, &queue, destination, retry))
}

fn run(name: &str, queue: &Queue, mut destination: Box<dyn Destination>, retry: bool) {
    let mut backoff = Backoff::default();
    let mut trouble = Trouble::default();
    let mut again = None;
    while let Some(work) = queue.take(again) {
        if work.reopen {
            destination.reopen();
        }
        let outcome = destination.write(&work.items);
        again = outcome.again;
        let worked = outcome.fates.contains(&Fate::Written);
        queue.settle(&outcome.fates);
        if worked {
            backoff.reset();
        }
        match outcome.error {
            None if worked => trouble.ended(name),
            None => {}
            Some(source) if !retry => {
                queue.fail(match source.kind() {
                    io::ErrorKind::BrokenPipe => OutputError::Closed(name.to_owned()),
                    _ => OutputError::Write { target: name.to_owned(), source },
                });
                return;
            }
            Some(source) => {
                trouble.began(name, &source);
                queue.give_back(outcome.keep);
                if !queue.pause(backoff.next()) {
                    break;
                }
            }
        }
    }
    destination.close();
}

/// What the log is told of a sink that fails.
#[derive(Default)]
struct Trouble {
    since: Option<Instant>,
    reported: Option<Instant>,
    /// Whether the present trouble was reported.
    told: bool,
}

impl Trouble {
    fn began(&mut self, name: &str, error: &io::Error) {
        if self.since.is_some() {
            return;
        }
        let now = Instant::now();
        self.since = Some(now);
        self.told = self.reported.is_none_or(|at| now.saturating_duration_since(at) >= REPORTS);
        if self.told {
            self.reported = Some(now);
            tracing::warn!(sink = name, %error, "a sink fails; its events wait while it is tried again");
        }
    }

    fn ended(&mut self, name: &str) {
        let Some(since) = self.since.take() else { return };
        if std::mem::take(&mut self.told) {
            tracing::info!(sink = name, "the sink works again after {:.1} s", since.elapsed().as_secs_f64());
        }
    }
}
