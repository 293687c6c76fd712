//! Syslog, RFC 5424: to a unix datagram socket, over UDP (RFC 5426), or over TCP with octet
//! counting (RFC 6587, section 3.4.1).

use std::{io, net::UdpSocket, os::unix::net::UnixDatagram};

use bytes::Bytes;

use super::{
    datagram::{Post, connect_udp, connect_unix},
    headline::Headline,
    item::Item,
    spec::{Body, Facility, SyslogAddress},
};

/// Longest HOSTNAME: RFC 5424, section 6.
const HOSTNAME: usize = 255;

/// How messages are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoder {
    pub facility: Facility,
    pub body: Body,
    /// PROCID.
    pub pid: u32,
}

impl Encoder {
    /// One message.
    pub fn message(self, item: &Item) -> Vec<u8> {
        let headline = Headline::of(item.event());
        let priority = self.facility.number() * 8 + headline.severity;
        // TIME-SECFRAC has six digits at most.
        let timestamp = headline.timestamp.strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
        let mut message = format!(
            "<{priority}>1 {timestamp} {} rstblame {} {} [origin software=\"rstblame\" swVersion=\"{}\"] ",
            hostname(headline.host),
            self.pid,
            headline.kind,
            escaped(env!("CARGO_PKG_VERSION")),
        )
        .into_bytes();
        match self.body {
            // MSG-ANY: a byte order mark before JSON would only upset its readers.
            Body::Json => message.extend_from_slice(item.json().strip_suffix(b"\n").unwrap_or(item.json())),
            // MSG-UTF8 has one.
            Body::Text => {
                message.extend_from_slice("\u{feff}".as_bytes());
                message.extend_from_slice(headline.message.as_bytes());
            }
        }
        message
    }

    /// One message in a stream: its length in octets, a space, itself.
    pub fn counted(self, item: &Item) -> Bytes {
        let message = self.message(item);
        let mut frame = format!("{} ", message.len()).into_bytes();
        frame.extend_from_slice(&message);
        frame.into()
    }
}

/// HOSTNAME: printable ASCII, or the NILVALUE.
fn hostname(name: Option<&str>) -> String {
    let name: String = name.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(HOSTNAME).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// A PARAM-VALUE: RFC 5424, section 6.3.3.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| matches!(c, '"' | '\\' | ']').then_some('\\').into_iter().chain([c])).collect()
}

enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

/// Syslog over datagrams.
pub struct SyslogDatagrams {
    address: SyslogAddress,
    encoder: Encoder,
    socket: Option<Socket>,
}

impl SyslogDatagrams {
    /// For the addresses that are not TCP.
    pub const fn new(address: SyslogAddress, encoder: Encoder) -> Self {
        Self { address, encoder, socket: None }
    }
}

impl Post for SyslogDatagrams {
    fn post(&mut self, item: &Item) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            closed => closed.insert(match &self.address {
                SyslogAddress::Unix(path) => Socket::Unix(connect_unix(path)?),
                SyslogAddress::Udp(address) | SyslogAddress::Tcp(address) => Socket::Udp(connect_udp(address)?),
            }),
        };
        let message = self.encoder.message(item);
        match socket {
            Socket::Unix(socket) => socket.send(&message),
            Socket::Udp(socket) => socket.send(&message),
        }
        .map(drop)
    }

    fn hang_up(&mut self) {
        self.socket = None;
    }
}

#[cfg(test)]
mod tests;
