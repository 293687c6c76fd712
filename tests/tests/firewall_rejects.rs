//! RSTs that leave a host and that its TCP did not make: a rule of its firewall, a program that
//! writes packets itself; and those that only pass it, or bear another port than the socket has.

use std::net::SocketAddr;

use rstblame_lab::{
    Result,
    agents::{agent::Agent, kernel},
    hosts::{
        flow::Flow,
        forge::{Forgery, Injector},
        net::{Host, Routed, routed, two_hosts},
        side::Ip,
    },
    json,
    peers::peer::{self, AMQP, Connection},
    truths::expect,
};
use serde_json::Value;

/// The port behind a redirect, which nobody watches.
const BEHIND: u16 = 15_672;

/// Has a host reject what comes for brokers, at this hook.
fn reject(host: &Host, hook: &str) -> Result<()> {
    host.nft(&format!("add table inet lab; add chain inet lab {hook} {{ type filter hook {hook} priority 0; }}"))?;
    host.nft(&format!("add rule inet lab {hook} tcp dport {AMQP} reject with tcp reset"))
}

fn accept(host: &Host) -> Result<()> {
    host.nft("delete table inet lab")
}

/// Whether this kernel announces each RST that its TCP makes, so that one that it does not is
/// another's.
fn announces_all() -> Result<bool> {
    let answer = kernel::traces_resets_without_socket()?;
    if !answer {
        println!("this kernel does not announce each RST of its own: nothing to tell");
    }
    Ok(answer)
}

/// What is said where a firewall rejects.
fn rejected(effect: &str) -> Value {
    json!({
        "direction": "sent",
        "effect": effect,
        "origin": {"kind": "local_host"},
        "cause": {"id": "firewall_reject"},
    })
}

/// The host's own firewall refuses a connection, and stops one that is open.
#[test]
fn the_brokers_own_firewall_rejects() -> Result<()> {
    if !announces_all()? {
        return Ok(());
    }
    let net = two_hosts()?;
    let agent = Agent::on(&net.server).start()?;
    for address in [net.server.v4(), net.server.v6()] {
        let open = Connection::open(&net.client, &net.server, address)?.speak()?;
        reject(&net.server, "input")?;
        let refused = peer::refused(&net.client, SocketAddr::new(address, AMQP))?;
        let event = agent.reset_of(refused.reversed(), "sent")?;
        expect::check("the broker's host", &event, &rejected("connection_refused"));
        expect::check("the broker's host", &event, &json!({"packet": {"seq": 0, "window": 0, "flags": "R."}}));

        let flow = open.flow()?;
        peer::send(&mut &open.client, b"more")?;
        peer::wait_failure(&open.client)?;
        let event = agent.reset_of(flow.reversed(), "sent")?;
        expect::check("the broker's host", &event, &rejected("connection_reset"));
        accept(&net.server)?;
    }
    agent.stop().map(drop)
}

/// A router's firewall rejects in the server's name, and its own agent says so.
#[test]
fn a_routers_firewall_rejects() -> Result<()> {
    if !announces_all()? {
        return Ok(());
    }
    let Routed { client, router, server } = routed()?;
    let agent = Agent::on(&router).start()?;
    for ip in [Ip::V4, Ip::V6] {
        let address = ip.of(&server);
        let open = Connection::open(&client, &server, address)?.speak()?;
        reject(&router, "forward")?;
        let refused = peer::refused(&client, SocketAddr::new(address, AMQP))?;
        expect::check("the router", &agent.reset_of(refused.reversed(), "sent")?, &rejected("connection_refused"));
        let flow = open.flow()?;
        peer::send(&mut &open.client, b"more")?;
        peer::wait_failure(&open.client)?;
        expect::check("the router", &agent.reset_of(flow.reversed(), "sent")?, &rejected("connection_reset"));
        accept(&router)?;
    }
    agent.stop().map(drop)
}

/// The program's own host refuses to let it out: the RST comes over `lo`, in the broker's name.
#[test]
fn the_clients_own_firewall_rejects() -> Result<()> {
    if !announces_all()? {
        return Ok(());
    }
    let net = two_hosts()?;
    let agent = Agent::on(&net.client).start()?;
    for address in [net.server.v4(), net.server.v6()] {
        let open = Connection::open(&net.client, &net.server, address)?.speak()?;
        reject(&net.client, "output")?;
        let truth = json!({"origin": {"kind": "local_host"}, "cause": {"id": "firewall_reject"}});
        let refused = peer::refused(&net.client, SocketAddr::new(address, AMQP))?;
        expect::check("the client's host", &agent.reset_of(refused, "received")?, &truth);
        let flow = open.flow()?;
        peer::send(&mut &open.client, b"more")?;
        peer::wait_failure(&open.client)?;
        expect::check("the client's host", &agent.reset_of(flow, "received")?, &truth);
        accept(&net.client)?;
    }
    agent.stop().map(drop)
}

/// RSTs of others pass the router, and its agent has nothing to say of them.
#[test]
fn what_only_passes_a_router_is_not_its_own() -> Result<()> {
    let Routed { client, router, server } = routed()?;
    let agent = Agent::on(&router).start()?;
    for ip in [Ip::V4, Ip::V6] {
        for _ in 0..20 {
            let connection = Connection::open(&client, &server, ip.of(&server))?.speak()?;
            let flow = connection.flow()?;
            let Connection { client: end, server: other, listener } = connection;
            peer::abort(other)?;
            peer::wait_failure(&end)?;
            peer::stop_listening(listener);
            // And the answer to what comes for a connection that is gone, or for no listener.
            let refused = peer::refused(&client, SocketAddr::new(ip.of(&server), AMQP))?;
            assert_ne!(refused, flow);
        }
    }
    let record = agent.stop()?;
    assert_eq!(record.resets().collect::<Vec<_>>(), Vec::<Value>::new());
    assert_eq!(record.violations(), Vec::<String>::new());
    Ok(())
}

