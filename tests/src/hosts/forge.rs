//! RSTs that no kernel made: built after a genuine segment of the connection, and put on the wire
//! behind its sender's back.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd as _,
};

use rustix::net::netdevice::name_to_index;
use socket2::{Domain, Protocol, Socket, Type};

use super::{flow::Flow, net::Host};
use crate::{LabError, Result};

/// Length of an Ethernet header without a VLAN tag.
const ETHERNET: usize = 14;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// TCP flags (RFC 9293, section 3.1).
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A packet socket on one interface of a host, which sees what passes there both ways and can send
/// as anybody.
#[derive(Debug)]
pub struct Injector {
    socket: Socket,
}

/// A genuine segment, as it went by.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// Destination and source address of the frame.
    macs: [u8; 12],
    source: SocketAddr,
    target: SocketAddr,
    ttl: u8,
    /// Identification of an IPv4 packet; 0 for IPv6.
    ip_id: u16,
    /// Version, traffic class and flow label of an IPv6 packet; 0 for IPv4.
    label: u32,
    /// The sequence number that follows the segment.
    end: u32,
    ack: u32,
    is_rst: bool,
}

/// How a forged RST differs from the segment that the connection would carry next.
#[derive(Debug, Clone, Copy)]
pub struct Forgery {
    /// Sequence number relative to the next one expected.
    pub seq: i32,
    /// TTL or hop limit; that of the model when absent.
    pub ttl: Option<u8>,
    /// Identification of an IPv4 packet. IPv6 has none.
    pub ip_id: IpId,
    /// Don't Fragment, of IPv4.
    pub dont_fragment: bool,
    /// Window field.
    pub window: u16,
    /// RST and ACK, instead of RST alone with an acknowledgement number of 0.
    pub acknowledges: bool,
    /// The flow label of an IPv6 packet is that of the model, and not 0.
    pub copies_label: bool,
    /// Payload, as some devices add.
    pub text: &'static [u8],
}

/// The identification field of a forged IPv4 packet.
#[derive(Debug, Clone, Copy)]
pub enum IpId {
    /// This number.
    Fixed(u16),
    /// What the model's sender would use next.
    Next,
}

impl Forgery {
    /// What a Linux kernel sends for a segment that belongs to no socket: RST alone, window 0,
    /// IP-ID 0, DF.
    pub const PASSIVE: Self = Self {
        seq: 0,
        ttl: None,
        ip_id: IpId::Fixed(0),
        dont_fragment: true,
        window: 0,
        acknowledges: false,
        copies_label: false,
        text: b"",
    };
}

impl Injector {
    /// Starts to watch an interface of a host.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn on(host: &Host, interface: &str) -> Result<Self> {
        let io = |error: std::io::Error| LabError::io(format!("open a packet socket on {interface}"), error);
        let socket = host.inside(|| {
            // Protocol 0: it receives nothing before it is bound to its interface.
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).map_err(io)?;
            let index = name_to_index(&socket, interface).map_err(|error| io(error.into()))?;
            bind(&socket, index).map_err(io)?;
            socket.set_nonblocking(true).map_err(io)?;
            Ok(socket)
        })?;
        Ok(Self { socket })
    }

    /// The last genuine segment that the peer of a connection sent; `flow` is the connection as its
    /// victim sees it. Takes all that was seen off the socket.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when there was none.
    pub fn last(&self, flow: Flow) -> Result<Segment> {
        let mut buffer = vec![0; 1 << 16];
        let mut last = None;
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(length) => {
                    let segment = buffer.get(..length).and_then(parse);
                    let wanted = |segment: &Segment| segment.source == flow.peer && segment.target == flow.local && !segment.is_rst;
                    last = segment.filter(wanted).or(last);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(LabError::io("read a packet socket", error)),
            }
        }
        last.ok_or_else(|| LabError::io(format!("see a segment from {} to {}", flow.peer, flow.local), ErrorKind::NotFound))
    }

    /// Sends a RST to the target of a genuine segment, in its source's name.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn inject(&self, model: &Segment, forgery: &Forgery) -> Result<()> {
        (&self.socket).write_all(&forge(model, forgery)).map_err(|error| LabError::io("send a forged RST", error))
    }
}

