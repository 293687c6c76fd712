//! Neither a password nor the body of a message is ever in a map, an event or a line of the log.

use std::io::{Read as _, Write as _};

use rstblame_lab::{
    LabError, Result,
    agents::{agent::Agent, maps},
    assert_event,
    hosts::net::two_hosts,
    peers::peer::{self, Connection},
};

const PASSWORD: &[u8] = b"Tr0ub4dor&3-of-the-lab";
const BODY: &[u8] = b"what the customer ordered";
const VHOST: &[u8] = b"orders-of-the-lab";

/// The sizes of the segments that each message is cut into: whatever is read of it, some of it is
/// carried from one to the next.
const CUTS: [usize; 5] = [1, 3, 9, 27, 4096];

#[test]
fn neither_password_nor_body_is_kept() -> Result<()> {
    for cut in CUTS {
        let net = two_hosts()?;
        let agent = Agent::on(&net.server).args(&["--ring-size", "64KiB", "--max-connections", "1024"]).start()?;
        let mut connection = Connection::open(&net.client, &net.server, net.server.v4())?;
        converse(&mut connection, cut)?;
        let flow = connection.flow()?;
        let held = maps::of(agent.pid())?;
        peer::abort(connection.client)?;
        let reset = agent.reset_of(flow.reversed(), "received")?;
        assert_event!(reset, {"amqp": {"version": "0-9-1", "heartbeat_s": 17, "vhost": "orders-of-the-lab", "phase": "open"}});
        let dumps: Vec<_> = held.into_iter().chain(maps::of(agent.pid())?).collect();
        let holding = |text: &[u8]| dumps.iter().filter(|dump| holds(&dump.bytes, text)).map(|dump| dump.name.as_str()).collect::<Vec<_>>();
        // The vhost, which is there, shows that what is there is found.
        assert!(holding(VHOST).contains(&"SPOKEN"), "cut {cut}: {:?}", dumps.iter().map(|dump| &dump.name).collect::<Vec<_>>());
        let record = agent.stop()?;
        for secret in [PASSWORD, BODY] {
            // Half of it is too much, too.
            for part in secret.chunks(8).filter(|part| part.len() == 8) {
                assert_eq!(holding(part), [""; 0], "cut {cut}");
                assert!(!record.lines().iter().any(|line| holds(line.as_bytes(), part)), "cut {cut}");
            }
        }
    }
    Ok(())
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Opens an AMQP connection and publishes.
fn converse(connection: &mut Connection, cut: usize) -> Result<()> {
    let short = |text: &[u8]| [&[u8::try_from(text.len()).unwrap_or(u8::MAX)], text].concat();
    let long = |text: &[u8]| [&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes(), text].concat();
    let response = [b"\0guest\0", PASSWORD].concat();
    let tune = [&2047_u16.to_be_bytes()[..], &131_072_u32.to_be_bytes(), &17_u16.to_be_bytes()].concat();
    let publish = [&[0, 60, 0, 40, 0, 0][..], &short(b"exchange"), &short(b"key"), &[0]].concat();
    let header = [&[0, 60, 0, 0][..], &(BODY.len() as u64).to_be_bytes(), &[0, 0]].concat();
    let talk: [(bool, Vec<u8>); 11] = [
        (true, b"AMQP\0\0\x09\x01".to_vec()),
        (false, method(10, &[&[0, 9][..], &long(b""), &long(b"PLAIN"), &long(b"en_US")].concat())),
        (true, method(11, &[long(b""), short(b"PLAIN"), long(&response), short(b"en_US")].concat())),
        (false, method(20, &long(b"challenge"))),
        (true, method(21, &long(PASSWORD))),
        (false, method(30, &tune)),
        (true, method(31, &tune)),
        (true, method(40, &[short(VHOST), short(b""), vec![0]].concat())),
        (false, method(41, &short(b""))),
        (true, method(70, &[long(PASSWORD), short(b"renewed")].concat())),
        (true, [frame(1, 1, &publish), frame(2, 1, &header), frame(3, 1, BODY)].concat()),
    ];
    for (client, bytes) in talk {
        let Connection { client: near, server: far, .. } = connection;
        let (from, to) = if client { (near, far) } else { (far, near) };
        for piece in bytes.chunks(cut) {
            from.write_all(piece).map_err(|error| LabError::io("send", error))?;
            // Only what was received is a segment of its own.
            to.read_exact(&mut vec![0; piece.len()]).map_err(|error| LabError::io("receive", error))?;
        }
    }
    Ok(())
}

fn method(id: u16, arguments: &[u8]) -> Vec<u8> {
    frame(1, 0, &[&10_u16.to_be_bytes()[..], &id.to_be_bytes(), arguments].concat())
}

/// A frame (AMQP 0-9-1, section 4.2.3).
fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&[kind][..], &channel.to_be_bytes(), &size.to_be_bytes(), payload, &[0xce]].concat()
}
