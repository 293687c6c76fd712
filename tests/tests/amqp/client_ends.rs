//! Clients that leave without a word of AMQP.

use rstblame_lab::{
    Result, Value,
    agents::kernel,
    hosts::cgroup::Cgroup,
    json,
    peers::pika::{Login, Pika, Unread},
    truths::stand::{Said, Scene},
};
use rustix::process::Signal;

use crate::truths::{closed, open, received, sent, with};

/// More than Python and pika need, less than `eat` takes within a moment.
const MEMORY: u64 = 64 << 20;

/// A client with a delivery in its socket that it has not read: however it ends, its kernel resets.
struct Doomed {
    pika: Pika,
    unread: Unread,
}

impl Doomed {
    fn new(scene: &Scene<'_>, login: &Login<'_>) -> Result<Self> {
        let mut pika = Pika::start(scene.stand.client())?;
        let unread = pika.leave_unread(login)?;
        scene.told(unread.publisher, Said::Any(closed("client", 60)), Said::Any(closed("broker", 60)));
        Ok(Self { pika, unread })
    }

    fn told(&self, scene: &Scene<'_>, cause: &str, severity: &str, more: Value) {
        let client = with(with(sent(cause, severity), open("client")), more);
        let client = with(client, json!({"process": {"pid": self.pika.pid}}));
        let broker = with(received("peer_aborted", "warning"), open("broker"));
        scene.told(self.unread.flow, Said::These(vec![client]), Said::These(vec![broker]));
    }
}

pub fn killed(scene: &Scene<'_>) -> Result<()> {
    let mut doomed = Doomed::new(scene, &Login::at(scene.v6()))?;
    doomed.pika.signal(Signal::KILL)?;
    doomed.pika.wait()?;
    let exit = json!({"signal": "SIGKILL", "oom": false, "sent_by": {"pid": std::process::id()}});
    doomed.told(scene, "process_killed", "error", json!({"process": {"exit": exit}}));
    Ok(())
}

/// A killed client that had read everything: its kernel sends a FIN, and the broker's answer is a
/// RST.
pub fn killed_with_nothing_unread(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login::at(scene.v4()))?;
    pika.signal(Signal::KILL)?;
    pika.wait()?;
    let broker = json!({"direction": "sent", "severity": "warning", "cause": {"id": "peer_gone"}, "tcp": {"fin_received": true}});
    let exit = json!({"signal": "SIGKILL", "sent_by": {"pid": std::process::id()}});
    let client = json!({"direction": "received", "severity": "error", "cause": {"id": "process_killed"}, "process": {"pid": pika.pid, "exit": exit}});
    scene.told(flow, Said::Any(with(client, open("client"))), Said::These(vec![with(broker, open("broker"))]));
    Ok(())
}

pub fn starved(scene: &Scene<'_>) -> Result<()> {
    let cgroup = Cgroup::with_memory(MEMORY)?;
    let mut doomed = Doomed::new(scene, &Login::at(scene.v4()))?;
    cgroup.take(doomed.pika.pid)?;
    doomed.pika.end("eat")?;
    let exit = json!({"signal": "SIGKILL", "oom": true, "sent_by": null});
    doomed.told(scene, "process_killed", "error", json!({"process": {"exit": exit}}));
    Ok(())
}

pub fn crashed(scene: &Scene<'_>) -> Result<()> {
    let mut doomed = Doomed::new(scene, &Login::at(scene.v4()))?;
    doomed.pika.end("segv")?;
    doomed.told(scene, "process_crashed", "error", json!({"process": {"exit": {"signal": "SIGSEGV", "oom": false}}}));
    Ok(())
}

pub fn exited(scene: &Scene<'_>) -> Result<()> {
    let mut doomed = Doomed::new(scene, &Login::at(scene.v4()))?;
    doomed.pika.end("exit")?;
    doomed.told(scene, "process_exited", "warning", json!({"process": {"exit": {"code": 0, "signal": null}}}));
    Ok(())
}

pub fn closes_with_unread_data(scene: &Scene<'_>) -> Result<()> {
    let mut doomed = Doomed::new(scene, &Login::at(scene.v4()))?;
    doomed.pika.act("drop")?;
    let tcp = json!({"kernel_reason": kernel::reason("TCP_ABORT_ON_CLOSE")?, "unread_bytes": doomed.unread.bytes});
    doomed.told(scene, "close_with_unread_data", "warning", json!({"tcp": tcp}));
    Ok(())
}

pub fn lingers(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login::at(scene.v6()))?;
    pika.act("linger")?;
    let client = with(with(sent("linger_abort", "warning"), open("client")), json!({"process": {"pid": pika.pid}}));
    let broker = with(received("peer_aborted", "warning"), open("broker"));
    scene.told(flow, Said::These(vec![client]), Said::These(vec![broker]));
    Ok(())
}
