//! What goes wrong around the agent: readers that leave, disks that run full, files that are moved
//! away, a file of settings that changes.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result,
    agents::{
        agent::Agent,
        record::{Record, is_kind},
        site::{Disk, Site, WHOLE, lines_of},
    },
};
use rustix::process::Signal;

use super::{PORT, Shift};

/// How long a reader stays, and how long it stays away.
const SPELL: Duration = Duration::from_secs(2);

/// Between two reloads.
const RELOAD: Duration = Duration::from_secs(1);

/// Between two looks at something.
const LOOK: Duration = Duration::from_millis(50);

/// The configurations between which a daemon goes to and fro.
pub struct Sinks {
    pub plain: String,
    other: String,
    /// The file that is rotated.
    pub file: PathBuf,
    /// The file on the small disk.
    pub on_disk: PathBuf,
}

impl Sinks {
    pub fn new(site: &Site, disk: &Disk, tcp: &TcpListener) -> Result<Self> {
        let address = tcp.local_addr().map_err(|error| LabError::io("read an address", error))?;
        let (file, on_disk) = (site.path("events.jsonl"), disk.path("events.jsonl"));
        let sink = |kind: &str, name: &str, place: &str| {
            let queue = if name == "file" { String::new() } else { "queue = 50\n".to_owned() };
            format!("[[sink]]\ntype = \"{kind}\"\nname = \"{name}\"\n{place}\n{queue}")
        };
        let at = |path: &Path| format!("path = \"{}\"", path.display());
        let sinks = [
            "[[sink]]\ntype = \"stdout\"\n".to_owned(),
            sink("file", "file", &at(&file)),
            sink("file", "disk", &at(&on_disk)),
            sink("tcp", "tcp", &format!("address = \"{address}\"")),
            sink("unix_stream", "stuck", &at(&site.path("stuck.sock"))),
        ]
        .concat();
        let state = site.path("state");
        let settings = |ports: &str, middlebox: &str| {
            format!(
                "settle = \"200ms\"\nstate_dir = \"{}\"\n{WHOLE}[filter]\nports = {ports}\nnetns = \"all\"\n{middlebox}{sinks}",
                state.display()
            )
        };
        let (one, both) = (format!("[{PORT}, {}]", PORT + 1), format!("[\"{PORT}-{}\"]", PORT + 1));
        Ok(Self {
            plain: settings(&one, ""),
            other: settings(&both, "[[middlebox]]\nnetwork = \"203.0.113.0/24\"\nname = \"somewhere else\"\n")
                + &sink("file", "passing", &at(&site.path("passing.jsonl"))),
            file,
            on_disk,
        })
    }
}

/// Has the daemon read a changed configuration again and again, the first one at last. Returns how
/// often.
pub fn reload(agent: &Agent, site: &Site, sinks: &Sinks, shift: &Shift) -> Result<usize> {
    let (mut times, mut lines) = (0, 0);
    loop {
        site.write(if times % 2 == 0 { &sinks.other } else { &sinks.plain })?;
        times += 1;
        agent.signal(Signal::HUP)?;
        let asked = Instant::now();
        agent.wait_from(&mut lines, &format!("{times} agent_reloaded"), |event| is_kind(event, "agent_reloaded"))?;
        if !shift.goes_on(RELOAD.saturating_sub(asked.elapsed())) && times % 2 == 0 {
            return Ok(times);
        }
    }
}

/// A reader of the TCP sink that reads for a while, hangs up with its bytes half read, and is back
/// later.
pub fn reader_comes_and_goes(listener: &TcpListener, shift: &Shift) -> Result<()> {
    listener.set_nonblocking(true).map_err(|error| LabError::io("set a listener non-blocking", error))?;
    let mut buffer = [0; 4096];
    while shift.goes_on(LOOK) {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(LabError::io("accept", error)),
        };
        let until = Instant::now() + SPELL;
        stream.set_nonblocking(true).map_err(|error| LabError::io("set a socket non-blocking", error))?;
        while Instant::now() < until && shift.goes_on(LOOK) {
            // Nothing there, or the agent has hung up: either way there is nothing more to read
            // now.
            let _ = stream.read(&mut buffer);
        }
        drop(stream);
        let back = Instant::now() + SPELL;
        while Instant::now() < back && shift.goes_on(LOOK) {}
    }
    Ok(())
}

/// Fills the disk up, and makes room again.
pub fn disk_runs_full(disk: &Disk, events: &Path, shift: &Shift) -> Result<()> {
    let filler = disk.path("filler");
    while shift.goes_on(SPELL) {
        let mut filling = File::create(&filler).map_err(|error| LabError::io("create a file", error))?;
        while filling.write_all(&[0; 4096]).is_ok() {}
        drop(filling);
        shift.goes_on(SPELL);
        for path in [filler.as_path(), events] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(LabError::io("remove a file", error)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// A file that is moved away again and again while it is written.
pub struct Rotation {
    path: PathBuf,
    /// Moved away, and perhaps still written to: the agent looks before each write whether its file
    /// is where it was.
    before: Option<PathBuf>,
    resets: u64,
}

impl Rotation {
    pub fn of(path: PathBuf) -> Self {
        Self { path, before: None, resets: 0 }
    }

    pub fn go_on(&mut self, shift: &Shift) -> Result<()> {
        for number in 0_u64.. {
            if !shift.goes_on(SPELL) {
                break;
            }
            let away = self.path.with_extension(format!("{number}.jsonl"));
            match fs::rename(&self.path, &away) {
                Ok(()) => {
                    let before = self.before.replace(away);
                    self.count(before)?;
                }
                // Nothing was written since the last time.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(LabError::io("move the events away", error)),
            }
        }
        Ok(())
    }

    /// The resets in all files, after the agent has ended.
    pub fn finish(mut self) -> Result<u64> {
        let before = self.before.take();
        self.count(before)?;
        let last = self.path.clone();
        self.count(Some(last))?;
        Ok(self.resets)
    }

    fn count(&mut self, path: Option<PathBuf>) -> Result<()> {
        if let Some(path) = path {
            self.resets += Record::new(lines_of(&path)?).resets().count() as u64;
            fs::remove_file(path).map_err(|error| LabError::io("remove a file", error))?;
        }
        Ok(())
    }
}
