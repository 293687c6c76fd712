//! Everything at once, for as long as is asked: AMQP load, resets of every kind, namespaces that
//! come and go, sinks that break, a disk that runs full, a file that is rotated, and a
//! configuration that is read again every second.
//!
//! What must hold is that nothing grows and nothing is miscounted. `RSTBLAME_LAB_SOAK` is how long,
//! in seconds.

mod growth;
mod load;
mod trouble;

use std::{
    net::TcpListener,
    os::unix::net::UnixListener,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use growth::{Growth, MIB};
use rstblame_lab::{
    LabError, Result,
    agents::{
        agent::Agent,
        record::is_kind,
        site::{Disk, Site},
    },
    figures::{self, Figures},
    hosts::net::two_hosts,
};
use trouble::Rotation;

/// The port of this test, which no other has.
const PORT: u16 = 20_020;

/// How long, unless `RSTBLAME_LAB_SOAK` says otherwise.
const SOAK: Duration = Duration::from_mins(2);

/// What an idle agent with 100,000 connections may need, all of it resident.
const MEMORY: u64 = 64 * MIB;

/// When to end: the time has come, or a part has failed and the others need not go on.
pub struct Shift {
    end: Instant,
    broken: AtomicBool,
}

impl Shift {
    /// Whether there is more to do, after a pause.
    pub fn goes_on(&self, pause: Duration) -> bool {
        thread::sleep(pause);
        Instant::now() < self.end && !self.broken.load(Ordering::Relaxed)
    }

    fn work<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        work(self).inspect_err(|_| self.broken.store(true, Ordering::Relaxed))
    }
}

#[test]
fn nothing_grows_and_nothing_is_miscounted() -> Result<()> {
    let soak = match std::env::var("RSTBLAME_LAB_SOAK") {
        Ok(seconds) => Duration::from_secs(seconds.parse().map_err(|_| LabError::Client(format!("{seconds:?} is no number of seconds")))?),
        Err(_) => SOAK,
    };
    let (site, net) = (Site::new("soak")?, two_hosts()?);
    let disk = Disk::mount(site.path("disk"), "1m")?;
    let (reader, stuck) = (TcpListener::bind("127.0.0.1:0"), UnixListener::bind(site.path("stuck.sock")));
    let reader = reader.map_err(|error| LabError::io("listen", error))?;
    // Connections wait in its backlog; nobody reads them, ever.
    let stuck = stuck.map_err(|error| LabError::io("listen", error))?;
    let sinks = trouble::Sinks::new(&site, &disk, &reader)?;
    let agent = Agent::daemon(&site.write(&sinks.plain)?).start()?;

    let shift = Shift { end: Instant::now() + soak, broken: AtomicBool::new(false) };
    let mut growth = Growth::of(agent.pid());
    let mut rotation = Rotation::of(sinks.file.clone());
    let (made, made_passing, reloads) = thread::scope(|scope| {
        let staying = scope.spawn(|| shift.work(|shift| load::resets(&net, shift)));
        let passing = scope.spawn(|| shift.work(load::passing_hosts));
        let others = [
            scope.spawn(|| shift.work(|shift| load::messages(&net, shift))),
            scope.spawn(|| shift.work(|shift| trouble::reader_comes_and_goes(&reader, shift))),
            scope.spawn(|| shift.work(|shift| trouble::disk_runs_full(&disk, &sinks.on_disk, shift))),
            scope.spawn(|| shift.work(|shift| rotation.go_on(shift))),
            scope.spawn(|| shift.work(|shift| growth.watch(shift))),
        ];
        let reloads = shift.work(|shift| trouble::reload(&agent, &site, &sinks, shift));
        let (staying, passing) = (joined(staying)?, joined(passing)?);
        others.map(joined).into_iter().collect::<Result<()>>()?;
        Ok::<_, LabError>((staying + passing, passing, reloads?))
    })?;
    let record = agent.stop()?;
    drop(stuck);

    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    let mut figures = Figures::default();
    figures.table(
        format!("a soak of {} s, by parts of it: medians, and the processor time of the agent in percent of one processor", soak.as_secs()),
        &["until", "resident KiB", "files", "threads, no crew", "processor %"],
    );
    growth.tell(&mut figures);
    figures.note(format!(
        "{made} resets made, each seen at both of its ends; {reloads} reloads; {} namespaces that came and went",
        made_passing / u64::from(load::EACH)
    ));
    figures.note(format!("seen {}, emitted {}, suppressed {}, lost {}", totals.seen, totals.emitted, totals.suppressed, totals.lost));
    for sink in ["file", "tcp", "stuck", "disk"] {
        let (written, lost) = record.books(sink).unwrap_or_default();
        figures.note(format!("sink {sink}: {written} written, {lost} lost"));
    }
    figures.limit(format!("{} MiB resident at any time", MEMORY / MIB), growth.peak() < MEMORY);
    figures.limit("no more memory, files and threads in the last quarter than in the one before", growth.found().is_none());
    if figures::is_recorded() {
        figures.write("soak")?;
    }
    // One host sends it, the other receives it.
    assert_eq!((totals.seen, totals.emitted, totals.lost), (2 * made, 2 * made, 0));
    assert_eq!(record.events().filter(|event| is_kind(event, "agent_reloaded")).count(), reloads);
    assert_eq!(record.books("file"), Some((totals.emitted, 0)), "rotation costs nothing");
    assert_eq!(rotation.finish()?, totals.emitted, "every line is in one of the files");
    for broken in ["tcp", "stuck", "disk"] {
        let (written, lost) = record.books(broken).unwrap_or_default();
        assert_eq!(written + lost, totals.emitted, "{broken}: {written} written, {lost} lost");
    }
    assert!(growth.peak() < MEMORY, "{} bytes", growth.peak());
    assert_eq!(growth.found(), None);
    Ok(())
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
