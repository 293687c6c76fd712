//! The odd hours of an agent: killed at any moment, started while connections are open, twice at
//! once, namespaces that come and go, maps too small.

use std::{
    collections::BTreeSet,
    env, fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result, Value,
    agents::{
        agent::Agent,
        maps::{self, Object},
        record::is_kind,
        site::{self, Site, resets_on},
    },
    command,
    hosts::net::{Host, lone_host},
    peers::peer::{self, AMQP},
    poll, workspace,
};
use rustix::process::Signal;

/// How long something may take that is under way.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names how many times the agent is killed, for a longer run than that of every day.
const KILLS: &str = "RSTBLAME_KILLS";

/// Connects and accepts, both in a host.
fn pairs(host: &Host, address: SocketAddr, listener: &TcpListener, count: usize) -> Result<Vec<(TcpStream, TcpStream)>> {
    (0..count).map(|_| Ok((host.connect(address)?, listener.accept().map_err(LabError::during("accept"))?.0))).collect()
}

/// Waits until nothing of what an agent held is left.
fn wait_gone(held: &BTreeSet<Object>) -> Result<()> {
    // The kernel frees them when every CPU has passed through a grace period.
    poll::until("the BPF objects of a killed agent to be freed", PATIENCE, || Ok(held.is_disjoint(&maps::everything()).then_some(())))
        .inspect_err(|_| println!("lab: left of it: {:?}", held.intersection(&maps::everything()).collect::<Vec<_>>()))
}

/// Reads the whole lines that were not looked at yet. Says whether half a line follows.
///
/// The kernel may end a write(2) at a page when the writer is killed in it
/// (generic_perform_write(), <https://github.com/torvalds/linux/blob/v6.12/mm/filemap.c>). The next
/// agent has to cut that off before it goes on.
fn check_new_lines(path: &Path, from: &mut usize) -> Result<bool> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        read => read.map_err(LabError::during("read the sink's file"))?,
    };
    let new = bytes.get(*from..).unwrap_or_default();
    let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let (lines, rest) = new.split_at(whole);
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<Value>(line).map_err(|error| LabError::io(String::from_utf8_lossy(line), error))?;
    }
    *from += whole;
    Ok(!rest.is_empty())
}

/// Numbers without order (xorshift, Marsaglia 2003), the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn an_agent_killed_at_any_moment_leaves_whole_lines_and_nothing_in_the_kernel() -> Result<()> {
    let rounds: u64 = env::var(KILLS).ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let site = Site::new("odd-hours")?;
    let (host, file) = (&site.host, site.path("events.jsonl"));
    let config = site.write(&format!(
        "settle = \"50ms\"\n[filter]\nnetns = \"{}\"\n[[sink]]\ntype = \"stdout\"\n[[sink]]\ntype = \"file\"\npath = {file:?}\n",
        host.path().display()
    ))?;
    let address = SocketAddr::new(host.v4(), AMQP);
    let listener = host.listen(address)?;
    let done = AtomicBool::new(false);
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let (mut read, mut halves) = (0, 0_u64);
    let ended = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                site::reset(host, address, &listener)?;
            }
            Ok::<_, LabError>(())
        });
        let kills = (|| {
            for round in 0..rounds {
                let held =
                    if round % 2 == 0 { kill_at_work(&config, numbers.below(300))? } else { kill_at_start(&config, numbers.below(300))? };
                halves += u64::from(check_new_lines(&file, &mut read)?);
                wait_gone(&held)?;
            }
            // And the next one knows nothing of it.
            let record = Agent::daemon(&config).start()?.stop()?;
            assert_eq!(record.violations(), Vec::<String>::new());
            assert!(!check_new_lines(&file, &mut read)?, "half a line at the end of a file that was closed");
            Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(kills)
    });
    ended?;
    println!("lab: killed {rounds} times, {read} bytes of whole lines, {halves} half lines cut off by the next agent, no BPF object left");
    Ok(())
}

/// Kills an agent that has written so many resets. Says what it held of BPF.
fn kill_at_work(config: &Path, resets: u64) -> Result<BTreeSet<Object>> {
    let agent = Agent::daemon(config).start()?;
    let held = maps::held_by(agent.pid());
    assert!(held.len() > 10, "an agent that holds {held:?} of BPF is not at work");
    agent.wait_for_count("rst", resets.max(1))?;
    agent.signal(Signal::KILL)?;
    drop(agent);
    Ok(held)
}

