//! Sockets that change hands: the owner is the process that held the socket when it was reset, or
//! nobody.

use std::time::Duration;

use rstblame_lab::{
    Result,
    hosts::flow::Flow,
    json,
    peers::actor::{Actor, addresses},
    poll,
    truths::scene::Scene,
};

const ACTOR: &str = env!("CARGO_BIN_EXE_actor");

/// A master that listens and never accepts, and workers that do.
#[test]
fn prefork_workers_with_a_shared_listener() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let mut master = scene.server()?;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(scene.stage.fork(&mut master)?);
    }
    let mut client = scene.actor()?;
    let mut links = Vec::new();
    for worker in &mut workers {
        links.push(scene.link(&mut client, worker)?);
    }
    client.ask("linger 0 3")?;
    for (worker, link) in workers.iter().zip(&links) {
        scene.tells(link.server, "received", &json!({"process": {"pid": worker.pid, "known_from": "inode"}}))?;
        scene.tells(link.client, "sent", &json!({"process": {"pid": client.pid, "known_from": "close"}}))?;
    }

    // And the other way round: the worker ends the connection.
    for worker in &mut workers {
        let link = scene.link(&mut client, worker)?;
        worker.ask("linger 1 1")?;
        scene.names(link.server, "sent", worker)?;
        scene.names(link.client, "received", &client)?;
    }

    // Nobody has accepted it, and four processes could have.
    let link = scene.knock(&mut client)?;
    client.ask("linger 6 1")?;
    scene.tells(link.server, "received", &json!({"process": null}))?;
    scene.stop().map(drop)
}

#[test]
fn two_listeners_on_one_port() -> Result<()> {
    const CONNECTIONS: usize = 16;
    let scene = Scene::new(ACTOR)?;
    let mut pair = [scene.actor()?, scene.actor()?];
    for server in &mut pair {
        server.ask(&format!("listen_shared {}", scene.address()))?;
    }
    let mut client = scene.actor()?;
    client.connect(scene.address(), CONNECTIONS)?;
    let mut accepted = Vec::new();
    poll::until("all connections to be accepted", Duration::from_secs(10), || {
        for server in &mut pair {
            let pid = server.pid;
            accepted.extend(addresses(&server.ask("accept_waiting")?)?.into_iter().map(|peer| (peer, pid)));
        }
        Ok((accepted.len() == CONNECTIONS).then_some(()))
    })?;
    client.ask(&format!("linger 0 {CONNECTIONS}"))?;
    for (peer, pid) in accepted {
        scene.tells(Flow::new(scene.address(), peer), "received", &json!({"process": {"pid": pid}}))?;
    }

    // Either could have accepted this one.
    let link = scene.knock(&mut client)?;
    client.ask(&format!("linger {CONNECTIONS} 1"))?;
    scene.tells(link.server, "received", &json!({"process": null}))?;
    scene.stop().map(drop)
}

#[test]
fn accepted_and_never_read() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    client.ask("send 0 1 100")?;
    server.ask("unread 0 1 100")?;
    client.ask("linger 0 1")?;
    scene.names(link.server, "received", &server)?;
    scene.stop().map(drop)
}

#[test]
fn not_accepted_yet() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.knock(&mut client)?;
    client.ask("linger 0 1")?;
    scene.tells(link.server, "received", &json!({"process": {"pid": server.pid, "known_from": "listener"}}))?;
    scene.stop().map(drop)
}

/// The kernel resets what waits in the queue of a listener that closes.
#[test]
fn never_accepted() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.knock(&mut client)?;
    server.ask("stop_listening")?;
    scene.names(link.server, "sent", &server)?;
    scene.names(link.client, "received", &client)?;
    scene.stop().map(drop)
}

/// Two actors, the first of which hands its only socket to the second.
fn passed(scene: &Scene, giver: &mut Actor, keep: bool, take: bool) -> Result<Actor> {
    let mut receiver = scene.actor()?;
    let inbox = scene.stage.path("inbox");
    receiver.ask(&format!("inbox {}", inbox.display()))?;
    giver.give(0, &inbox, keep)?;
    if take {
        receiver.ask("take")?;
    }
    Ok(receiver)
}