/// What this host's TCP makes has its packet, and is nobody else's, whatever port it bears: also
/// behind a redirect.
#[test]
fn a_hosts_own_resets_have_their_packets() -> Result<()> {
    const ROUNDS: usize = 40;
    let net = two_hosts()?;
    net.server.nft("add table inet nat; add chain inet nat pre { type nat hook prerouting priority -100; }")?;
    net.server.nft(&format!("add rule inet nat pre tcp dport 5673 redirect to :{BEHIND}"))?;
    let agent = Agent::on(&net.server).args(&["--port", "5672,5673"]).start()?;
    let mut flows = Vec::new();
    for address in [net.server.v4(), net.server.v6()] {
        for _ in 0..ROUNDS {
            let connection = Connection::open(&net.client, &net.server, address)?.speak()?;
            flows.push(connection.flow()?.reversed());
            let Connection { client, server, listener } = connection;
            peer::abort(server)?;
            peer::wait_failure(&client)?;
            peer::stop_listening(listener);
            let refused = peer::refused(&net.client, SocketAddr::new(address, AMQP))?;
            if kernel::traces_resets_without_socket()? {
                flows.push(refused.reversed());
            }
            // Its socket is another port's: no tracepoint of a watched port tells of it.
            peer::refused(&net.client, SocketAddr::new(address, 5673))?;
            let behind = net.server.listen(SocketAddr::new(address, BEHIND))?;
            let redirected = net.client.connect(SocketAddr::new(address, 5673))?;
            let (accepted, _) = behind.accept().map_err(|error| rstblame_lab::LabError::io("accept", error))?;
            peer::abort(accepted)?;
            peer::wait_failure(&redirected)?;
        }
    }
    for flow in &flows {
        let event = agent.reset_of(*flow, "sent")?;
        assert!(event.pointer("/packet/seq").is_some(), "{event}");
        let ttl = event.pointer("/packet/ttl").and_then(Value::as_u64);
        assert_eq!(ttl, Some(64), "{event}");
    }
    let record = agent.stop()?;
    let causes: Vec<_> = record.resets().filter(|event| event.pointer("/cause/id") == Some(&json!("firewall_reject"))).collect();
    assert_eq!(causes, Vec::<Value>::new());
    assert_eq!(record.resets().count(), flows.len());
    assert_eq!(record.violations(), Vec::<String>::new());
    Ok(())
}

/// A program on the broker's host writes a RST in the broker's name.
#[test]
fn a_program_that_writes_packets_is_told_of() -> Result<()> {
    if !announces_all()? {
        return Ok(());
    }
    let net = two_hosts()?;
    let injector = Injector::on(&net.server, "eth0")?;
    let agent = Agent::on(&net.server).start()?;
    for address in [net.server.v4(), net.server.v6()] {
        let connection = Connection::open(&net.client, &net.server, address)?.speak()?;
        let flow = connection.flow()?;
        let model = injector.last(flow)?;
        injector.inject(&model, &Forgery { window: 512, ..Forgery::PASSIVE })?;
        peer::wait_failure(&connection.client)?;
        let event = agent.reset_of(Flow::reversed(flow), "sent")?;
        let truth = json!({"origin": {"kind": "local_process"}, "cause": {"id": "injected"}, "packet": {"window": 512}});
        expect::check("the broker's host", &event, &truth);
    }
    agent.stop().map(drop)
}

/// A bridge hands packets on without a look at their TTL, and what its own table rejects looks so
/// as well: of neither anything is said.
#[test]
fn what_passes_a_bridge_is_not_its_own() -> Result<()> {
    let Routed { client, router, server } = routed()?;
    router.run(&["ip", "link", "add", "br0", "type", "bridge"])?;
    for port in ["eth0", "eth1"] {
        router.run(&["ip", "link", "set", port, "master", "br0"])?;
    }
    router.run(&["ip", "link", "set", "br0", "up"])?;
    server.run(&["ip", "address", "add", "192.0.2.9/24", "dev", "eth0"])?;
    let broker = SocketAddr::new([192, 0, 2, 9].into(), AMQP);
    let agent = Agent::on(&router).start()?;
    for _ in 0..10 {
        let connection = Connection::open(&client, &server, broker.ip())?.speak()?;
        let Connection { client: end, server: other, listener } = connection;
        peer::abort(other)?;
        peer::wait_failure(&end)?;
        peer::stop_listening(listener);
        peer::refused(&client, broker)?;
    }
    let open = Connection::open(&client, &server, broker.ip())?.speak()?;
    router.nft("add table bridge lab; add chain bridge lab forward { type filter hook forward priority 0; }")?;
    if let Err(error) = router.nft(&format!("add rule bridge lab forward tcp dport {AMQP} reject with tcp reset")) {
        println!("no reject in bridges here, it was not tried: {error}");
        return agent.stop().map(drop);
    }
    peer::refused(&client, broker)?;
    peer::send(&mut &open.client, b"more")?;
    peer::wait_failure(&open.client)?;
    let record = agent.stop()?;
    assert_eq!(record.resets().collect::<Vec<_>>(), Vec::<Value>::new());
    Ok(())
}
