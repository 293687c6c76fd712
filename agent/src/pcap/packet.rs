//! A frame into the header facts of its TCP segment: link, VLAN, IP, TCP. Every length is checked
//! against what was captured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::reader::{Frame, FrameDirection};
use crate::{
    flow::wire::{Segment, options},
    model::Flags,
};

/// A TCP segment with its addresses.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub segment: Segment,
    /// As much of the payload as was captured.
    pub payload: &'a [u8],
    pub direction: Option<FrameDirection>,
}

/// Why a frame holds no segment that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Not TCP over IP.
    Other,
    /// A fragment without a TCP header, or with part of one.
    Fragment,
    /// Captured too short to hold the headers.
    Short,
    /// A link type that is not known here.
    LinkType,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;

/// VLAN tags, and IPv6 extension headers, that are followed.
const NESTED: usize = 8;

/// Finds the segment in a frame.
///
/// # Errors
///
/// When there is none.
pub fn parse<'a>(frame: &Frame<'a>) -> Result<Packet<'a>, Skip> {
    let link = link(frame)?;
    let mut packet = match link.data.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(link.data),
        Some(6) => ipv6(link.data),
        Some(_) => Err(Skip::Other),
        None => Err(Skip::Short),
    }?;
    packet.segment.time_ns = frame.time_ns;
    packet.segment.source_mac = link.source;
    packet.segment.vlan = link.vlan;
    packet.segment.interface = frame.interface.or(link.interface);
    packet.direction = frame.direction.or(link.direction);
    Ok(packet)
}

struct Link<'a> {
    data: &'a [u8],
    source: Option<[u8; 6]>,
    vlan: Option<u16>,
    interface: Option<u32>,
    direction: Option<FrameDirection>,
}

/// Strips the link header (<https://www.tcpdump.org/linktypes.html>).
fn link<'a>(frame: &Frame<'a>) -> Result<Link<'a>, Skip> {
    let data = frame.data;
    let bare = |data| Link { data, source: None, vlan: None, interface: None, direction: None };
    match frame.linktype {
        // NULL: the address family in the byte order of the capturing host; LOOP: in network byte
        // order. The IP version tells the same.
        0 | 108 => Ok(bare(data.get(4..).ok_or(Skip::Short)?)),
        // ETHERNET.
        1 => {
            let source = data.get(6..).and_then(<[u8]>::first_chunk).copied();
            let (vlan, data) = ethertype(data, 12)?;
            Ok(Link { source, vlan, ..bare(data) })
        }
        // RAW, in its several numbers, IPV4 and IPV6.
        12 | 14 | 101 | 228 | 229 => Ok(bare(data)),
        // LINUX_SLL.
        113 => {
            let direction = sll_direction(be16(data, 0).ok_or(Skip::Short)?);
            let source = if be16(data, 4) == Some(6) { data.get(6..).and_then(<[u8]>::first_chunk).copied() } else { None };
            let (vlan, data) = ethertype(data, 14)?;
            Ok(Link { source, vlan, direction, ..bare(data) })
        }
        // LINUX_SLL2.
        276 => {
            let protocol = be16(data, 0).ok_or(Skip::Short)?;
            let interface = data.get(4..).and_then(<[u8]>::first_chunk).map(|raw| u32::from_be_bytes(*raw));
            let kind = data.get(10).copied().ok_or(Skip::Short)?;
            let source = if data.get(11) == Some(&6) { data.get(12..).and_then(<[u8]>::first_chunk).copied() } else { None };
            let (vlan, data) = tagged(data.get(20..).ok_or(Skip::Short)?, protocol)?;
            Ok(Link { source, vlan, interface, direction: sll_direction(u16::from(kind)), ..bare(data) })
        }
        _ => Err(Skip::LinkType),
    }
}

/// `sll_pkttype`: 0 to us, 1 broadcast, 2 multicast, 3 to another host, 4 sent by us.
const fn sll_direction(kind: u16) -> Option<FrameDirection> {
    match kind {
        0 => Some(FrameDirection::Arriving),
        4 => Some(FrameDirection::Leaving),
        _ => None,
    }
}

/// The protocol at `offset`, and what follows it.
fn ethertype(data: &[u8], offset: usize) -> Result<(Option<u16>, &[u8]), Skip> {
    let protocol = be16(data, offset).ok_or(Skip::Short)?;
    tagged(data.get(offset + 2..).ok_or(Skip::Short)?, protocol)
}

/// Follows VLAN tags (IEEE 802.1Q and 802.1ad); gives back the innermost identifier.
fn tagged(mut data: &[u8], mut protocol: u16) -> Result<(Option<u16>, &[u8]), Skip> {
    let mut vlan = None;
    for _ in 0..NESTED {
        match protocol {
            IPV4 | IPV6 => return Ok((vlan, data)),
            0x8100 | 0x88a8 | 0x9100 => {
                vlan = be16(data, 0).map(|tag| tag & 0x0fff);
                protocol = be16(data, 2).ok_or(Skip::Short)?;
                data = data.get(4..).ok_or(Skip::Short)?;
            }
            _ => return Err(Skip::Other),
        }
    }
    Err(Skip::Other)
}

