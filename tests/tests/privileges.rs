//! What the agent may do: the smallest sets of capabilities by which it sees everything, what it
//! says where one of them is missing, and what is left of them, on every thread, once it is armed.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result,
    agents::{
        agent::{Agent, Options},
        kernel,
        privileges::{OpenPlace, Status},
        record::is_kind,
    },
    hosts::{
        flow::Flow,
        net::{Host, lone_host},
    },
    peers::peer::{self, AMQP},
    poll,
};
use rustix::process::Signal;
use serde_json::Value;

/// Who sees what happens in every network namespace. `CAP_SYS_ADMIN` contains `CAP_BPF` and
/// `CAP_PERFMON`.
const EVERYWHERE: [&str; 4] = ["dac_read_search", "net_raw", "sys_ptrace", "sys_admin"];

/// Who sees what happens in its own.
const AT_HOME: [&str; 5] = ["dac_read_search", "net_raw", "sys_ptrace", "perfmon", "bpf"];

/// What takes a capability and can be done without.
const SIGHT: [&str; 5] = ["owners", "network_namespaces", "packet_headers", "packet_headers_sent", "amqp"];

/// How long something may take that is under way.
const PATIENCE: Duration = Duration::from_secs(20);

/// The user that `nobody` is.
const NOBODY: u32 = 65534;

fn configuration(netns: &str, port: u16, more: &str) -> String {
    format!("settle = \"100ms\"\n[filter]\nports = [{port}]\nnetns = {netns:?}\n{more}\n[[sink]]\ntype = \"stdout\"\n")
}

/// A daemon that watches one host from outside.
fn watching(place: &OpenPlace, host: &Host) -> Result<Options> {
    let config = place.write("rstblame.toml", &configuration(&host.path().to_string_lossy(), AMQP, ""))?;
    Ok(Agent::daemon_of(&place.agent(), &config))
}

/// A daemon on a host that watches nothing else.
fn at_home(place: &OpenPlace, host: &Host, capabilities: &[&str]) -> Result<Options> {
    let config = place.write("rstblame.toml", &configuration("self", AMQP, ""))?;
    let netns = format!("--net={}", host.path().display());
    Ok(Agent::daemon_of(&place.agent(), &config).as_nobody(capabilities).through(&["nsenter", &netns]))
}

fn without<'a>(set: &[&'a str], missing: &str) -> Vec<&'a str> {
    set.iter().copied().filter(|name| *name != missing).collect()
}

/// A reset that comes in while this process, which is root's, has the connection open: who that is
/// only `/proc` can tell.
fn received(agent: &Agent, host: &Host, port: u16) -> Result<Value> {
    let (server, flow) = aborted(host, port)?;
    let event = agent.reset_of(flow, "received")?;
    drop(server);
    Ok(event)
}

/// The end of a connection that the other end has aborted, and how it is called there.
fn aborted(host: &Host, port: u16) -> Result<(TcpStream, Flow)> {
    let listener = host.listen(SocketAddr::new(host.v4(), port))?;
    let client = host.connect(SocketAddr::new(host.v4(), port))?;
    let (server, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
    peer::send(&mut &client, b"hello")?;
    peer::wait_unread(&server, 5)?;
    let flow = peer::flow(&server)?;
    peer::abort(client)?;
    Ok((server, flow))
}

fn owner(event: &Value) -> Option<u64> {
    event.pointer("/process/pid").and_then(Value::as_u64)
}

/// State and reason in `coverage`.
fn coverage<'a>(started: &'a Value, key: &str) -> (&'a str, &'a str) {
    let text = |what| started.pointer(&format!("/coverage/{key}/{what}")).and_then(Value::as_str).unwrap_or_default();
    (text("state"), text("reason"))
}

fn started(agent: &Agent) -> Result<Value> {
    agent.wait_for("agent_started", |event| is_kind(event, "agent_started"))
}