/// Kills an agent so many milliseconds after it was started, armed or not.
fn kill_at_start(config: &Path, milliseconds: u64) -> Result<BTreeSet<Object>> {
    let mut command = Command::new(workspace::agent_binary());
    command.arg("daemon").arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command::spawn(&mut command)?;
    // The moment is what is tried here; nothing waits for anything.
    std::thread::sleep(Duration::from_millis(milliseconds));
    let held = maps::held_by(child.id());
    child.kill().map_err(LabError::during("kill the agent"))?;
    child.wait().map_err(LabError::during("wait for the agent"))?;
    Ok(held)
}

#[test]
fn two_agents_at_once_do_not_disturb_each_other() -> Result<()> {
    const EACH: u64 = 20;
    let host = lone_host()?;
    let resets = || (0..EACH).try_for_each(|_| resets_on(&host, AMQP, 1));
    let (first, second) = (Agent::on(&host).start()?, Agent::on(&host).start()?);
    resets()?;
    // Both ends are on the host: each reset is sent and received.
    for agent in [&first, &second] {
        agent.wait_for_count("rst", 2 * EACH)?;
    }
    let first = first.stop()?;
    resets()?;
    second.wait_for_count("rst", 4 * EACH)?;
    let second = second.stop()?;
    let totals = [&first, &second].map(|record| record.totals().map(|totals| (totals.seen, totals.emitted, totals.lost)));
    assert_eq!(totals, [Some((2 * EACH, 2 * EACH, 0)), Some((4 * EACH, 4 * EACH, 0))]);
    Ok(())
}

#[test]
fn an_agent_started_anew_names_the_owners_of_connections_that_stayed_open() -> Result<()> {
    const OPEN: usize = 20;
    let host = lone_host()?;
    let address = SocketAddr::new(host.v4(), AMQP);
    let listener = host.listen(address)?;
    let first = Agent::on(&host).start()?;
    let open = pairs(&host, address, &listener, OPEN)?;
    first.signal(Signal::KILL)?;
    drop(first);
    let second = Agent::on(&host).start()?;
    for (client, server) in open {
        peer::abort(client)?;
        drop(server);
    }
    second.wait_for_count("rst", 2 * OPEN as u64)?;
    let record = second.stop()?;
    for event in record.resets() {
        assert_eq!(event.pointer("/process/pid").and_then(Value::as_u64), Some(u64::from(std::process::id())), "{event:#}");
    }
    Ok(())
}

#[test]
fn namespaces_that_come_and_go_cost_neither_events_nor_descriptors() -> Result<()> {
    const NAMESPACES: usize = 200;
    /// Watched by no other test.
    const PORT: u16 = 5699;
    let agent = Agent::everywhere(PORT).start()?;
    let descriptors = || {
        fs::read_dir(PathBuf::from(format!("/proc/{}/fd", agent.pid()))).map(Iterator::count).map_err(LabError::during("count descriptors"))
    };
    let before = descriptors()?;
    for _ in 0..NAMESPACES {
        resets_on(&lone_host()?, PORT, 1)?;
    }
    agent.wait_for_count("rst", 2 * NAMESPACES as u64)?;
    // Namespaces that are gone are let go of at the next look around.
    poll::until("the agent to let go of namespaces", PATIENCE, || Ok((descriptors()? <= before + 20).then_some(())))?;
    let totals = agent.stop()?.totals().map(|totals| (totals.seen, totals.emitted, totals.lost));
    let all = 2 * NAMESPACES as u64;
    assert_eq!(totals, Some((all, all, 0)));
    Ok(())
}

/// The kernel programs also say so, at level debug.
#[test]
fn more_connections_than_are_remembered_are_reported_all_the_same() -> Result<()> {
    const OPEN: usize = 64;
    let host = lone_host()?;
    let address = SocketAddr::new(host.v4(), AMQP);
    let listener = host.listen(address)?;
    let agent = Agent::on(&host).args(&["--max-connections", "4", "--log-level", "debug"]).start()?;
    for (client, server) in pairs(&host, address, &listener, OPEN)? {
        peer::abort(client)?;
        drop(server);
    }
    agent.wait_for_count("rst", 2 * OPEN as u64)?;
    let said = agent.wait_for_log("a connection cannot be remembered")?;
    // -E2BIG: the map is full.
    assert!(said.contains("DEBUG") && said.contains("error -7") && said.contains("from=kernel"), "{said}");
    let record = agent.stop()?;
    assert!(record.log().contains("messages of the kernel programs"), "{}", record.log());
    let last = record.events().find(|event| is_kind(event, "agent_stopped")).unwrap_or_default();
    assert!(last.pointer("/fell_out/connections").and_then(Value::as_u64).is_some_and(|count| count >= OPEN as u64), "{last:#}");
    Ok(())
}
