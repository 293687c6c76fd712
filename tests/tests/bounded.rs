//! Bounded memory in the kernel: what had to make room is counted.

use std::net::{SocketAddr, TcpStream};

use rstblame_lab::{LabError, Result, Value, agent::Agent, net::lone_host, peer::AMQP};

#[test]
fn what_makes_room_in_the_kernel_is_counted() -> Result<()> {
    const KNOWN: u64 = 64;
    const OPENED: u64 = 500;
    let host = lone_host()?;
    for (room, opened) in [(KNOWN, OPENED), (65_536, OPENED)] {
        let agent = Agent::on(&host).args(&["--max-connections", &room.to_string()]).start()?;
        let address = SocketAddr::new(host.v4(), AMQP);
        let listener = host.listen(address)?;
        let connections = host.inside(|| {
            let connect = |_| {
                let client = TcpStream::connect(address).map_err(|error| LabError::io(format!("connect to {address}"), error))?;
                let (server, _) = listener.accept().map_err(|error| LabError::io("accept", error))?;
                Ok((client, server))
            };
            (0..opened).map(connect).collect::<Result<Vec<_>>>()
        })?;
        let record = agent.stop()?;
        drop(connections);
        let last = record.lines().last().map_or("", String::as_str);
        let evicted = serde_json::from_str::<Value>(last).ok().and_then(|last| last.pointer("/fell_out/flows")?.as_u64()).unwrap_or(0);
        // The client's last acknowledgement of the handshake arrives at the server's end, so that each is one direction at least.
        if room < opened {
            assert!(evicted >= opened - room, "{last}");
        } else {
            assert_eq!(evicted, 0, "{last}");
        }
    }
    Ok(())
}