/// Asserts what every thread has left.
fn assert_left(agent: &Agent, capabilities: &[&str], bounding: Option<u64>) -> Result<()> {
    let threads = Status::of_threads(agent.pid())?;
    assert!(threads.len() > 1, "the sinks have threads of their own: {threads:?}");
    for (index, thread) in threads.into_iter().enumerate() {
        // The first is the one that works; others may have less.
        let all = index == 0;
        assert!(thread.permitted.iter().all(|name| capabilities.contains(name)), "{thread:?}");
        assert!(!all || thread.permitted.len() == capabilities.len(), "{thread:?}");
        assert_eq!(thread.effective, thread.permitted);
        assert!(thread.inheritable.is_empty() && thread.ambient.is_empty(), "{thread:?}");
        assert_eq!((thread.uid, thread.no_new_privs, thread.seccomp), (NOBODY, true, 2));
        assert_eq!(thread.bounding, bounding.unwrap_or(thread.bounding));
    }
    let told = started(agent)?;
    let told: Vec<&str> =
        told.pointer("/privileges/capabilities").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let told: Vec<String> = told.iter().map(|name| name.trim_start_matches("CAP_").to_lowercase()).collect();
    let mut expected: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(
        {
            let mut told = told;
            told.sort();
            told
        },
        expected
    );
    Ok(())
}

#[test]
fn the_smallest_set_sees_every_namespace_and_keeps_what_new_ones_take() -> Result<()> {
    /// No other test's.
    const PORT: u16 = 5690;
    const OTHER: u16 = 5691;
    let place = OpenPlace::new("everywhere")?;
    let config = place.write("rstblame.toml", &configuration("all", PORT, ""))?;
    let agent = Agent::daemon_of(&place.agent(), &config).as_nobody(&EVERYWHERE).start()?;
    let first = started(&agent)?;
    for key in SIGHT {
        assert_eq!(coverage(&first, key), ("active", ""), "{key}");
    }
    assert_left(&agent, &EVERYWHERE, None)?;

    // A host that was not there when the agent let go of the rest. When the tap has found it, a
    // reset has its packet.
    let host = lone_host()?;
    let event = poll::until("a reset of the new namespace with its packet", PATIENCE, || {
        let event = received(&agent, &host, PORT)?;
        Ok(event.get("packet").is_some().then_some(event))
    })?;
    assert_eq!(owner(&event), Some(u64::from(std::process::id())));

    // The configuration is read again with what is left.
    place.write("rstblame.toml", &configuration("all", OTHER, ""))?;
    agent.signal(Signal::HUP)?;
    agent.wait_for_count("agent_reloaded", 1)?;
    let event = received(&agent, &host, OTHER)?;
    assert_eq!(owner(&event), Some(u64::from(std::process::id())));
    assert_left(&agent, &EVERYWHERE, None)?;
    agent.stop().map(drop)
}

#[test]
fn in_its_own_namespace_only_the_search_for_owners_is_left() -> Result<()> {
    let (place, host) = (OpenPlace::new("at-home")?, lone_host()?);
    let agent = at_home(&place, &host, &AT_HOME)?.start()?;
    let first = started(&agent)?;
    for key in SIGHT {
        assert_eq!(coverage(&first, key), ("active", ""), "{key}");
    }
    let left: &[&str] =
        if kernel::open_maps_take_bpf()? { &["dac_read_search", "sys_ptrace", "bpf"] } else { &["dac_read_search", "sys_ptrace"] };
    assert_left(&agent, left, None)?;
    let event = received(&agent, &host, AMQP)?;
    assert_eq!(owner(&event), Some(u64::from(std::process::id())));
    assert!(event.get("packet").is_some(), "{event}");

    // Other namespaces are out of reach by now, and the agent says that instead of seeing less.
    place.write("rstblame.toml", &configuration("all", AMQP, ""))?;
    agent.signal(Signal::HUP)?;
    agent.wait_for_log("filter.netns cannot change while the agent runs")?;
    received(&agent, &host, AMQP)?;
    agent.stop().map(drop)
}

