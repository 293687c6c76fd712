//! The daemon: its sinks beside each other when one breaks, its configuration read again, a disk
//! that runs full.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::net::UnixListener,
    path::Path,
    thread::JoinHandle,
    time::Duration,
};

use rstblame_lab::{
    LabError, Result,
    agents::{
        agent::Agent,
        record::{Record, is_kind},
        site::{Disk, Site, lines_of},
    },
    peers::peer::AMQP,
    poll,
};
use rustix::process::Signal;
use serde_json::Value;

/// How long something may take that is under way.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port that is watched after a reload only.
const OTHER: u16 = 5673;

/// Both ends of a connection are on the one host, which sends its reset and receives it.
const EVENTS: u64 = 2;

/// The lines that come over one connection, until it ends.
fn read_all(stream: impl std::io::Read + Send + 'static) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || BufReader::new(stream).lines().map_while(std::result::Result::ok).collect())
}

fn joined(reader: JoinHandle<Vec<String>>) -> Vec<String> {
    reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn resets_in(lines: &[String]) -> u64 {
    Record::new(lines.to_vec()).resets().count() as u64
}

#[test]
fn a_sink_that_breaks_disturbs_no_other_and_its_loss_is_exact() -> Result<()> {
    const BEFORE: usize = 40;
    const AFTER: usize = 60;
    /// More than before, less than after.
    const QUEUE: u64 = 100;
    let site = Site::new("sinks")?;
    let (file, socket) = (site.path("events.jsonl"), site.path("stream.sock"));
    let tcp = TcpListener::bind("127.0.0.1:0").map_err(|error| LabError::io("listen", error))?;
    let unix = UnixListener::bind(&socket).map_err(|error| LabError::io("listen", error))?;
    let address = tcp.local_addr().map_err(|error| LabError::io("read an address", error))?;
    let config = site.configure(
        &format!("[{AMQP}]"),
        &format!(
            "[[sink]]\ntype = \"file\"\nname = \"file\"\npath = {file:?}\n\
             [[sink]]\ntype = \"tcp\"\nname = \"tcp\"\naddress = \"{address}\"\n\
             [[sink]]\ntype = \"unix_stream\"\nname = \"unix\"\npath = {socket:?}\nqueue = {QUEUE}\n"
        ),
    )?;
    let agent = Agent::daemon(&config).start()?;
    let over_tcp = read_all(tcp.accept().map_err(|error| LabError::io("accept", error))?.0);
    let (over_unix, _) = unix.accept().map_err(|error| LabError::io("accept", error))?;
    over_unix.set_read_timeout(Some(PATIENCE)).map_err(|error| LabError::io("set a timeout", error))?;

    site.resets(AMQP, BEFORE)?;
    // The reader of the unix socket reads what there is so far, and is gone with its socket.
    let expected = EVENTS * BEFORE as u64;
    let mut taken = Vec::new();
    for line in BufReader::new(&over_unix).lines() {
        taken.push(line.map_err(|error| LabError::io("read from the agent", error))?);
        if resets_in(&taken) == expected {
            break;
        }
    }
    drop((over_unix, unix));
    fs::remove_file(&socket).map_err(|error| LabError::io("remove the socket", error))?;
    site.resets(AMQP, AFTER)?;
    let all = expected + EVENTS * AFTER as u64;
    // More than its queue holds were meant for it.
    agent.wait_for("the loss of the broken sink", |event| {
        is_kind(event, "events_lost") && event.pointer("/sinks/unix/lost").and_then(Value::as_u64) == Some(all - expected - QUEUE)
    })?;

    let record = agent.stop()?;
    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    assert_eq!((totals.seen, totals.emitted, totals.lost), (all, all, 0));
    assert_eq!(record.books("unix"), Some((expected, all - expected)));
    for healthy in ["stdout", "file", "tcp"] {
        assert_eq!(record.books(healthy), Some((all, 0)), "{healthy}");
    }
    for lines in [lines_of(&file)?, joined(over_tcp)] {
        assert_eq!(lines, record.lines(), "every healthy sink has the same stream");
    }
    Ok(())
}

#[test]
fn the_configuration_is_read_again_and_no_event_is_lost() -> Result<()> {
    const EACH: usize = 10;
    const RELOADS: usize = 8;
    let site = Site::new("reload")?;
    let (first, second) = (site.path("first.jsonl"), site.path("second.jsonl"));
    let to_file = |path: &Path| format!("[[sink]]\ntype = \"file\"\nname = {:?}\npath = {path:?}\n", path.file_name().unwrap_or_default());
    let config = site.configure(&format!("[{AMQP}]"), &to_file(&first))?;
    let agent = Agent::daemon(&config).start()?;
    site.resets(AMQP, EACH)?;
    site.resets(OTHER, EACH)?;
    agent.wait_for_count("rst", EVENTS * EACH as u64)?;

    // One port more, and another file.
    site.configure(&format!("[{AMQP}, {OTHER}]"), &to_file(&second))?;
    agent.signal(Signal::HUP)?;
    agent.wait_for("agent_reloaded with both ports", |event| {
        is_kind(event, "agent_reloaded") && event.pointer("/filter/ports") == Some(&serde_json::json!(["5672", "5673"]))
    })?;
    site.resets(OTHER, EACH)?;
    agent.wait_for_count("rst", 2 * EVENTS * EACH as u64)?;

    // A file that makes no sense changes nothing, and one line says where it is wrong.
    fs::write(&config, "settle = \"100ms\"\n[filter]\nprots = [1]\n").map_err(|error| LabError::io("write the configuration", error))?;
    agent.signal(Signal::HUP)?;
    let line = agent.wait_for_log(":3: unknown key \"prots\" in [filter]; did you mean ports?")?;
    assert!(line.ends_with("the configuration that is running stays"), "{line}");
    site.resets(OTHER, EACH)?;
    agent.wait_for_count("rst", 3 * EVENTS * EACH as u64)?;

    // Read again and again while connections are reset; the watched port stays watched throughout.
    site.configure(&format!("[{AMQP}]"), &to_file(&second))?;
    std::thread::scope(|scope| {
        let resets = scope.spawn(|| site.resets(AMQP, EACH * RELOADS));
        for number in 2..2 + RELOADS {
            agent.signal(Signal::HUP)?;
            agent.wait_for_count("agent_reloaded", number as u64)?;
        }
        resets.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;

    let record = agent.stop()?;
    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    let all = EVENTS * EACH as u64 * (3 + RELOADS as u64);
    assert_eq!((totals.seen, totals.emitted, totals.lost), (all, all, 0));
    assert_eq!(resets_in(&lines_of(&first)?), EVENTS * EACH as u64);
    let second = lines_of(&second)?;
    assert!(second.first().is_some_and(|line| line.contains("\"agent_started\"")), "a stream begins with agent_started");
    assert_eq!(resets_in(&second), all - EVENTS * EACH as u64);
    Ok(())
}

/// The file is on a file system of a few pages that is full for a while.
#[test]
fn a_disk_that_runs_full_leaves_no_half_line_and_costs_nothing_that_the_queue_holds() -> Result<()> {
    const RESETS: usize = 60;
    let site = Site::new("full")?;
    let disk = Disk::mount(site.path("disk"), "1m")?;
    let (file, filler) = (disk.path("events.jsonl"), disk.path("filler"));
    let config =
        site.configure(&format!("[{AMQP}]"), &format!("[[sink]]\ntype = \"file\"\nname = \"file\"\npath = {file:?}\nfsync = \"each\"\n"))?;
    let agent = Agent::daemon(&config).start()?;
    site.resets(AMQP, 1)?;
    poll::until("the first lines in the file", PATIENCE, || Ok((resets_in(&lines_of(&file).unwrap_or_default()) == EVENTS).then_some(())))?;
    // All but the rest of the last page is taken.
    let mut filling = File::create(&filler).map_err(|error| LabError::io("create a file", error))?;
    while filling.write_all(&[0; 4096]).is_ok() {}
    site.resets(AMQP, RESETS)?;
    agent.wait_for_count("rst", EVENTS * (1 + RESETS as u64))?;
    agent.wait_for_log("No space left on device")?;
    let while_full = lines_of(&file)?;
    assert!(resets_in(&while_full) < EVENTS * (1 + RESETS as u64));
    drop(filling);
    fs::remove_file(&filler).map_err(|error| LabError::io("remove a file", error))?;
    agent.wait_for_log("works again")?;
    let record = agent.stop()?;
    assert_eq!(record.books("file"), Some((EVENTS * (1 + RESETS as u64), 0)));
    assert_eq!(lines_of(&file)?, record.lines());
    Ok(())
}
