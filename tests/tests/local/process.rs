//! Resets that a process caused on purpose or by carelessness, seen from both hosts.

use std::io::ErrorKind;

use rstblame_lab::{
    Result, Value,
    agents::kernel,
    json,
    peers::peer::{self, Connection},
    truths::{round::Round, views::Truth},
};

/// The received side: the two tracepoints alone cannot tell the peer from a box in between.
fn received(family: &str) -> Value {
    json!({
        "direction": "received", "effect": "connection_reset", "severity": "warning",
        "network": {"type": family},
        "origin": {"kind": ["remote_peer", "unknown"]},
        "tcp": {"state": "ESTABLISHED"},
    })
}

/// The sending side of `SO_LINGER` 0, by this test process.
fn lingered(family: &str) -> Result<Value> {
    Ok(json!({
        "direction": "sent", "effect": "connection_reset", "severity": "warning",
        "network": {"type": family},
        "origin": {"kind": "local_process", "possible": ["local_process"]},
        "cause": {"id": "linger_abort"},
        // Linux calls this reason TCP_STATE, not linger: tcp_disconnect() sends the reset.
        "tcp": {"kernel_reason": kernel::reason("TCP_STATE")?, "linger_zero": true},
        "process": {"pid": std::process::id()},
    }))
}

/// The sending side of a close with bytes in the receive queue, by this test process.
fn unread(family: &str, bytes: usize) -> Result<Value> {
    Ok(json!({
        "direction": "sent", "effect": "connection_reset", "severity": "warning",
        "network": {"type": family},
        "origin": {"kind": "local_process", "possible": ["local_process"]},
        "cause": {"id": "close_with_unread_data"},
        "tcp": {"kernel_reason": kernel::reason("TCP_ABORT_ON_CLOSE")?, "unread_bytes": bytes},
        "process": {"pid": std::process::id()},
    }))
}

pub fn client_closes_with_unread_data(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v4())?;
    let flow = connection.flow()?;
    peer::close_with_unread(connection.client, &connection.server, b"hello")?;
    let truth = Truth { client: vec![unread("ipv4", 5)?], server: vec![received("ipv4")] };
    round.tell(flow, truth)
}

pub fn server_closes_with_unread_data(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v4())?;
    let flow = connection.flow()?;
    peer::close_with_unread(connection.server, &connection.client, b"hello there")?;
    let truth = Truth { client: vec![received("ipv4")], server: vec![unread("ipv4", 11)?] };
    round.tell(flow, truth)
}

pub fn client_aborts_with_linger_zero(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v4())?.speak()?;
    let flow = connection.flow()?;
    peer::abort(connection.client)?;
    assert_eq!(peer::wait_failure(&connection.server)?, ErrorKind::ConnectionReset);
    let truth = Truth { client: vec![lingered("ipv4")?], server: vec![received("ipv4")] };
    round.tell(flow, truth)
}

/// The same before anybody has said a byte is what a load balancer's health check looks like: no
/// loss, on neither host.
pub fn health_check_connects_and_aborts(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v4())?;
    let flow = connection.flow()?;
    peer::abort(connection.client)?;
    assert_eq!(peer::wait_failure(&connection.server)?, ErrorKind::ConnectionReset);
    let routine = |direction: &str| json!({"direction": direction, "severity": "info", "cause": {"id": "routine_close"}});
    round.tell(flow, Truth { client: vec![routine("sent")], server: vec![routine("received")] })
}

pub fn ipv6_connection(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open(&net.client, &net.server, net.server.v6())?;
    let flow = connection.flow()?;
    peer::abort(connection.server)?;
    let truth = Truth { client: vec![received("ipv6")], server: vec![lingered("ipv6")?] };
    round.tell(flow, truth)
}

/// A broker listens on `[::]`; to an IPv4 client its socket is an IPv6 one with mapped addresses.
pub fn ipv4_client_of_a_dual_stack_listener(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let connection = Connection::open_dual_stack(&net.client, &net.server, net.server.v4())?;
    let flow = connection.flow()?;
    peer::close_with_unread(connection.server, &connection.client, b"mapped")?;
    let truth = Truth { client: vec![received("ipv4")], server: vec![unread("ipv4", 6)?] };
    round.tell(flow, truth)
}

/// The same from the other side: an IPv6 socket that connects to `::ffff:a.b.c.d`, as the JVM does.
pub fn ipv6_socket_connected_to_a_mapped_address(round: &Round) -> Result<()> {
    let net = &round.hosts;
    let listener = net.server.listen(std::net::SocketAddr::new(net.server.v4(), peer::AMQP))?;
    let client = net.client.connect(std::net::SocketAddr::new(net.server.v4_mapped(), peer::AMQP))?;
    let (server, _) = listener.accept().map_err(|error| rstblame_lab::LabError::io("accept", error))?;
    let connection = Connection { client, server, listener }.speak()?;
    let flow = peer::flow(&connection.client)?;
    peer::abort(connection.client)?;
    let truth = Truth { client: vec![lingered("ipv4")?], server: vec![received("ipv4")] };
    round.tell(flow, truth)
}
