//! What the network does: messages, resets, hosts that are there for a moment.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result,
    agents::site,
    hosts::net::{Host, TwoHosts, lone_host},
    peers::{actor::Stage, pair::Pair, peer},
};

use super::{PORT, Shift};

/// Between two resets of hosts that stay.
const PAUSE: Duration = Duration::from_millis(25);

/// After two thousand messages, so that the load leaves room for what it is a load on.
const BREATH: Duration = Duration::from_millis(200);

/// Resets on each host that passes.
pub const EACH: u8 = 3;

/// Publishes over one connection after the other, and waits for what it published.
pub fn messages(net: &TwoHosts, shift: &Shift) -> Result<()> {
    let stage = Stage::new(env!("CARGO_BIN_EXE_actor"))?;
    // Not the port of the resets: there nobody may listen when a connection is to be refused.
    let address = SocketAddr::new(net.server.v4(), PORT + 1);
    let mut pair = Pair::open(&stage, &net.client, &net.server, address)?;
    while shift.goes_on(BREATH) {
        pair.publish(2000, 200, 10)?;
    }
    Ok(())
}

/// One reset after the other, of every kind in turn. Returns how many.
pub fn resets(net: &TwoHosts, shift: &Shift) -> Result<u64> {
    let mut made = 0;
    let ways = [client_aborts, server_aborts, server_leaves_bytes_unread, nobody_listens];
    let addresses = [net.server.v4(), net.server.v6()].map(|address| SocketAddr::new(address, PORT));
    for (way, address) in ways.iter().cycle().zip(addresses.iter().flat_map(|address| [address; 4]).cycle()) {
        way(&net.client, &net.server, *address)?;
        made += 1;
        if !shift.goes_on(PAUSE) {
            break;
        }
    }
    Ok(made)
}

/// Hosts that come, have connections reset, and are gone. Returns how many resets.
pub fn passing_hosts(shift: &Shift) -> Result<u64> {
    let mut made = 0;
    while shift.goes_on(PAUSE) {
        site::resets_on(&lone_host()?, PORT, EACH.into())?;
        made += u64::from(EACH);
    }
    Ok(made)
}

fn open(client: &Host, server: &Host, address: SocketAddr) -> Result<(TcpStream, TcpStream)> {
    let listener = server.listen(address)?;
    let stream = client.connect(address)?;
    let (accepted, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
    peer::stop_listening(listener);
    Ok((stream, accepted))
}

fn client_aborts(client: &Host, server: &Host, address: SocketAddr) -> Result<()> {
    let (stream, accepted) = open(client, server, address)?;
    peer::abort(stream)?;
    peer::wait_failure(&accepted).map(drop)
}

fn server_aborts(client: &Host, server: &Host, address: SocketAddr) -> Result<()> {
    let (stream, accepted) = open(client, server, address)?;
    peer::abort(accepted)?;
    peer::wait_failure(&stream).map(drop)
}

fn server_leaves_bytes_unread(client: &Host, server: &Host, address: SocketAddr) -> Result<()> {
    let (stream, accepted) = open(client, server, address)?;
    peer::close_with_unread(accepted, &stream, b"AMQP\0\0\x09\x01")?;
    peer::wait_failure(&stream).map(drop)
}

fn nobody_listens(client: &Host, _: &Host, address: SocketAddr) -> Result<()> {
    peer::refused(client, address).map(drop)
}
