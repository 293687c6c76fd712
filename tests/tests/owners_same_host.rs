//! Both ends on one host, and what an owner's control group tells of it.

use std::net::SocketAddr;

use rstblame_lab::{
    Result,
    agents::agent::Agent,
    hosts::{
        cgroup::Cgroup,
        flow::Flow,
        net::{TwoHosts, two_hosts},
    },
    json,
    peers::actor::{Actor, Part, Stage},
    truths::{expect, scene::Scene},
};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

const CONTAINER: &str = "4f1d0a7be2c35b6907d1e8f3a2945c6bd01e7f8a93c2b4d5e6f708192a3b4c5d";

const POD: &str = "3f1c8a52-6b0e-4d47-9a65-0f2d7c9be111";

/// Two containers of one host that talk to each other, watched by one agent that sees all
/// namespaces.
struct Neighbours {
    agent: Agent,
    stage: Stage,
    net: TwoHosts,
    address: SocketAddr,
}

impl Neighbours {
    /// `port` is no other test's: an agent that watches all namespaces sees theirs too.
    fn new(port: u16, arguments: &[&str]) -> Result<Self> {
        let net = two_hosts()?;
        let stage = Stage::new(ACTOR)?;
        let agent = Agent::everywhere(port).args(arguments).start()?;
        Ok(Self { agent, stage, address: SocketAddr::new(net.server.v4(), port), net })
    }

    /// `count` connections between the two, as the client's namespace sees them.
    fn connect(&self, client: &mut Actor, server: &mut Actor, count: usize) -> Result<Vec<Flow>> {
        let locals = client.connect(self.address, count)?;
        server.accept(count)?;
        Ok(locals.into_iter().map(|local| Flow::new(local, self.address)).collect())
    }
}

#[test]
fn two_namespaces_of_one_host() -> Result<()> {
    let scene = Neighbours::new(20_001, &[])?;
    let mut server = scene.stage.cast(&Part { host: Some(&scene.net.server), name: Some("broker"), ..Part::default() })?;
    let mut client = scene.stage.cast(&Part { host: Some(&scene.net.client), own_pids: true, ..Part::default() })?;
    server.ask(&format!("listen {}", scene.address))?;
    let flows = scene.connect(&mut client, &mut server, 1)?;
    client.ask("linger 0 1")?;
    for flow in flows {
        let sent = scene.agent.reset_of(flow, "sent")?;
        let received = scene.agent.reset_of(flow.reversed(), "received")?;
        let executable = json!({"name": "actor"});
        expect::check(
            "client",
            &sent,
            &json!({
                "network": {"netns_name": scene.net.client.name()},
                "origin": {"kind": "local_process"},
                "process": {"pid": client.pid, "namespace_pid": 1, "executable": executable},
                "peer_process": {"pid": server.pid, "executable": executable},
                "related": {"pair": received.get("id")},
            }),
        );
        expect::check(
            "server",
            &received,
            &json!({
                "network": {"netns_name": scene.net.server.name()},
                "origin": {"kind": "remote_peer"},
                "process": {"pid": server.pid, "namespace_pid": null, "executable": executable},
                "peer_process": {"pid": client.pid, "executable": executable},
                "related": {"pair": sent.get("id")},
            }),
        );
        assert_ne!(sent.pointer("/network/netns"), received.pointer("/network/netns"));
    }
    scene.agent.stop().map(drop)
}

