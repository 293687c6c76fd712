//! Owners that end: which process it was, how it ended, and who ended it.

use rstblame_lab::{
    Result, Value,
    hosts::cgroup::Cgroup,
    json,
    peers::actor::{Actor, Part},
    truths::scene::{Link, Scene},
};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// Less than `eat` takes within a moment, more than an actor needs to start.
const MEMORY: u64 = 32 << 20;

/// A server, and a client with unread data in its socket: however the client ends, the kernel
/// resets.
struct Doomed {
    scene: Scene,
    server: Actor,
    client: Actor,
    link: Link,
}

impl Doomed {
    fn new(cgroup: Option<&Cgroup>) -> Result<Self> {
        let scene = Scene::new(ACTOR)?;
        let mut server = scene.server()?;
        let mut client = scene.stage.cast(&Part { host: Some(&scene.host), cgroup, name: Some("doomed"), ..Part::default() })?;
        let link = scene.link(&mut client, &mut server)?;
        server.ask("send 0 1 100")?;
        client.ask("unread 0 1 100")?;
        Ok(Self { scene, server, client, link })
    }

    /// Asserts how the client ended (`truth` of its event), and that the server, which lives, is
    /// named on its side.
    fn tells(self, cause: &str, severity: &str, exit: &Value) -> Result<()> {
        let truth = json!({
            "effect": "connection_reset", "severity": severity, "cause": {"id": cause},
            "origin": {"kind": "local_process"},
            "process": {"pid": self.client.pid, "executable": {"name": ["actor", "doomed"]}, "known_from": "close", "exit": exit},
        });
        let event = self.scene.tells(self.link.client, "sent", &truth)?;
        // The last breath of the process and its RST are the same moment.
        let before = event.pointer("/process/exit/before_rst_ms").and_then(Value::as_u64);
        assert!(before.is_some_and(|ms| ms < 1000), "{event:#}");
        self.scene.tells(self.link.server, "received", &json!({"process": {"pid": self.server.pid, "exit": null}}))?;
        self.scene.stop().map(drop)
    }
}

#[test]
fn killed_by_another_process() -> Result<()> {
    let mut doomed = Doomed::new(None)?;
    let mut killer = doomed.scene.stage.cast(&Part { name: Some("killer"), ..Part::default() })?;
    killer.ask(&format!("kill {} KILL", doomed.client.pid))?;
    doomed.client.wait()?;
    let sent_by = json!({"pid": killer.pid, "name": "killer"});
    doomed.tells(
        "process_killed",
        "error",
        &json!({"signal": "SIGKILL", "code": null, "oom": false, "core_dumped": false, "sent_by": sent_by}),
    )
}

#[test]
fn terminated_by_another_process() -> Result<()> {
    let mut doomed = Doomed::new(None)?;
    let mut killer = doomed.scene.actor()?;
    killer.ask(&format!("kill {} TERM", doomed.client.pid))?;
    doomed.client.wait()?;
    let sent_by = json!({"pid": killer.pid, "name": "actor"});
    doomed.tells(
        "process_killed",
        "error",
        &json!({"signal": "SIGTERM", "code": null, "oom": false, "core_dumped": false, "sent_by": sent_by}),
    )
}

/// An attempt that the process survived does not end it: the one that ends it is the one that is
/// told.
#[test]
fn killed_by_the_second_of_two() -> Result<()> {
    let mut doomed = Doomed::new(None)?;
    let mut first = doomed.scene.actor()?;
    let mut second = doomed.scene.actor()?;
    // Blocked, not ignored: it is pending when the second comes.
    doomed.client.ask("block TERM")?;
    first.ask(&format!("kill {} TERM", doomed.client.pid))?;
    second.ask(&format!("kill {} KILL", doomed.client.pid))?;
    doomed.client.wait()?;
    let sent_by = json!({"pid": second.pid});
    doomed.tells("process_killed", "error", &json!({"signal": "SIGKILL", "sent_by": sent_by}))
}

#[test]
fn killed_for_its_memory() -> Result<()> {
    let cgroup = Cgroup::with_memory(MEMORY)?;
    let mut doomed = Doomed::new(Some(&cgroup))?;
    doomed.client.tell("eat")?;
    doomed.client.wait()?;
    // Nobody else's doing: it was the one that asked for more.
    doomed.tells("process_killed", "error", &json!({"signal": "SIGKILL", "code": null, "oom": true, "sent_by": null}))
}

#[test]
fn crashed() -> Result<()> {
    let mut doomed = Doomed::new(None)?;
    doomed.client.tell("segv")?;
    doomed.client.wait()?;
    doomed.tells(
        "process_crashed",
        "error",
        &json!({"signal": "SIGSEGV", "code": null, "oom": false, "core_dumped": false, "sent_by": null}),
    )
}

#[test]
fn exited_with_unread_data() -> Result<()> {
    let mut doomed = Doomed::new(None)?;
    doomed.client.tell("exit 3")?;
    doomed.client.wait()?;
    doomed.tells("process_exited", "warning", &json!({"code": 3, "signal": null, "oom": null, "sent_by": null}))
}

/// Its FIN is still on its way when data comes in for it: the RST is sent by nobody who lives.
#[test]
fn gone_before_the_reset() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.actor()?, scene.actor()?);
    server.ask("small")?;
    client.ask("small")?;
    server.ask(&format!("listen {}", scene.address()))?;
    let link = scene.link(&mut client, &mut server)?;
    // More than the server's window holds: the rest has to wait in the client's kernel, and the FIN
    // behind it.
    client.ask("fill 0 1")?;
    let pid = client.pid;
    client.end("exit 0")?;
    server.ask("send 0 1 1")?;
    let truth =
        json!({"process": {"pid": pid, "known_from": "close", "exit": {"code": 0, "signal": null}}, "cause": {"id": "process_exited"}});
    scene.tells(link.client, "sent", &truth)?;
    scene.names(link.server, "received", &server)?;
    scene.stop().map(drop)
}

/// Sixteen connections of one killed client are sixteen resets of one story.
#[test]
fn every_connection_of_a_killed_process_tells_of_it() -> Result<()> {
    const CONNECTIONS: usize = 16;
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client, mut killer) = (scene.server()?, scene.actor()?, scene.actor()?);
    let mut links = Vec::new();
    for _ in 0..CONNECTIONS {
        links.push(scene.link(&mut client, &mut server)?);
    }
    server.ask(&format!("send 0 {CONNECTIONS} 1"))?;
    client.ask(&format!("unread 0 {CONNECTIONS} 1"))?;
    killer.ask(&format!("kill {} KILL", client.pid))?;
    client.wait()?;
    let truth = json!({
        "cause": {"id": "process_killed"},
        "process": {"pid": client.pid, "exit": {"signal": "SIGKILL", "sent_by": {"pid": killer.pid}}},
    });
    for link in links {
        scene.tells(link.client, "sent", &truth)?;
    }
    scene.stop().map(drop)
}
