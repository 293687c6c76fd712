//! A log that is being written.

use std::{
    collections::VecDeque,
    io::{self, Write},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::{Duration, Instant},
};

use super::{
    ExplainError, Explainer, Report,
    join::Joiner,
    source::{CHUNK, Decoder},
    take,
};
use crate::reader::{Tail, Watch, read};

/// How long a report of a live log waits for its reset, which the agent holds back for its settle
/// window (`--settle`, 1 s).
pub const PATIENCE: Duration = Duration::from_secs(3);

/// How long a line of a live log may wait for the one that holds the reason. RabbitMQ writes both
/// at once.
const SECOND_LINE: Duration = Duration::from_millis(250);

/// Lines that are handed over at once.
const BATCH: usize = 512;

impl<W: Write> Explainer<W> {
    /// Explains a log while it is written.
    pub(super) fn live(&mut self) -> Result<(), ExplainError> {
        let mut events = Vec::new();
        for path in &self.events {
            let tail = Tail::open(path).map_err(|source| ExplainError::Events { path: path.clone(), source })?;
            let watch = Watch::new(path).map_err(|source| ExplainError::Watch { path: path.clone(), source })?;
            events.push(Events { tail, watch });
        }
        let news = listen(&events);
        self.read_on(&mut events)?;
        // When each report that is not answered gives up.
        let mut due: VecDeque<Instant> = VecDeque::new();
        let mut second_line: Option<Instant> = None;
        let mut ended = false;
        while !ended || !due.is_empty() {
            let now = Instant::now();
            let next = due.front().copied().into_iter().chain(second_line).min();
            let piece = match next {
                Some(next) => news.recv_timeout(next.saturating_duration_since(now)),
                None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut reports: Vec<Report> = Vec::new();
            match piece {
                Ok(News::Lines(lines)) => {
                    for line in lines {
                        reports.append(&mut self.log.line(&line));
                    }
                    second_line = self.log.is_waiting().then(|| Instant::now() + SECOND_LINE);
                }
                Ok(News::Events) => self.read_on(&mut events)?,
                // The threads end by what they say last.
                Ok(News::Ended(Ok(()))) | Err(RecvTimeoutError::Disconnected) => ended = true,
                Ok(News::Ended(Err(source))) => return Err(ExplainError::Log { name: "-".to_owned(), source }),
                Ok(News::Blind(path, source)) => return Err(ExplainError::Watch { path, source }),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if ended || second_line.is_some_and(|due| due <= now) {
                reports.append(&mut self.log.finish());
                second_line = None;
            }
            for report in reports {
                due.push_back(now + patience(&report));
                self.joiner.report(report);
            }
            if due.front().is_some_and(|due| *due <= now) {
                // The latest word, before it is said that there is none.
                self.read_on(&mut events)?;
            }
            while self.joiner.unanswered() > 0 && (self.joiner.is_clear() || due.front().is_none_or(|due| *due <= now)) {
                due.pop_front();
                self.answer()?;
            }
            self.out.flush().map_err(ExplainError::Write)?;
        }
        self.recognised("-")
    }

    fn read_on(&mut self, events: &mut [Events]) -> Result<(), ExplainError> {
        for events in events {
            self.unreadable += events.read(&mut self.joiner)?;
        }
        Ok(())
    }
}

/// A file of events that grows.
struct Events {
    tail: Tail,
    watch: Watch,
}

impl Events {
    /// Takes in what is new; returns how many lines are no events.
    fn read(&mut self, joiner: &mut Joiner) -> Result<u64, ExplainError> {
        let mut unreadable = 0;
        loop {
            let replaced = self.tail.read(|line| unreadable += u64::from(!take(joiner, line)));
            let path = self.watch.path();
            if !replaced.map_err(|source| ExplainError::Events { path: path.to_owned(), source })? {
                return Ok(unreadable);
            }
            // What was written before the new file is watched is read in the next round.
            self.watch.renew().map_err(|source| ExplainError::Watch { path: path.to_owned(), source })?;
        }
    }
}

/// What a live log has to be woken up for.
enum News {
    Lines(Vec<String>),
    /// A file of events was written to or replaced.
    Events,
    /// Standard input is at its end, or failed.
    Ended(io::Result<()>),
    /// A file of events cannot be watched any more.
    Blind(PathBuf, io::Error),
}

/// Starts a thread for each source. A full channel holds its source up.
fn listen(events: &[Events]) -> Receiver<News> {
    let (sender, news) = sync_channel(64);
    for events in events {
        let (sender, watch) = (sender.clone(), events.watch.clone());
        std::thread::spawn(move || {
            loop {
                let news = watch.wait().map_or_else(|error| News::Blind(watch.path().to_owned(), error), |()| News::Events);
                let last = matches!(news, News::Blind(..));
                if sender.send(news).is_err() || last {
                    return;
                }
            }
        });
    }
    std::thread::spawn(move || {
        let ended = standard_input(&sender);
        // Nobody may be listening any more.
        let _gone = sender.send(News::Ended(ended));
    });
    news
}

fn standard_input(log: &SyncSender<News>) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = read(&mut input, &mut buffer)?;
        let mut lines = Vec::new();
        let mut take = |line: &[u8]| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            if lines.len() >= BATCH {
                let _gone = log.send(News::Lines(std::mem::take(&mut lines)));
            }
        };
        if count == 0 {
            decoder.finish(&mut take);
        } else {
            decoder.feed(buffer.get(..count).unwrap_or_default(), &mut take);
        }
        if !lines.is_empty() {
            let _gone = log.send(News::Lines(lines));
        }
        if count == 0 {
            return Ok(());
        }
    }
}

/// A report of long ago has no reset that is still to come.
fn patience(report: &Report) -> Duration {
    let latest = report.times().max();
    let age = latest.map(|time| jiff::Timestamp::now().duration_since(time)).unwrap_or_default();
    PATIENCE.saturating_sub(Duration::try_from(age).unwrap_or_default())
}
