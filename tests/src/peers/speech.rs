//! A client that speaks AMQP 0-9-1 by hand (specification sections 2.2 and 2.3): where segments are
//! cut is the scenario's choice.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{LabError, Result};

/// The protocol header of AMQP 0-9-1 (section 4.2.2): what a client sends first.
pub const HEADER_0_9_1: [u8; 8] = *b"AMQP\0\0\x09\x01";

/// The protocol header of AMQP 1.0 (OASIS AMQP 1.0, section 2.2).
pub const HEADER_1_0: [u8; 8] = *b"AMQP\0\x01\0\0";

/// Class and method ids of the class `connection` (section 1.4.2).
pub const START: (u16, u16) = (10, 10);
pub const TUNE: (u16, u16) = (10, 30);
pub const OPEN_OK: (u16, u16) = (10, 41);
pub const CLOSE: (u16, u16) = (10, 50);
pub const CLOSE_OK: (u16, u16) = (10, 51);

/// `channel.open-ok`, `channel.close` and `channel.close-ok`, and `basic.deliver`.
const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
pub const CHANNEL_CLOSE: (u16, u16) = (20, 40);
const CHANNEL_CLOSE_OK: (u16, u16) = (20, 41);
pub const DELIVER: (u16, u16) = (60, 60);

/// The channel that is used.
const CHANNEL: u16 = 1;

/// Types of frames (section 2.3.5), and the octet at the end of each.
const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xce;

/// How long the broker may take for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// `connection.start-ok` with the guest's password, and a capability that makes the broker say why
/// it refuses.
pub fn start_ok() -> Vec<u8> {
    let mut arguments = long(b"");
    arguments.extend(short(b"PLAIN"));
    arguments.extend(long(b"\0guest\0guest"));
    arguments.extend(short(b"en_US"));
    method(0, (10, 11), &arguments)
}

/// `connection.tune-ok` with 2047 channels, which is what `RabbitMQ` offers, frames of 128 KiB, and
/// this heartbeat in seconds.
pub fn tune_ok(heartbeat: u16) -> Vec<u8> {
    let mut arguments = 2047_u16.to_be_bytes().to_vec();
    arguments.extend(131_072_u32.to_be_bytes());
    arguments.extend(heartbeat.to_be_bytes());
    method(0, (10, 31), &arguments)
}

/// `connection.open` of a virtual host.
pub fn open(vhost: &str) -> Vec<u8> {
    let mut arguments = short(vhost.as_bytes());
    arguments.extend([0, 0]);
    method(0, (10, 40), &arguments)
}

/// `connection.close` with code and text.
pub fn close(code: u16, text: &str) -> Vec<u8> {
    let mut arguments = code.to_be_bytes().to_vec();
    arguments.extend(short(text.as_bytes()));
    arguments.extend([0; 4]);
    method(0, CLOSE, &arguments)
}

/// Opens a connection in this virtual host, one method at a time.
///
/// # Errors
///
/// As [`expect`].
pub fn handshake(stream: &mut TcpStream, vhost: &str, heartbeat: u16) -> Result<()> {
    say(stream, &HEADER_0_9_1)?;
    expect(stream, START)?;
    say(stream, &start_ok())?;
    expect(stream, TUNE)?;
    say(stream, &tune_ok(heartbeat))?;
    say(stream, &open(vhost))?;
    expect(stream, OPEN_OK)
}

/// `connection.close-ok`.
pub fn close_ok() -> Vec<u8> {
    method(0, CLOSE_OK, &[])
}

/// Opens a channel, acknowledges delivery 99, which never came, and agrees when the broker closes
/// the channel for it.
///
/// # Errors
///
/// As [`expect`].
pub fn fail_a_channel(stream: &mut TcpStream) -> Result<()> {
    open_channel(stream)?;
    say(stream, &ack(99))?;
    expect(stream, CHANNEL_CLOSE)?;
    say(stream, &channel_close_ok())
}

/// Asks for something on the channel, open or not: `basic.qos`.
///
/// # Errors
///
/// As [`say`].
pub fn use_the_channel(stream: &mut TcpStream) -> Result<()> {
    say(stream, &method(CHANNEL, (60, 10), &[0, 0, 0, 0, 0, 1, 0]))
}

/// Opens a channel, and publishes a message that nobody waits for.
///
/// # Errors
///
/// As [`expect`].
pub fn publish(stream: &mut TcpStream, body: &[u8]) -> Result<()> {
    open_channel(stream)?;
    say(stream, &message("nowhere", body))
}

