//! Fifty thousand resets at once: every one of them written, folded or counted as lost.

use std::{fs, net::SocketAddr, ops::RangeInclusive, time::Duration};

use rstblame_lab::{
    LabError, Result,
    agents::{agent::Agent, record::Totals},
    hosts::net::{Host, lone_host},
    peers::peer::{self, AMQP},
    poll,
};
use rustix::process::Signal;

/// Connections to abort.
const MANY: u64 = 50_000;

/// As many as are enough where no speed is asked for: these tests are for emulated kernels, too.
const SOME: u64 = 2000;

/// Both ends are on one host, which therefore sends each reset and receives it.
const VIEWS: u64 = 2;

#[test]
fn a_ring_that_is_large_enough_loses_nothing() -> Result<()> {
    let host = lone_host()?;
    // Room for every record of the burst, so that nothing depends on how fast the agent reads.
    let agent = Agent::on(&host).args(&["--ring-size", "64MiB"]).whole().start()?;
    let resets = abort_connections(&host, MANY)?;
    let totals = totals(agent)?;
    assert!(resets.contains(&totals.seen) && totals.lost == 0, "{resets:?}: {totals:?}");
    Ok(())
}

#[test]
fn resets_that_are_alike_are_folded() -> Result<()> {
    let host = lone_host()?;
    let agent = Agent::on(&host).args(&["--ring-size", "64MiB"]).start()?;
    let resets = abort_connections(&host, SOME)?;
    let totals = totals(agent)?;
    assert!(resets.contains(&totals.seen) && totals.lost == 0, "{resets:?}: {totals:?}");
    // That the counts of the lines come to this is checked where the agent is stopped.
    assert!(totals.suppressed > 0 && totals.emitted >= 100, "{totals:?}");
    Ok(())
}

#[test]
fn a_ring_that_overflows_counts_what_it_lost() -> Result<()> {
    let host = lone_host()?;
    let agent = Agent::on(&host).args(&["--ring-size", "64KiB"]).whole().start()?;
    // A stopped reader is the only one that is certain to be too slow.
    agent.signal(Signal::STOP)?;
    wait_stopped(agent.pid())?;
    let resets = abort_connections(&host, SOME)?;
    agent.signal(Signal::CONT)?;
    let totals = totals(agent)?;
    assert!(resets.contains(&totals.seen), "{resets:?}: {totals:?}");
    // No event is smaller than its two addresses of 16 bytes and ports, so no more than these fit.
    let fit = 64 * 1024 / 36;
    assert!(totals.lost >= VIEWS * SOME - fit, "{totals:?}");
    assert_eq!(totals.ring_full, totals.lost, "{totals:?}");
    assert!(totals.emitted + totals.suppressed > 0, "{totals:?}");
    Ok(())
}

/// Stops the agent and shows its last line. That its totals agree with each other and with the
/// lines is checked there.
fn totals(agent: Agent) -> Result<Totals> {
    let record = agent.stop()?;
    println!("{}", record.lines().last().map_or("", String::as_str));
    record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))
}

/// Opens and aborts connections; how many resets that may be. By the kernel's own counter mostly
/// just one of each: an emulated processor may stand still for so long that a handshake is sent
/// again, which is answered by one more, and of such a one not every kernel tells.
fn abort_connections(host: &Host, count: u64) -> Result<RangeInclusive<u64>> {
    let address = SocketAddr::new(host.v4(), AMQP);
    let listener = host.listen(address)?;
    host.inside(|| {
        for _ in 0..count {
            let client = std::net::TcpStream::connect(address).map_err(|error| LabError::io(format!("connect to {address}"), error))?;
            // Accepted first: a connection still in the SYN queue takes a RST without a trace.
            let (accepted, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
            peer::abort(client)?;
            // One that is closed before its RST comes is not reset.
            peer::wait_failure(&accepted)?;
        }
        Ok(())
    })?;
    let sent = host.resets_sent()?;
    assert!((count..=count + count / 100).contains(&sent), "{sent} RSTs of {count} connections");
    Ok(VIEWS * count..=VIEWS * sent)
}

fn wait_stopped(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/stat");
    poll::until("the agent to stop", Duration::from_secs(10), || {
        let stat = fs::read_to_string(&path).map_err(|error| LabError::io(format!("read {path}"), error))?;
        // proc_pid_stat(5): the state follows the name, which is in parentheses.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        Ok(state.is_some_and(|rest| rest.starts_with('T')).then_some(()))
    })
}
