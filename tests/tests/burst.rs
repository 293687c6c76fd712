//! Fifty thousand resets at once: every one of them written, folded or counted as lost.

use std::{fs, net::SocketAddr, time::Duration};

use rstblame_lab::{
    LabError, Result,
    agent::Agent,
    net::{Host, lone_host},
    peer::{self, AMQP},
    poll,
    record::Totals,
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
    abort_connections(&host, MANY)?;
    let totals = totals(agent)?;
    assert_eq!((totals.seen, totals.lost), (VIEWS * MANY, 0), "{totals:?}");
    Ok(())
}

#[test]
fn resets_that_are_alike_are_folded() -> Result<()> {
    let host = lone_host()?;
    let agent = Agent::on(&host).args(&["--ring-size", "64MiB"]).start()?;
    abort_connections(&host, SOME)?;
    let totals = totals(agent)?;
    assert_eq!((totals.seen, totals.lost), (VIEWS * SOME, 0), "{totals:?}");
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
    abort_connections(&host, SOME)?;
    agent.signal(Signal::CONT)?;
    let totals = totals(agent)?;
    assert_eq!(totals.seen, VIEWS * SOME, "{totals:?}");
    // No event is smaller than its two addresses of 16 bytes and ports, so no more than these fit.
    let fit = 64 * 1024 / 36;
    assert!(totals.lost >= VIEWS * SOME - fit, "{totals:?}");
    assert_eq!(totals.ring_full, totals.lost, "{totals:?}");
    assert!(totals.emitted + totals.suppressed > 0, "{totals:?}");
    Ok(())
}

/// Stops the agent and shows its last line. That its totals agree with each other and with the lines is checked there.
fn totals(agent: Agent) -> Result<Totals> {
    let record = agent.stop()?;
    println!("{}", record.lines().last().map_or("", String::as_str));
    record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))
}

/// Opens and aborts connections, and checks against the kernel's own counter that each was one RST.
fn abort_connections(host: &Host, count: u64) -> Result<()> {
    let address = SocketAddr::new(host.v4(), AMQP);
    let listener = host.listen(address)?;
    host.inside(|| {
        for _ in 0..count {
            let client = std::net::TcpStream::connect(address).map_err(|error| LabError::io(format!("connect to {address}"), error))?;
            // Accepted first: a connection still in the SYN queue takes a RST without a trace.
            let accepted = listener.accept().map_err(|error| LabError::io("accept", error))?;
            peer::abort(client)?;
            drop(accepted);
        }
        Ok(())
    })?;
    assert_eq!(host.resets_sent()?, count);
    Ok(())
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