/// Opens the channel.
///
/// # Errors
///
/// As [`expect`].
pub fn open_channel(stream: &mut TcpStream) -> Result<()> {
    say(stream, &method(CHANNEL, (20, 10), &[0]))?;
    expect(stream, CHANNEL_OPEN_OK)
}

/// `channel.close-ok`.
pub fn channel_close_ok() -> Vec<u8> {
    method(CHANNEL, CHANNEL_CLOSE_OK, &[])
}

/// `basic.ack` of one delivery.
pub fn ack(tag: u64) -> Vec<u8> {
    let mut arguments = tag.to_be_bytes().to_vec();
    arguments.push(0);
    method(CHANNEL, (60, 80), &arguments)
}

/// Declares a queue that goes with its consumer, consumes it with acknowledgements, publishes a
/// message to it, and waits for that.
///
/// # Errors
///
/// As [`expect`].
pub fn consume_one(stream: &mut TcpStream, queue: &str) -> Result<()> {
    // Reserved, the name, auto-delete, no arguments.
    let mut arguments = vec![0, 0];
    arguments.extend(short(queue.as_bytes()));
    arguments.push(0b0_1000);
    arguments.extend(long(b""));
    say(stream, &method(CHANNEL, (50, 10), &arguments))?;
    expect(stream, (50, 11))?;
    // Reserved, the name, a tag that the broker chooses, no flags, no arguments.
    let mut arguments = vec![0, 0];
    arguments.extend(short(queue.as_bytes()));
    arguments.extend(short(b""));
    arguments.push(0);
    arguments.extend(long(b""));
    say(stream, &method(CHANNEL, (60, 20), &arguments))?;
    expect(stream, (60, 21))?;
    say(stream, &message(queue, b"bendnote"))?;
    expect(stream, DELIVER)
}

/// `basic.publish` to the default exchange, with its content.
pub fn message(queue: &str, body: &[u8]) -> Vec<u8> {
    // Reserved, exchange, routing key, no flags.
    let mut arguments = vec![0, 0];
    arguments.extend(short(b""));
    arguments.extend(short(queue.as_bytes()));
    arguments.push(0);
    let mut frames = method(CHANNEL, (60, 40), &arguments);
    // Class, weight, size, no properties.
    let mut header = vec![0, 60, 0, 0];
    header.extend((body.len() as u64).to_be_bytes());
    header.extend([0, 0]);
    frames.extend(frame(CONTENT_HEADER, CHANNEL, &header));
    frames.extend(frame(BODY, CHANNEL, body));
    frames
}

/// Sends bytes in a segment of their own.
///
/// # Errors
///
/// [`LabError::Io`].
pub fn say(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    stream.set_nodelay(true).and_then(|()| stream.write_all(bytes)).map_err(|error| LabError::io("speak AMQP", error))
}

/// Reads frames up to this method.
///
/// # Errors
///
/// [`LabError::Io`] when the connection ends first.
pub fn expect(stream: &mut TcpStream, wanted: (u16, u16)) -> Result<()> {
    let io = |error| LabError::io(format!("hear AMQP method {wanted:?}"), error);
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    loop {
        let mut head = [0; 7];
        stream.read_exact(&mut head).map_err(io)?;
        let [kind, _, _, size @ ..] = head;
        let mut rest = vec![0; u32::from_be_bytes(size) as usize + 1];
        stream.read_exact(&mut rest).map_err(io)?;
        if let (METHOD, [a, b, c, d, ..]) = (kind, rest.as_slice())
            && (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])) == wanted
        {
            return Ok(());
        }
    }
}

fn method(channel: u16, (class, method): (u16, u16), arguments: &[u8]) -> Vec<u8> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend(method.to_be_bytes());
    payload.extend(arguments);
    frame(METHOD, channel, &payload)
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend(channel.to_be_bytes());
    frame.extend(long(payload));
    frame.push(FRAME_END);
    frame
}

/// Bytes after their length in one octet (`shortstr`).
fn short(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    std::iter::once(length).chain(bytes.iter().copied().take(length.into())).collect()
}

/// Bytes after their length in four octets: `longstr`, a table, or the payload of a frame.
fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    length.to_be_bytes().into_iter().chain(bytes.iter().copied()).collect()
}
