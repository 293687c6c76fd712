//! Processes that leave an AMQP connection without a word: who it was and how, on their own host;
//! and on the other host, that the peer is gone.
//!
//! Each way to leave is one function. It is played by a client and by a broker, over IPv4 and IPv6,
//! with and without unread data, and with another end that is silent or speaks: at once, later, or
//! when the kernel has forgotten the connection.

use rstblame_lab::{
    Result, command,
    hosts::{
        cgroup::Cgroup,
        side::{Ip, Side},
    },
    json,
    truths::{
        endings::{After, Case, Pair, Pairs, Truth, Wire, by_process},
        expect,
    },
};
use rustix::process::Signal;

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// Less than `eat` takes within a moment, more than an actor needs.
const MEMORY: u64 = 32 << 20;

/// Leaves the connection, and tells who that was and how.
type Leave = fn(&Pairs, &mut Pair) -> Result<Truth>;

/// By their names.
const ALL: [(&str, Leave); 8] = [
    ("killed", killed),
    ("starved", starved),
    ("crashed", crashed),
    ("exited", exited),
    ("closed", closed),
    ("closed by the child", closed_by_the_child),
    ("closed by the parent", closed_by_the_parent),
    ("child killed after its parent", child_killed_after_its_parent),
];

fn killed(_: &Pairs, pair: &mut Pair) -> Result<Truth> {
    command::signal(pair.dying.pid, Signal::KILL)?;
    pair.dying.wait()?;
    let exit = json!({"signal": "SIGKILL", "oom": false, "sent_by": {"pid": std::process::id()}});
    Ok(by_process("process_killed", pair.dying.pid).and(json!({"severity": "error", "process": {"exit": exit}})))
}

/// By the kernel, because its control group has no more memory.
fn starved(_: &Pairs, pair: &mut Pair) -> Result<Truth> {
    let cgroup = Cgroup::with_memory(MEMORY)?;
    cgroup.take(pair.dying.pid)?;
    pair.dying.tell("eat")?;
    pair.dying.wait()?;
    let exit = json!({"signal": "SIGKILL", "oom": true, "sent_by": null});
    Ok(by_process("process_killed", pair.dying.pid).and(json!({"severity": "error", "process": {"exit": exit}})))
}

fn crashed(_: &Pairs, pair: &mut Pair) -> Result<Truth> {
    pair.dying.tell("segv")?;
    pair.dying.wait()?;
    let exit = json!({"signal": "SIGSEGV", "oom": false, "sent_by": null});
    Ok(by_process("process_crashed", pair.dying.pid).and(json!({"severity": "error", "process": {"exit": exit}})))
}

fn exited(_: &Pairs, pair: &mut Pair) -> Result<Truth> {
    pair.dying.tell("exit 3")?;
    pair.dying.wait()?;
    Ok(by_process("process_exited", pair.dying.pid).and(json!({"process": {"exit": {"code": 3, "signal": null}}})))
}

/// The process lives on.
fn closed(_: &Pairs, pair: &mut Pair) -> Result<Truth> {
    pair.dying.ask("close 0 1")?;
    Ok(without_amqp_close(pair, pair.dying.pid))
}

/// Both have the socket. The parent closes its descriptor first, which ends nothing.
fn closed_by_the_child(pairs: &Pairs, pair: &mut Pair) -> Result<Truth> {
    let mut child = pairs.stage.fork(&mut pair.dying)?;
    pair.dying.ask("close 0 1")?;
    child.ask("close 0 1")?;
    let truth = without_amqp_close(pair, child.pid);
    pair.keep(child);
    Ok(truth)
}

/// The other way round.
fn closed_by_the_parent(pairs: &Pairs, pair: &mut Pair) -> Result<Truth> {
    let mut child = pairs.stage.fork(&mut pair.dying)?;
    child.ask("close 0 1")?;
    pair.dying.ask("close 0 1")?;
    pair.keep(child);
    Ok(without_amqp_close(pair, pair.dying.pid))
}

/// The parent exits, which ends nothing: the child has the socket still.
fn child_killed_after_its_parent(pairs: &Pairs, pair: &mut Pair) -> Result<Truth> {
    let mut child = pairs.stage.fork(&mut pair.dying)?;
    pair.dying.tell("exit 0")?;
    pair.dying.wait()?;
    command::signal(child.pid, Signal::KILL)?;
    child.wait()?;
    let exit = json!({"signal": "SIGKILL", "oom": false, "sent_by": {"pid": std::process::id()}});
    Ok(by_process("process_killed", child.pid).and(json!({"severity": "error", "process": {"exit": exit}})))
}

