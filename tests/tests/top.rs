//! `rstblame top` on a real terminal, that of tmux: by keys and screens, over a file that grows and
//! over the kernel. However it ends, the terminal is as it was, and no agent is left behind.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result,
    agents::{
        agent::Agent,
        site::{Site, resets_on},
    },
    command,
    hosts::net::{Host, lone_host},
    peers::peer::{self, AMQP},
    poll, workspace,
};
use rustix::process::Signal;

/// How long the view may take to show something.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal, gone with the test.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// One of this size, in which a command runs, and a shell behind it that tells how it ended.
    fn run(site: &Site, columns: u16, rows: u16, words: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Not that of an earlier one, whose server may still be about to end.
        let terminal = Self { socket: site.path(&format!("tmux-{}", NEXT.fetch_add(1, Ordering::Relaxed))) };
        let [columns, rows] = [columns, rows].map(|size| size.to_string());
        let script = format!("{words}; echo ended with $?; stty -a; exec cat");
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, &script])?;
        Ok(terminal)
    }

    fn tmux(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-f").arg("/dev/null").arg("-S").arg(&self.socket).args(words);
        command.env("LC_ALL", "C.UTF-8").env_remove("TMUX").env_remove("NO_COLOR");
        command::run_command(command, PATIENCE)
    }

    fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until all of these are on the screen; the screen.
    fn wait_for(&self, texts: &[&str]) -> Result<String> {
        let mut last = String::new();
        let seen = poll::until("a screen", PATIENCE, || {
            last = self.screen()?;
            Ok(texts.iter().all(|text| last.contains(text)).then(|| last.clone()))
        });
        seen.map_err(|error| LabError::Client(format!("{error}; wanted {texts:?} on the screen:\n{last}")))
    }

    fn keys(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    fn text(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]).map(drop)
    }

    /// What an ended program must leave: the usual screen, a cursor, and a terminal that reads
    /// lines and shows what is typed.
    fn is_as_it_was(&self, code: &str) -> Result<()> {
        let screen = self.wait_for(&[code, "icanon", "echo"])?;
        assert!(!screen.contains("-icanon") && !screen.contains("-echo "), "{screen}");
        let flags = self.tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"])?;
        assert_eq!(flags.trim(), "0 1 0", "alternate screen, cursor, mouse");
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended with the test's own doing.
        let _gone = self.tmux(&["kill-server"]);
    }
}

/// The processes of a host whose command line has this word in it.
fn processes(host: &Host, word: &str) -> Result<Vec<u32>> {
    let is = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split('\0').any(|part| part == word));
    Ok(host.processes()?.into_iter().filter(is).collect())
}

/// Lines of an agent that saw five refused connections.
fn recorded() -> Result<Vec<String>> {
    let host = lone_host()?;
    let agent = Agent::on(&host).start()?;
    for _ in 0..5 {
        peer::refused(&host, SocketAddr::new(host.v4(), AMQP))?;
    }
    agent.wait_for_count("rst", 10)?;
    let mut lines = agent.stop()?.into_lines();
    // It goes on.
    lines.retain(|line| !line.contains("agent_stopped"));
    Ok(lines)
}

#[test]
fn a_file_is_shown_filtered_and_followed() -> Result<()> {
    let site = Site::new("top-file")?;
    let lines = recorded()?;
    let (begin, last) = lines.split_at(lines.len() - 1);
    let path = site.path("events.json");
    fs::write(&path, begin.join("\n") + "\n").map_err(|error| LabError::io("write events", error))?;
    let words = format!("{} top {}", workspace::agent_binary().display(), path.display());
    let terminal = Terminal::run(&site, 80, 24, &words)?;
    let screen = terminal.wait_for(&["rstblame top", "9 events", "REFUSED", "q quit"])?;
    assert!(screen.contains("who") && screen.contains("why"), "{screen}");

    let added = fs::OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all((last.join("\n") + "\n").as_bytes()));
    added.map_err(|error| LabError::io("add an event", error))?;
    terminal.wait_for(&["10 events"])?;
    terminal.keys(&["/"])?;
    terminal.text("direction = sent and cause = refused")?;
    terminal.wait_for(&["filter: direction = sent", " 0 events"])?;
    terminal.keys(&["Escape"])?;
    terminal.keys(&["?"])?;
    terminal.wait_for(&["let the list stand still"])?;
    terminal.keys(&["Escape"])?;
    terminal.keys(&["Down", "Enter"])?;
    terminal.wait_for(&[" event "])?;
    terminal.keys(&["Escape"])?;

    terminal.resize(200, 60)?;
    terminal.wait_for(&["peers", "processes"])?;
    terminal.resize(40, 8)?;
    terminal.wait_for(&["rstblame top"])?;
    terminal.resize(80, 24)?;
    terminal.keys(&["q"])?;
    terminal.is_as_it_was("ended with 0")
}

#[test]
fn this_host_is_watched_and_nothing_is_left_behind() -> Result<()> {
    let site = Site::new("top-live")?;
    for end in [None, Some(Signal::TERM), Some(Signal::HUP), Some(Signal::KILL)] {
        let host = lone_host()?;
        let words = format!("ip netns exec {} {} top --netns self", host.name(), workspace::agent_binary().display());
        let terminal = Terminal::run(&site, 100, 30, &words)?;
        terminal.wait_for(&["this host, port 5672", "Nothing has happened yet."])?;
        resets_on(&host, AMQP, 3)?;
        // They are as in normal operation, and listed when asked for.
        terminal.wait_for(&["6 events", " 0 events, latest first"])?;
        terminal.keys(&["a"])?;
        terminal.wait_for(&[" 6 events, latest first"])?;
        let view = processes(&host, "top")?;
        match end {
            None => {
                terminal.keys(&["C-c"])?;
                terminal.is_as_it_was("ended with 0")?;
            }
            Some(signal) => {
                for pid in view {
                    command::signal(pid, signal)?;
                }
                if signal != Signal::KILL {
                    terminal.is_as_it_was("ended with 0")?;
                }
            }
        }
        poll::until("the agent to end with the view", PATIENCE, || Ok(processes(&host, "capture")?.is_empty().then_some(())))?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_shown_is_said_in_a_line() -> Result<()> {
    let site = Site::new("top-errors")?;
    let binary = workspace::agent_binary();
    let missing = format!("{} top {}", binary.display(), site.path("nothing.json").display());
    let terminal = Terminal::run(&site, 100, 24, &missing)?;
    terminal.wait_for(&["cannot open the events", "ended with 1"])?;
    drop(terminal);
    let question = format!("{} top --where 'cause = = 1' {}", binary.display(), site.path("nothing.json").display());
    let terminal = Terminal::run(&site, 100, 24, &question)?;
    terminal.wait_for(&["not a question", "ended with 2"])?;
    drop(terminal);
    // Not on a terminal.
    let mut command = Command::new(&binary);
    command.arg("top").arg(site.path("nothing.json"));
    let finished = command::finish(command, PATIENCE)?;
    assert!(finished.status.code() == Some(1) && finished.stderr.contains("draws on a terminal"), "{}", finished.stderr);
    Ok(())
}
