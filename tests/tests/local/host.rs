//! Resets that a kernel sent with no process behind the decision, seen from both hosts.

use std::{io::ErrorKind, net::SocketAddr};

use rstblame_lab::{
    Result, Value,
    agents::kernel,
    hosts::flow::Flow,
    json,
    peers::peer::{self, AMQP, Connection},
    truths::{round::Round, views::Truth},
};

pub fn refused_port(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let flow = peer::refused(&net.client, SocketAddr::new(net.server.v4(), AMQP))?;
    let mut truth = Truth {
        client: vec![json!({
            "direction": "received", "effect": "connection_refused",
            "origin": {"kind": ["remote_peer", "unknown"]},
            "cause": {"id": "refused"}, "tcp": {"state": "SYN_SENT"},
        })],
        server: vec![json!({
            "direction": "sent", "effect": "connection_refused",
            "origin": {"kind": "local_host", "possible": ["local_host"]},
            "cause": {"id": "no_listener"},
            "tcp": {"kernel_reason": kernel::reason("NO_SOCKET")?},
            "process": null,
        })],
    };
    if !kernel::traces_resets_without_socket()? {
        truth.server.clear();
    }
    round.tell(flow, truth)
}

pub fn refused_port_over_ipv6(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let flow = peer::refused(&net.client, SocketAddr::new(net.server.v6(), AMQP))?;
    let mut truth = Truth {
        client: vec![json!({
            "direction": "received", "effect": "connection_refused",
            "network": {"type": "ipv6"}, "cause": {"id": "refused"},
        })],
        server: vec![json!({
            "direction": "sent", "network": {"type": "ipv6"},
            "origin": {"kind": "local_host"}, "cause": {"id": "no_listener"}, "process": null,
        })],
    };
    if !kernel::traces_resets_without_socket()? {
        truth.server.clear();
    }
    round.tell(flow, truth)
}

/// `ss -K`: the reset leaves in the destroyer's context. It does not own the socket, and it is who
/// acted.
pub fn socket_destroyed_by_the_operator(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v4())?;
    let flow = connection.flow()?;
    net.server.destroy_sockets(&format!("sport = :{AMQP} and dport = :{}", flow.local.port()))?;
    assert_eq!(peer::wait_failure(&connection.client)?, ErrorKind::ConnectionReset);
    let truth = Truth {
        client: vec![json!({
            "direction": "received", "effect": "connection_reset",
            "origin": {"kind": ["remote_peer", "unknown"]},
            "tcp": {"state": "ESTABLISHED"},
        })],
        server: vec![destroyed()?],
    };
    round.tell(flow, truth)
}

/// A host that has lost a connection answers the next segment of it: after a reboot, or here after
/// a destroyed socket whose reset never left. The broker still listens, so the segment meets the
/// listener, which knows no peer.
pub fn data_to_a_connection_the_host_no_longer_has(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v4())?;
    let flow = forget(round, &connection)?;
    peer::send(&mut &connection.client, b"anybody there?")?;
    assert_eq!(peer::wait_failure(&connection.client)?, ErrorKind::ConnectionReset);
    let truth = Truth { client: vec![reset_while_open()], server: vec![destroyed()?, stale("TCP_FLAGS")?] };
    round.tell(flow, truth)
}

/// The same when nothing listens any more: there is no socket at all to read a tuple from.
pub fn data_to_a_connection_of_a_broker_that_is_gone(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v4())?;
    let flow = forget(round, &connection)?;
    peer::stop_listening(connection.listener);
    peer::send(&mut &connection.client, b"anybody there?")?;
    assert_eq!(peer::wait_failure(&connection.client)?, ErrorKind::ConnectionReset);
    let mut truth = Truth { client: vec![reset_while_open()], server: vec![destroyed()?, stale("NO_SOCKET")?] };
    if !kernel::traces_resets_without_socket()? {
        truth.server.truncate(1);
    }
    round.tell(flow, truth)
}

/// Makes the server's host lose a connection without the client noticing; returns the flow.
fn forget(round: &Round, connection: &Connection) -> Result<Flow> {
    let net = &round.hosts;
    let flow = connection.flow()?;
    net.server.nft(
        "add table inet lab; \
         add chain inet lab out { type filter hook output priority 0; }; \
         add rule inet lab out tcp flags & rst == rst drop",
    )?;
    net.server.destroy_sockets(&format!("sport = :{AMQP} and dport = :{}", flow.local.port()))?;
    // A command that is being started holds what its parent does, and then the socket has no one
    // owner.
    round.wait_for_server(flow, 1)?;
    net.server.nft("delete table inet lab")?;
    Ok(flow)
}