/// A socket that its process closed while AMQP was open.
fn without_amqp_close(pair: &Pair, pid: u32) -> Truth {
    let causes = if pair.case.unread { json!("close_with_unread_data") } else { json!(["data_after_close", "closed_without_amqp_close"]) };
    by_process(causes, pid).and(json!({"process": {"exit": null}}))
}

fn play(name: &'static str, dies: Side, ip: Ip) -> Result<()> {
    let mut pairs = Pairs::new(name, ACTOR, dies)?;
    for (scenario, leave) in ALL {
        for case in Case::all(dies, ip) {
            let mut pair = pairs.open(case)?;
            let truth = leave(&pairs, &mut pair)?;
            pairs.ended(scenario, pair, truth.and(json!({"amqp": {"version": "0-9-1", "phase": expect::open(), "close": null}})))?;
        }
    }
    pairs.finish()
}

#[test]
fn clients_leave_over_ipv4() -> Result<()> {
    play("clients leave, IPv4", Side::Client, Ip::V4)
}

#[test]
fn clients_leave_over_ipv6() -> Result<()> {
    play("clients leave, IPv6", Side::Client, Ip::V6)
}

#[test]
fn brokers_leave_over_ipv4() -> Result<()> {
    play("brokers leave, IPv4", Side::Server, Ip::V4)
}

#[test]
fn brokers_leave_over_ipv6() -> Result<()> {
    play("brokers leave, IPv6", Side::Server, Ip::V6)
}

/// `shutdown`, which ends the connection for everybody who has the socket: who called it is named,
/// and the other who has it is in the evidence. What the peer says after it is taken, and never
/// answered.
fn child_shuts_down(name: &'static str, dies: Side) -> Result<()> {
    let mut pairs = Pairs::new(name, ACTOR, dies)?;
    for ip in [Ip::V4, Ip::V6] {
        for (unread, after) in [(false, After::Silence), (false, After::AtOnce), (true, After::Silence)] {
            let mut pair = pairs.open(Case { dies, ip, unread, after })?;
            let mut child = pairs.stage.fork(&mut pair.dying)?;
            child.ask("shutdown 0 1")?;
            let parent = pair.dying.pid.to_string();
            let truth = by_process("closed_without_amqp_close", child.pid).mentions("/evidence", &[&parent]);
            pair.keep(child);
            pairs.ended_by("shut down by the child", pair, Wire::Fin, truth)?;
        }
    }
    pairs.finish()
}

#[test]
fn child_of_a_client_shuts_down() -> Result<()> {
    child_shuts_down("child of a client shuts down", Side::Client)
}

#[test]
fn child_of_a_broker_shuts_down() -> Result<()> {
    child_shuts_down("child of a broker shuts down", Side::Server)
}

/// A kernel worker closes its sockets, which is not who ended the connection. The other end speaks
/// MPTCP (RFC 8684) or does not.
fn mptcp_client_is_killed(name: &'static str, both: bool, endings: &[(bool, After, Wire)]) -> Result<()> {
    let mut pairs = Pairs::new(name, ACTOR, Side::Client)?;
    for ip in [Ip::V4, Ip::V6] {
        for (unread, after, wire) in endings.iter().copied() {
            let mut pair = pairs.open_mptcp(Case { dies: Side::Client, ip, unread, after }, both)?;
            let truth = killed(&pairs, &mut pair)?;
            pairs.ended_by("killed, MPTCP", pair, wire, truth)?;
        }
    }
    pairs.finish()
}

/// What it has not read is in the MPTCP socket and not in the TCP one below, so that a FIN ends
/// that. An orphaned MPTCP socket still takes what it is sent, unless there was something unread.
#[test]
fn mptcp_client_of_a_plain_broker_is_killed() -> Result<()> {
    let endings = [
        (true, After::Silence, Wire::Fin),
        (true, After::AtOnce, Wire::RstAfterFin),
        (false, After::Silence, Wire::Fin),
        (false, After::AtOnce, Wire::Fin),
    ];
    mptcp_client_is_killed("MPTCP client, plain broker", false, &endings)
}

/// Between two ends that speak it, something unread makes a RST (MP_FASTCLOSE), and otherwise the
/// connection ends above TCP (DATA_FIN), where no TCP segment tells of it.
#[test]
fn mptcp_client_of_an_mptcp_broker_is_killed() -> Result<()> {
    let endings = [(true, After::Silence, Wire::Rst), (false, After::Silence, Wire::Nothing)];
    mptcp_client_is_killed("MPTCP on both ends", true, &endings)
}
