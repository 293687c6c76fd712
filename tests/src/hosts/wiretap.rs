//! What went over the wires of a scenario, for `cargo xtask lab --pcap`: tcpdump on every host.
//!
//! With `RSTBLAME_LAB_PCAP` in the environment each host writes all its interfaces see to
//! `<directory>/<namespace>.pcap`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;

use crate::{LabError, Result, command, workspace};

/// Name of the variable that says which directory the captures go to.
const DIRECTORY: &str = "RSTBLAME_LAB_PCAP";

/// tcpdump on one host; what it has seen is on disk when this is dropped.
#[derive(Debug)]
pub struct Wiretap(Child);

impl Wiretap {
    /// Listens in a network namespace from now on, if the environment says so.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when the directory cannot be made, or tcpdump does not listen.
    pub fn on(namespace: &str) -> Result<Option<Self>> {
        let Some(directory) = std::env::var_os(DIRECTORY) else {
            return Ok(None);
        };
        let directory = Path::new(&directory);
        fs::create_dir_all(directory).map_err(|error| LabError::io(format!("create {}", directory.display()), error))?;
        let mut tcpdump = Command::new("ip");
        tcpdump.args(["netns", "exec", namespace, "tcpdump", "--immediate-mode", "-U", "-n", "-i", "any", "-Z", "root", "-w"]);
        tcpdump.arg(directory.join(format!("{namespace}.pcap"))).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command::spawn(&mut tcpdump)?;
        // It says so once it listens.
        let mut said = String::new();
        for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(|stderr| stderr.lines().map_while(std::io::Result::ok)) {
            if line.contains("listening on") {
                return Ok(Some(Self(child)));
            }
            said.push_str(&line);
        }
        let _ended = child.wait();
        Err(LabError::io(format!("listen with tcpdump in {namespace} ({said})"), std::io::ErrorKind::Other))
    }
}

impl Drop for Wiretap {
    fn drop(&mut self) {
        let Self(child) = self;
        // It writes what it has on SIGINT; if it is gone already, there is nothing to end.
        if command::signal(child.id(), Signal::INT).is_ok()
            && let Err(error) = command::wait(child, "tcpdump", workspace::patience(5))
        {
            eprintln!("lab: {error}");
        }
    }
}