/// The reset of a socket that an operator destroyed: traced even if it is dropped on its way out.
fn destroyed() -> Result<Value> {
    // Without a reason a destroyed socket cannot be told from one whose owner aborted it.
    let (origin, cause, process) = if kernel::traces_resets_without_socket()? {
        let ss = json!({"executable": {"name": "ss"}, "known_from": "destroy"});
        (json!({"kind": "local_host", "possible": ["local_host"]}), "socket_destroyed", ss)
    } else {
        let owner = json!({"pid": std::process::id()});
        (json!({"kind": "unknown", "possible": ["local_process", "local_host"]}), "unknown", owner)
    };
    Ok(json!({
        "direction": "sent", "effect": "connection_reset", "severity": "warning",
        "origin": origin,
        "cause": {"id": cause},
        "tcp": {"kernel_reason": kernel::reason("TCP_STATE")?},
        // Who had it destroyed, where that is told from the owner's own abort; else the owner.
        "process": process,
    }))
}

/// The answer to a segment of a forgotten connection.
fn stale(reason: &str) -> Result<Value> {
    Ok(json!({
        "direction": "sent", "effect": "answered",
        "origin": {"kind": "local_host", "possible": ["local_host"]},
        "cause": {"id": "stale_connection"},
        "tcp": {"kernel_reason": kernel::reason(reason)?},
        "process": null,
    }))
}

/// A RST that ended an open connection, as the host that received it sees it.
fn reset_while_open() -> Value {
    json!({
        "direction": "received", "effect": "connection_reset", "severity": "warning",
        "origin": {"kind": ["remote_peer", "unknown"]},
        "tcp": {"state": "ESTABLISHED"},
    })
}

/// The peer falls silent; two unanswered probes later the kernel resets the connection from a
/// timer, while any process at all may be running on that processor.
pub fn keepalive_timeout(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v4())?;
    let flow = connection.flow()?;
    net.client.nft(
        "add table inet lab; \
         add chain inet lab in { type filter hook input priority 0; }; \
         add rule inet lab in meta l4proto tcp drop",
    )?;
    peer::keepalive(&connection.server)?;
    assert_eq!(peer::wait_failure(&connection.server)?, ErrorKind::TimedOut);
    let truth = Truth {
        // Its firewall drops the reset like the probes before.
        client: vec![],
        server: vec![json!({
            "direction": "sent", "effect": "connection_reset", "severity": "warning",
            "origin": {"kind": "local_host", "possible": ["local_host"]},
            "cause": {"id": "keepalive_timeout"},
            "tcp": {"kernel_reason": kernel::reason("TCP_KEEPALIVE_TIMEOUT")?},
            // The owner, and not whatever the timer interrupted.
            "process": {"pid": std::process::id()},
        })],
    };
    round.tell(flow, truth)?;
    round.keep(connection.client);
    net.client.nft("delete table inet lab")
}

/// Data for a socket whose receive side is shut down. The kernel runs `tcp_reset()` on its own
/// socket, which fires `tcp_receive_reset`, and then sends a RST: one reset, and it was sent.
pub fn data_after_the_receive_side_was_shut_down(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v4())?;
    let flow = connection.flow()?;
    peer::shut_down(&connection.server)?;
    peer::wait_end(&connection.client)?;
    peer::send(&mut &connection.client, b"too late")?;
    assert_eq!(peer::wait_failure(&connection.client)?, ErrorKind::BrokenPipe);
    let truth = Truth {
        client: vec![json!({
            "direction": "received", "effect": "connection_reset",
            "origin": {"kind": ["remote_peer", "unknown"]},
            "cause": {"id": "peer_gone"},
            "tcp": {"state": "CLOSE_WAIT", "fin_received": true},
        })],
        server: vec![json!({
            "direction": "sent", "effect": "connection_reset",
            "origin": {"kind": "local_process", "possible": ["local_process"]},
            "cause": {"id": "data_after_close"},
            "tcp": {"kernel_reason": kernel::reason("TCP_ABORT_ON_DATA")?},
        })],
    };
    round.tell(flow, truth)
}