fn ipv4(data: &[u8]) -> Result<Packet<'_>, Skip> {
    let header = data.first_chunk::<20>().ok_or(Skip::Short)?;
    let [first, tos, _, _, _, _, _, _, ttl, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    if protocol != TCP {
        return Err(Skip::Other);
    }
    let header_length = usize::from(first & 0x0f) * 4;
    if header_length < 20 {
        return Err(Skip::Other);
    }
    let (total, id, fragment) = (be16(header, 2).unwrap_or(0), be16(header, 4).unwrap_or(0), be16(header, 6).unwrap_or(0));
    if fragment & 0x1fff != 0 {
        return Err(Skip::Fragment);
    }
    // Zero: captured on the sending host before segmentation in the network card filled it in.
    let length = if total == 0 { data.len() } else { usize::from(total) };
    let payload = length.checked_sub(header_length).ok_or(Skip::Other)?;
    let rest = data.get(header_length..length.min(data.len())).ok_or(Skip::Short)?;
    let segment = Segment { ttl, tos, ip_id: Some(id), dont_fragment: Some(fragment & 0x4000 != 0), ..Segment::default() };
    tcp(rest, payload, Ipv4Addr::new(s0, s1, s2, s3).into(), Ipv4Addr::new(d0, d1, d2, d3).into(), segment)
}

fn ipv6(data: &[u8]) -> Result<Packet<'_>, Skip> {
    let header = data.first_chunk::<40>().ok_or(Skip::Short)?;
    let word = u32::from_be_bytes(*header.first_chunk().ok_or(Skip::Short)?);
    let address = |offset: usize| header.get(offset..).and_then(<[u8]>::first_chunk::<16>).map(|raw| IpAddr::from(Ipv6Addr::from(*raw)));
    let (source, destination) = (address(8).ok_or(Skip::Short)?, address(24).ok_or(Skip::Short)?);
    let length = usize::from(be16(header, 4).unwrap_or(0));
    let length = if length == 0 { data.len().saturating_sub(40) } else { length };
    let mut next = header.get(6).copied().unwrap_or(0);
    let mut offset = 40_usize;
    // RFC 8200, section 4.
    for _ in 0..NESTED {
        if next == TCP {
            let payload = (40 + length).checked_sub(offset).ok_or(Skip::Other)?;
            let rest = data.get(offset..(40 + length).min(data.len())).ok_or(Skip::Short)?;
            let segment = Segment {
                ttl: header.get(7).copied().unwrap_or(0),
                tos: u8::try_from((word >> 20) & 0xff).unwrap_or(0),
                flow_label: Some(word & 0x000f_ffff),
                ..Segment::default()
            };
            return tcp(rest, payload, source, destination, segment);
        }
        let extension = data.get(offset..).ok_or(Skip::Short)?;
        let (following, size) = (extension.first().copied().ok_or(Skip::Short)?, extension.get(1).copied().ok_or(Skip::Short)?);
        offset += match next {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(size) + 1) * 8,
            // Fragment: atomic ones (RFC 6946) hold the whole segment.
            44 => {
                let fragment = be16(extension, 2).ok_or(Skip::Short)?;
                if fragment & 0xfff8 != 0 {
                    return Err(Skip::Fragment);
                }
                8
            }
            // Authentication header: in words, less two.
            51 => (usize::from(size) + 2) * 4,
            _ => return Err(Skip::Other),
        };
        next = following;
    }
    Err(Skip::Other)
}

/// `length`: of header and payload by the IP header.
fn tcp(data: &[u8], length: usize, source: IpAddr, destination: IpAddr, segment: Segment) -> Result<Packet<'_>, Skip> {
    let header = data.first_chunk::<20>().ok_or(if length < 20 { Skip::Fragment } else { Skip::Short })?;
    let header_length = usize::from(header.get(12).copied().unwrap_or(0) >> 4) * 4;
    let payload = length.checked_sub(header_length).filter(|_| header_length >= 20).ok_or(Skip::Other)?;
    let word = |offset: usize| header.get(offset..).and_then(<[u8]>::first_chunk).map_or(0, |raw| u32::from_be_bytes(*raw));
    let half = |offset: usize| be16(header, offset).unwrap_or(0);
    let (options, timestamps) = options(data.get(20..header_length.min(data.len())).unwrap_or_default());
    Ok(Packet {
        source: SocketAddr::new(source, half(0)),
        destination: SocketAddr::new(destination, half(2)),
        segment: Segment {
            seq: word(4),
            ack: word(8),
            flags: Flags(half(12) & 0x0fff),
            window: half(14),
            options,
            timestamps,
            payload: u32::try_from(payload).unwrap_or(u32::MAX),
            ..segment
        },
        payload: data.get(header_length..).unwrap_or_default(),
        direction: None,
    })
}

fn be16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|raw| u16::from_be_bytes(*raw))
}