/// One client in a container, one that is not, and a server: whose resets are shown depends on the
/// filter, and the totals are those of what is shown.
fn shown(port: u16, filter: impl Fn(&Actor) -> Vec<String>) -> Result<()> {
    const CONNECTIONS: usize = 5;
    let net = two_hosts()?;
    let stage = Stage::new(ACTOR)?;
    let cgroup = Cgroup::named(&format!("docker/{CONTAINER}"))?;
    let mut wanted = stage.cast(&Part { host: Some(&net.client), cgroup: Some(&cgroup), name: Some("wanted"), own_pids: false })?;
    let mut other = stage.actor(&net.client)?;
    let mut server = stage.actor(&net.server)?;
    let filter = filter(&wanted);
    let arguments: Vec<&str> = filter.iter().map(String::as_str).collect();
    let agent = Agent::everywhere(port).args(&arguments).start()?;
    let scene = Neighbours { agent, stage, address: SocketAddr::new(net.server.v4(), port), net };

    server.ask(&format!("listen {}", scene.address))?;
    let flows = scene.connect(&mut wanted, &mut server, CONNECTIONS)?;
    scene.connect(&mut other, &mut server, CONNECTIONS)?;
    other.ask(&format!("linger 0 {CONNECTIONS}"))?;
    server.ask(&format!("linger 0 {CONNECTIONS}"))?;
    for flow in &flows {
        scene.agent.reset_of(*flow, "received")?;
    }
    // Its books have to balance with what is hidden left out, which `stop` checks.
    let record = scene.agent.stop()?;
    let resets: Vec<_> = record.resets().collect();
    assert_eq!(resets.len(), CONNECTIONS, "{resets:#?}");
    for event in &resets {
        let container = json!({"id": CONTAINER, "runtime": "docker"});
        expect::check(
            "shown",
            event,
            &json!({"process": {"pid": wanted.pid}, "container": container, "peer_process": {"pid": server.pid}}),
        );
    }
    let totals = record.totals();
    assert!(totals.as_ref().is_some_and(|totals| totals.seen == CONNECTIONS as u64 && totals.lost == 0), "{totals:?}");
    Ok(())
}

#[test]
fn only_the_process_that_was_asked_for() -> Result<()> {
    shown(20_002, |wanted| vec!["--pid".to_owned(), wanted.pid.to_string()])
}

#[test]
fn only_the_name_that_was_asked_for() -> Result<()> {
    shown(20_003, |_| vec!["--comm".to_owned(), "wanted".to_owned()])
}

#[test]
fn only_the_container_that_was_asked_for() -> Result<()> {
    shown(20_004, |_| vec!["--container".to_owned(), CONTAINER.chars().take(12).collect()])
}

/// Lets a process in a control group of this name lose a connection, and another one abort one.
fn grouped(path: &str, truth: &rstblame_lab::Value) -> Result<()> {
    let cgroup = Cgroup::named(path)?;
    let scene = Scene::new(ACTOR)?;
    let mut server = scene.server()?;
    let mut client = scene.stage.cast(&Part { host: Some(&scene.host), cgroup: Some(&cgroup), ..Part::default() })?;
    let lost = scene.link(&mut client, &mut server)?;
    let aborted = scene.link(&mut client, &mut server)?;
    server.ask("linger 0 1")?;
    scene.names(lost.client, "received", &client)?;
    scene.tells(lost.client, "received", truth)?;
    client.ask("linger 1 1")?;
    scene.tells(aborted.client, "sent", truth)?;
    let nothing = json!({"systemd": null, "container": null, "k8s": null, "process": {"pid": server.pid}});
    scene.tells(aborted.server, "received", &nothing)?;
    scene.stop().map(drop)
}

#[test]
fn in_a_systemd_unit() -> Result<()> {
    grouped("system.slice/orders-worker.service", &json!({"systemd": {"unit": "orders-worker.service"}, "container": null, "k8s": null}))
}

#[test]
fn in_a_docker_container() -> Result<()> {
    let container = json!({"id": CONTAINER, "runtime": "docker"});
    grouped(&format!("system.slice/docker-{CONTAINER}.scope"), &json!({"systemd": null, "container": container, "k8s": null}))
}

#[test]
fn in_a_podman_container() -> Result<()> {
    let container = json!({"id": CONTAINER, "runtime": "podman"});
    grouped(&format!("machine.slice/libpod-{CONTAINER}.scope/container"), &json!({"container": container, "k8s": null}))
}

#[test]
fn in_a_kubernetes_pod() -> Result<()> {
    let slice = format!("kubepods-burstable-pod{}.slice", POD.replace('-', "_"));
    let path = format!("kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-{CONTAINER}.scope");
    let container = json!({"id": CONTAINER, "runtime": "containerd"});
    grouped(&path, &json!({"systemd": null, "container": container, "k8s": {"pod": {"uid": POD}}}))
}