#[test]
fn passed_on_after_accept() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    let receiver = passed(&scene, &mut server, false, true)?;
    client.ask("linger 0 1")?;
    scene.names(link.server, "received", &receiver)?;
    scene.stop().map(drop)
}

#[test]
fn passed_on_and_read() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    let mut receiver = passed(&scene, &mut server, false, true)?;
    receiver.tell("read 0")?;
    client.ask("linger 0 1")?;
    assert_eq!(receiver.answer()?, "connection reset");
    scene.names(link.server, "received", &receiver)?;
    receiver.ask("close 0 1")?;
    scene.stop().map(drop)
}

/// The one that connected has it no more, so that it must not be named for it.
#[test]
fn passed_on_after_connect() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    let receiver = passed(&scene, &mut client, false, true)?;
    server.ask("linger 0 1")?;
    scene.names(link.client, "received", &receiver)?;
    scene.names(link.server, "sent", &server)?;
    scene.stop().map(drop)
}

#[test]
fn passed_on_and_aborted() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    let mut receiver = passed(&scene, &mut client, false, true)?;
    receiver.ask("linger 0 1")?;
    scene.names(link.client, "sent", &receiver)?;
    scene.names(link.server, "received", &server)?;
    scene.stop().map(drop)
}

/// Between two processes: neither has a descriptor.
#[test]
fn on_its_way_from_one_process_to_another() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    let _receiver = passed(&scene, &mut client, false, false)?;
    server.ask("linger 0 1")?;
    scene.tells(link.client, "received", &json!({"process": null}))?;
    scene.stop().map(drop)
}

#[test]
fn held_by_two_processes() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    let _receiver = passed(&scene, &mut server, true, true)?;
    client.ask("linger 0 1")?;
    scene.tells(link.server, "received", &json!({"process": null}))?;
    scene.stop().map(drop)
}

#[test]
fn forked_and_closed_in_the_parent() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let received = scene.link(&mut client, &mut server)?;
    let sent = scene.link(&mut client, &mut server)?;
    let mut child = scene.stage.fork(&mut client)?;
    client.ask("close 0 2")?;
    server.ask("linger 0 1")?;
    scene.names(received.client, "received", &child)?;
    child.ask("linger 1 1")?;
    scene.names(sent.client, "sent", &child)?;
    scene.stop().map(drop)
}

#[test]
fn forked_and_the_parent_ended() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    let child = scene.stage.fork(&mut server)?;
    server.end("exit 0")?;
    client.ask("linger 0 1")?;
    scene.names(link.server, "received", &child)?;
    scene.stop().map(drop)
}

/// The parent sends the FIN, and so ended the connection, though the socket stays in the hands of
/// its child.
#[test]
fn forked_and_shut_down_by_the_parent() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    let _child = scene.stage.fork(&mut client)?;
    client.ask("shutdown 0 1")?;
    client.ask("close 0 1")?;
    server.ask("linger 0 1")?;
    scene.names(link.client, "received", &client)?;
    scene.stop().map(drop)
}

/// A child that is forked after the reset holds the socket too, but it is not the one that lost the
/// connection.
#[test]
fn forked_after_the_reset() -> Result<()> {
    let scene = Scene::new(ACTOR)?;
    let (mut server, mut client) = (scene.server()?, scene.actor()?);
    let link = scene.link(&mut client, &mut server)?;
    client.ask("linger 0 1")?;
    server.ask("failed 0 1")?;
    let mut child = scene.stage.fork(&mut server)?;
    server.ask("close 0 1")?;
    child.ask("close 0 1")?;
    let event = scene.agent.reset_of(link.server, "received")?;
    let pid = event.pointer("/process/pid").and_then(rstblame_lab::Value::as_u64);
    assert!(pid.is_none() || pid == Some(server.pid.into()), "{event:#}");
    scene.stop().map(drop)
}