/// Binds to all protocols on one interface (packet(7)).
fn bind(socket: &Socket, index: u32) -> std::io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be(),
        sll_ifindex: i32::try_from(index).unwrap_or_default(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the address is valid for the length given, and the kernel copies it.
    let failed = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if failed < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// An Ethernet frame with a TCP segment over IPv4 or IPv6 without extension headers, which is all
/// that the lab's hosts send.
fn parse(frame: &[u8]) -> Option<Segment> {
    let macs = *frame.first_chunk()?;
    let packet = frame.get(ETHERNET..)?;
    let (source, target, ttl, ip_id, label, header, length): (IpAddr, IpAddr, _, _, _, usize, usize) = match packet.first()? >> 4 {
        4 if *packet.get(9)? == TCP => (
            take::<4>(packet, 12)?.into(),
            take::<4>(packet, 16)?.into(),
            *packet.get(8)?,
            u16::from_be_bytes(take(packet, 4)?),
            0,
            usize::from(packet.first()? & 0x0f) * 4,
            u16::from_be_bytes(take(packet, 2)?).into(),
        ),
        6 if *packet.get(6)? == TCP => (
            take::<16>(packet, 8)?.into(),
            take::<16>(packet, 24)?.into(),
            *packet.get(7)?,
            0,
            u32::from_be_bytes(take(packet, 0)?),
            40,
            40 + usize::from(u16::from_be_bytes(take(packet, 4)?)),
        ),
        _ => return None,
    };
    let tcp = packet.get(header..)?;
    let port = |at| Some(u16::from_be_bytes(take(tcp, at)?));
    let flags = *tcp.get(13)?;
    let payload = length.checked_sub(header + usize::from(tcp.get(12)? >> 4) * 4)?;
    // SYN and FIN take a sequence number each.
    let taken = u32::try_from(payload).ok()? + u32::from(flags & 1) + u32::from(flags >> 1 & 1);
    Some(Segment {
        macs,
        source: SocketAddr::new(source, port(0)?),
        target: SocketAddr::new(target, port(2)?),
        ttl,
        ip_id,
        label,
        end: u32::from_be_bytes(take(tcp, 4)?).wrapping_add(taken),
        ack: u32::from_be_bytes(take(tcp, 8)?),
        is_rst: flags & RST != 0,
    })
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn forge(model: &Segment, forgery: &Forgery) -> Vec<u8> {
    let seq = model.end.wrapping_add_signed(forgery.seq);
    let (ack, flags) = if forgery.acknowledges { (model.ack, RST | ACK) } else { (0, RST) };
    let mut tcp = Vec::with_capacity(20 + forgery.text.len());
    tcp.extend(model.source.port().to_be_bytes());
    tcp.extend(model.target.port().to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    // 5 words of header, no options.
    tcp.extend([5 << 4, flags]);
    tcp.extend(forgery.window.to_be_bytes());
    let before_checksum = tcp.clone();
    tcp.extend([0; 4]);
    tcp.extend(forgery.text);

    let length = u16::try_from(tcp.len()).unwrap_or(u16::MAX);
    let addresses = match (model.source.ip(), model.target.ip()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => [source.octets(), target.octets()].concat(),
        (IpAddr::V6(source), IpAddr::V6(target)) => [source.octets(), target.octets()].concat(),
        _ => Vec::new(),
    };
    // The pseudo-header of RFC 9293, section 3.1, and of RFC 8200, section 8.1: the same sum.
    let pseudo = [addresses.as_slice(), &[0, TCP], &length.to_be_bytes()].concat();
    let sum = checksum(&[pseudo, tcp].concat());
    let tcp = [before_checksum.as_slice(), &sum.to_be_bytes(), &[0, 0], forgery.text].concat();

    let ttl = forgery.ttl.unwrap_or(model.ttl);
    let header = if model.source.is_ipv4() {
        let ip_id = match forgery.ip_id {
            IpId::Fixed(id) => id,
            IpId::Next => model.ip_id.wrapping_add(1),
        };
        let fragment: u16 = if forgery.dont_fragment { 0x4000 } else { 0 };
        let start =
            [&[0x45, 0], (length + 20).to_be_bytes().as_slice(), &ip_id.to_be_bytes(), &fragment.to_be_bytes(), &[ttl, TCP]].concat();
        let sum = checksum(&[start.as_slice(), &addresses].concat());
        [start.as_slice(), &sum.to_be_bytes(), &addresses].concat()
    } else {
        // Version 6, and no traffic class.
        let label = if forgery.copies_label { model.label } else { 6 << 28 };
        [label.to_be_bytes().as_slice(), &length.to_be_bytes(), &[TCP, ttl], &addresses].concat()
    };
    let ethertype: [u8; 2] = if model.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
    [model.macs.as_slice(), &ethertype, &header, &tcp].concat()
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Forgery, IpId, Segment, checksum, forge, parse};

    fn model(source: &str, target: &str) -> Option<Segment> {
        Some(Segment {
            macs: [2; 12],
            source: source.parse().ok()?,
            target: target.parse().ok()?,
            ttl: 61,
            ip_id: 0xffff,
            label: 0x6001_2345,
            end: u32::MAX,
            ack: 77,
            is_rst: false,
        })
    }

    #[test]
    fn what_is_forged_is_what_was_asked_for() -> Result<(), &'static str> {
        let forgery = Forgery { seq: 2, ip_id: IpId::Next, acknowledges: true, text: b"x", ..Forgery::PASSIVE };
        for (source, target) in [("192.0.2.1:5672", "198.51.100.2:4000"), ("[2001:db8::1]:5672", "[2001:db8::2]:4000")] {
            let model = model(source, target).ok_or("addresses")?;
            let seen = parse(&forge(&model, &forgery)).ok_or("a frame that can be read")?;
            assert_eq!((seen.source, seen.target, seen.ttl), (model.source, model.target, 61));
            // One byte of text after sequence number 1.
            assert_eq!((seen.end, seen.ack, seen.is_rst, seen.ip_id), (2, 77, true, 0));
        }
        Ok(())
    }

    #[test]
    fn a_header_with_its_checksum_sums_to_zero() -> Result<(), &'static str> {
        let model = model("192.0.2.1:5672", "198.51.100.2:4000").ok_or("addresses")?;
        let frame = forge(&model, &Forgery::PASSIVE);
        assert_eq!(checksum(frame.get(14..34).ok_or("a header")?), 0);
        Ok(())
    }
}
