//! A publisher that waits for confirmations, and a broker that gives them: the frames of AMQP 0-9-1, and nothing behind them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use super::Outcome;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

/// The class `basic`, and two of its methods (specification 0-9-1, section 1.8).
const BASIC: [u8; 2] = 60_u16.to_be_bytes();
const PUBLISH: [u8; 2] = 40_u16.to_be_bytes();
const ACK: [u8; 2] = 80_u16.to_be_bytes();

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

/// `basic.publish` to the default exchange, with its content.
fn message(body: usize) -> Outcome<Vec<u8>> {
    let key = b"bench";
    let mut method = [BASIC, PUBLISH, [0, 0]].concat();
    // An empty name of the exchange, the routing key, and no flags.
    method.extend([0, u8::try_from(key.len())?]);
    method.extend(key);
    method.push(0);
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

/// A frame of channel 1 (specification 0-9-1, section 2.3.5).
fn frame(kind: u8, payload: &[u8]) -> Outcome<Vec<u8>> {
    let mut frame = vec![kind, 0, 1];
    frame.extend(u32::try_from(payload.len())?.to_be_bytes());
    frame.extend(payload);
    frame.push(0xce);
    Ok(frame)
}
