//! A publisher that waits for confirmations, and a broker that gives them: the frames of AMQP
//! 0-9-1, and nothing behind them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

use super::Outcome;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// The class `basic`, and three of its methods (specification 0-9-1, section 1.8).
const BASIC: [u8; 2] = 60_u16.to_be_bytes();
const PUBLISH: [u8; 2] = 40_u16.to_be_bytes();
const ACK: [u8; 2] = 80_u16.to_be_bytes();
const DELIVER: [u8; 2] = 60_u16.to_be_bytes();

/// How much is published, and how.
pub struct Load {
    /// Messages in all.
    pub messages: u64,
    /// Bytes of each body.
    pub body: usize,
    /// Messages to each confirmation.
    pub window: u64,
}

/// Publishes, and waits for the confirmation of each window. Answers with the nanoseconds it took.
pub fn publish(mut socket: &TcpStream, load: &Load) -> Outcome {
    socket.set_nodelay(true)?;
    let message = message(load.body)?;
    let mut confirmation = ack(0)?;
    let began = Instant::now();
    for sent in 1..=load.messages {
        socket.write_all(&message)?;
        if sent.is_multiple_of(load.window) {
            socket.read_exact(&mut confirmation)?;
        }
    }
    Ok(began.elapsed().as_nanos().to_string())
}

/// Reads what is published, and confirms each window.
pub fn confirm(mut socket: &TcpStream, load: &Load) -> Outcome {
    socket.set_nodelay(true)?;
    let mut message = message(load.body)?;
    for read in 1..=load.messages {
        socket.read_exact(&mut message)?;
        if read.is_multiple_of(load.window) {
            socket.write_all(&ack(read)?)?;
        }
    }
    Ok(String::new())
}

/// One small message: what a client publishes, or what a broker delivers.
pub fn message_from(mut socket: &TcpStream, end: End) -> Outcome<()> {
    let bytes = match end {
        End::Client => message(100)?,
        // Consumer tag, delivery tag 1, not redelivered, no name of an exchange, no routing key.
        End::Broker => content(&[BASIC, DELIVER].concat(), &[1, b'c', 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 100)?,
    };
    Ok(socket.write_all(&bytes)?)
}

/// `basic.publish` to the default exchange, with its content.
fn message(body: usize) -> Outcome<Vec<u8>> {
    let key = b"bench";
    let mut arguments = vec![0, 0];
    // An empty name of the exchange, the routing key, and no flags.
    arguments.extend([0, u8::try_from(key.len())?]);
    arguments.extend(key);
    arguments.push(0);
    content(&[BASIC, PUBLISH].concat(), &arguments, body)
}

/// A method with its content.
fn content(method: &[u8], arguments: &[u8], body: usize) -> Outcome<Vec<u8>> {
    let method = [method, arguments].concat();
    // Weight 0, the size of the body, and no properties.
    let mut header = [BASIC, [0, 0]].concat();
    header.extend(u64::try_from(body)?.to_be_bytes());
    header.extend([0, 0]);
    Ok([frame(METHOD, &method)?, frame(HEADER, &header)?, frame(BODY, &vec![b'x'; body])?].concat())
}

/// `basic.ack` of all messages up to one.
fn ack(tag: u64) -> Outcome<Vec<u8>> {
    let mut method = [BASIC, ACK].concat();
    method.extend(tag.to_be_bytes());
    method.push(1);
    frame(METHOD, &method)
}

/// A frame of channel 1.
fn frame(kind: u8, payload: &[u8]) -> Outcome<Vec<u8>> {
    framed(kind, 1, payload)
}

/// A frame (specification 0-9-1, section 2.3.5).
fn framed(kind: u8, channel: u8, payload: &[u8]) -> Outcome<Vec<u8>> {
    let mut frame = vec![kind, 0, channel];
    frame.extend(u32::try_from(payload.len())?.to_be_bytes());
    frame.extend(payload);
    frame.push(0xce);
    Ok(frame)
}

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Client,
    Broker,
}

/// Opens the AMQP connection: each end says its lines and waits for those of the other
/// (specification 0-9-1, section 1.4.2.7).
pub fn open(mut socket: &TcpStream, end: End) -> Outcome<()> {
    socket.set_nodelay(true)?;
    for (speaker, mut line) in opening()? {
        if speaker == end {
            socket.write_all(&line)?;
        } else {
            socket.read_exact(&mut line)?;
        }
    }
    Ok(())
}

/// The connections in turn, so many exchanges a second: a small message and its confirmation on all
/// of them, then a heartbeat of both ends on all of them, and so on. Both ends take the same order,
/// so that none has to look which connection has something to say.
pub fn talk(sockets: &[&TcpStream], end: End, a_second: u32, seconds: u32) -> Outcome<()> {
    let rounds = [[message(100)?, ack(1)?], [framed(HEARTBEAT, 0, &[])?, framed(HEARTBEAT, 0, &[])?]];
    let all = rounds.iter().cycle().flat_map(|round| sockets.iter().map(move |socket| (*socket, round)));
    let began = Instant::now();
    for (number, (mut socket, [said, answer])) in (0..a_second * seconds).zip(all) {
        let (write, read) = if end == End::Client { (said, answer) } else { (answer, said) };
        let mut room = vec![0; read.len()];
        if end == End::Broker {
            socket.read_exact(&mut room)?;
        }
        socket.write_all(write)?;
        if end == End::Client {
            socket.read_exact(&mut room)?;
            // What sets the rate, and nothing waits for.
            sleep((Duration::from_secs(1) * number / a_second).saturating_sub(began.elapsed()));
        }
    }
    Ok(())
}

/// From the protocol header to `connection.open-ok`.
fn opening() -> Outcome<[(End, Vec<u8>); 7]> {
    let method = |id: u8, arguments: &[u8]| {
        let payload = [[0, 10, 0, id].as_slice(), arguments].concat();
        framed(METHOD, 0, &payload)
    };
    // No tables of properties; the mechanism PLAIN, which is a response of three parts; no limits
    // and a heartbeat of 60 s.
    let start = [[0, 9, 0, 0, 0, 0, 0, 0, 0, 5].as_slice(), b"PLAIN", &[0, 0, 0, 5], b"en_US"].concat();
    let start_ok = [[0, 0, 0, 0, 5].as_slice(), b"PLAIN", &[0, 0, 0, 12], b"\0guest\0guest", &[5], b"en_US"].concat();
    let tune = [0, 0, 0, 2, 0, 0, 0, 60];
    Ok([
        (End::Client, b"AMQP\0\0\x09\x01".to_vec()),
        (End::Broker, method(10, &start)?),
        (End::Client, method(11, &start_ok)?),
        (End::Broker, method(30, &tune)?),
        (End::Client, method(31, &tune)?),
        (End::Client, method(40, &[1, b'/', 0, 0])?),
        (End::Broker, method(41, &[0])?),
    ])
}
