//! Bounded memory in the kernel: what had to make room is counted.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
};

use rstblame_lab::{
    LabError, Result,
    agents::{
        agent::Agent,
        record::{Record, Totals},
    },
    hosts::net::{Host, lone_host},
    peers::peer::AMQP,
};

#[test]
fn what_makes_room_in_the_kernel_is_counted() -> Result<()> {
    const KNOWN: u64 = 64;
    const OPENED: u64 = 500;
    let host = lone_host()?;
    for (room, opened) in [(KNOWN, OPENED), (65_536, OPENED)] {
        let agent = Agent::on(&host).args(&["--max-connections", &room.to_string()]).start()?;
        let connections = open(&host, opened)?;
        let totals = totals(&agent.stop()?)?;
        drop(connections);
        let evicted = totals.fell_out.get("flows").copied().unwrap_or(0);
        // The client's last acknowledgement of the handshake arrives at the server's end, so that
        // each is one direction at least.
        if room < opened {
            assert!(evicted >= opened - room, "{totals:?}");
        } else {
            assert_eq!(evicted, 0, "{totals:?}");
        }
        // Each handshake was followed by its connection.
        assert_eq!(totals.fell_out.get("handshakes"), None, "{totals:?}");
    }
    Ok(())
}

#[test]
fn what_was_said_and_had_to_be_forgotten_is_counted() -> Result<()> {
    const OPENED: u64 = 100;
    let host = lone_host()?;
    for room in ["4", "4096"] {
        let agent = Agent::on(&host).args(&["--max-conversations", room]).start()?;
        let mut connections = open(&host, OPENED)?;
        // The protocol header, then, after all others have sent theirs, half a frame.
        for bytes in [b"AMQP\x00\x00\x09\x01".as_slice(), b"\x01\x00\x00"] {
            for (client, _) in &mut connections {
                client.write_all(bytes).map_err(|error| LabError::io("send", error))?;
            }
        }
        let totals = totals(&agent.stop()?)?;
        drop(connections);
        let gone = totals.fell_out.get("conversations").copied().unwrap_or(0);
        // Loopback: what a client says leaves and arrives in the same namespace.
        if room == "4" {
            assert!((OPENED..=2 * OPENED).contains(&gone), "{totals:?}");
        } else {
            assert_eq!(gone, 0, "{totals:?}");
        }
    }
    Ok(())
}

/// Connections of a host with itself, both ends of each.
fn open(host: &Host, count: u64) -> Result<Vec<(TcpStream, TcpStream)>> {
    let address = SocketAddr::new(host.v4(), AMQP);
    let listener = host.listen(address)?;
    host.inside(|| {
        let connect = |_| {
            let client = TcpStream::connect(address).map_err(|error| LabError::io(format!("connect to {address}"), error))?;
            let (server, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
            Ok((client, server))
        };
        (0..count).map(connect).collect()
    })
}

fn totals(record: &Record) -> Result<Totals> {
    record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))
}