#[test]
fn started_as_root_it_becomes_the_user_it_is_given_and_empties_the_bounding_set() -> Result<()> {
    let (place, host) = (OpenPlace::new("root")?, lone_host()?);
    let text = configuration(
        &host.path().to_string_lossy(),
        AMQP,
        "[privileges]\nuser = \"nobody\"\nconfine = \"require\"\n[log]\nlevel = \"debug\"\n",
    );
    let agent = Agent::daemon_of(&place.agent(), &place.write("rstblame.toml", &text)?).start()?;
    assert_left(&agent, &EVERYWHERE, Some(0))?;
    assert_eq!(owner(&received(&agent, &host, AMQP)?), Some(u64::from(std::process::id())));
    agent.stop().map(drop)
}

/// A capture whose output is open already has no use for root; one that has to make files anew
/// where root alone may, has.
#[test]
fn a_capture_of_roots_is_nobodys_once_it_is_armed() -> Result<()> {
    let host = lone_host()?;
    let agent = Agent::on(&host).start()?;
    for thread in Status::of_threads(agent.pid())? {
        assert_ne!(thread.uid, 0, "{thread:?}");
        assert!(thread.permitted.iter().all(|name| EVERYWHERE.contains(name)) && thread.no_new_privs, "{thread:?}");
        assert_eq!((thread.bounding, thread.seccomp), (0, 2));
    }
    let first = started(&agent)?;
    for key in SIGHT {
        assert_eq!(coverage(&first, key), ("active", ""), "{key}");
    }
    let event = received(&agent, &host, AMQP)?;
    assert!(owner(&event) == Some(u64::from(std::process::id())) && event.get("packet").is_some(), "{event}");
    agent.stop()?;

    let place = OpenPlace::new("capture")?;
    for arguments in [["--state-dir", &place.path("state").to_string_lossy()], ["--cmd", "sleep 60"]] {
        let agent = Agent::on(&host).args(&arguments).start()?;
        assert!(Status::of_threads(agent.pid())?.iter().all(|thread| thread.uid == 0), "{arguments:?}");
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_daemon_that_stays_root_says_so() -> Result<()> {
    let (place, host) = (OpenPlace::new("stays-root")?, lone_host()?);
    let agent = watching(&place, &host)?.start()?;
    let line = agent.wait_for_log("the agent runs as root")?;
    assert!(line.contains("[privileges]"), "{line}");
    agent.stop().map(drop)
}

#[test]
fn a_missing_capability_costs_what_is_said_and_no_more() -> Result<()> {
    let (place, host) = (OpenPlace::new("missing")?, lone_host()?);
    for (missing, key, state) in [
        ("sys_ptrace", "owners", "degraded"),
        ("dac_read_search", "owners", "degraded"),
        ("net_raw", "packet_headers", "unavailable"),
        ("sys_admin", "packet_headers", "unavailable"),
    ] {
        // Without CAP_SYS_ADMIN what it contains has to be there.
        let mut held = without(&EVERYWHERE, missing);
        held.extend(["bpf", "perfmon"]);
        let agent = watching(&place, &host)?.as_nobody(&held).start()?;
        let first = started(&agent)?;
        let (found, reason) = coverage(&first, key);
        assert_eq!(found, state, "without {missing}");
        assert!(reason.contains(&format!("CAP_{}", missing.to_uppercase())), "without {missing}: {reason}");
        // The reset itself is seen without any of them.
        let event = received(&agent, &host, AMQP)?;
        let (owned, with_packet) = (owner(&event).is_some(), event.get("packet").is_some());
        assert_eq!((owned, with_packet), (key != "owners", key == "owners"), "without {missing}: {event}");
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn without_an_essential_one_nothing_starts_and_the_message_names_it() -> Result<()> {
    let (place, host) = (OpenPlace::new("essential")?, lone_host()?);
    for (missing, message) in [("bpf", "rstblame: missing CAP_BPF: "), ("perfmon", "rstblame: missing CAP_PERFMON: ")] {
        let ended = at_home(&place, &host, &without(&AT_HOME, missing))?.run()?;
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        assert!(ended.stderr.starts_with(message) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    let ended = at_home(&place, &host, &[])?.run()?;
    assert!(ended.stderr.starts_with("rstblame: missing CAP_BPF and CAP_PERFMON: "), "{}", ended.stderr);
    Ok(())
}
