//! Files, good and bad, and the labelled captures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod forgery;
mod kinds;
mod labelled;
mod spoken;

use std::{
    collections::BTreeMap,
    io::{Cursor, Write as _},
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use crate::{
    event::ResetEvent,
    model::{Direction, OriginKind},
};

/// Everything a capture says, and how it ended.
fn read(bytes: Vec<u8>) -> (Vec<ResetEvent>, Result<(), super::PcapError>) {
    let mut events = Vec::new();
    let ended = super::read(Box::new(Cursor::new(bytes)), "test.pcap", |event| events.push(event));
    (events, ended)
}

/// An IPv4 segment from 192.0.2.2:40000 to 192.0.2.1:5672, or the other way.
fn ipv4(to_broker: bool, flags: u8, seq: u32, ack: u32, ttl: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, ttl, 6, 0, 0];
    let (client, broker) = ([192, 0, 2, 2], [192, 0, 2, 1]);
    let ports: (u16, u16) = if to_broker { (40_000, 5672) } else { (5672, 40_000) };
    for address in if to_broker { [client, broker] } else { [broker, client] } {
        packet.extend(address);
    }
    packet.extend(ports.0.to_be_bytes());
    packet.extend(ports.1.to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet.extend(ack.to_be_bytes());
    packet.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    packet
}

fn frames() -> Vec<Vec<u8>> {
    vec![ipv4(true, 0x02, 100, 0, 61), ipv4(false, 0x12, 900, 101, 64), ipv4(true, 0x10, 101, 901, 61), ipv4(true, 0x14, 101, 901, 61)]
}

/// A classic capture of these packets, one a second.
fn pcap(big_endian: bool, nanoseconds: bool, linktype: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let word = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = Vec::new();
    file.extend(word(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }));
    file.extend(half(2));
    file.extend(half(4));
    for value in [0, 0, 65_535, linktype] {
        file.extend(word(value));
    }
    for (number, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        for value in [1_000 + number, if nanoseconds { 5_000 } else { 5 }, length, length] {
            file.extend(word(value));
        }
        file.extend(frame);
    }
    file
}

fn pcapng(big_endian: bool, frames: &[Vec<u8>], direction: u32) -> Vec<u8> {
    let word = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut file = Vec::new();
    let mut block = |kind: u32, mut body: Vec<u8>| {
        while !body.len().is_multiple_of(4) {
            body.push(0);
        }
        let length = word(u32::try_from(body.len() + 12).unwrap());
        file.extend(word(kind));
        file.extend(length);
        file.extend(body);
        file.extend(length);
    };
    let mut section = word(0x1a2b_3c4d).to_vec();
    section.extend(half(1));
    section.extend(half(0));
    section.extend([0xff; 8]);
    block(0x0a0d_0d0a, section);
    let mut interface = half(101).to_vec();
    interface.extend(half(0));
    interface.extend(word(0));
    // if_tsresol: nanoseconds.
    interface.extend(half(9));
    interface.extend(half(1));
    interface.extend([9, 0, 0, 0]);
    block(1, interface);
    block(5, vec![0; 8]);
    for (number, frame) in (0_u64..).zip(frames) {
        let ticks = (1_000 + number) * 1_000_000_000 + 5_000;
        let mut packet = Vec::new();
        let length = u32::try_from(frame.len()).unwrap();
        for value in [0, u32::try_from(ticks >> 32).unwrap(), u32::try_from(ticks & 0xffff_ffff).unwrap(), length, length] {
            packet.extend(word(value));
        }
        packet.extend(frame);
        packet.extend(half(2));
        packet.extend(half(4));
        packet.extend(word(direction));
        block(6, packet);
    }
    file
}

/// The link headers that carry the packets.
fn linked(linktype: u32) -> Vec<Vec<u8>> {
    let header: Vec<u8> = match linktype {
        0 => vec![2, 0, 0, 0],
        1 => [[0x02; 12].as_slice(), &[0x81, 0, 0, 7, 0x08, 0]].concat(),
        113 => [[0, 0, 0, 1, 0, 6].as_slice(), &[2; 8], &[0x08, 0]].concat(),
        276 => [[0x08, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6].as_slice(), &[2; 8]].concat(),
        _ => Vec::new(),
    };
    // Padding, as Ethernet adds it: no payload.
    frames().into_iter().map(|packet| [header.as_slice(), &packet, &[0; 6]].concat()).collect()
}

fn check(what: &str, bytes: Vec<u8>) {
    let (events, ended) = read(bytes);
    assert!(ended.is_ok(), "{what}: {ended:?}");
    let [event] = events.as_slice() else { unreachable!("{what}: {} events", events.len()) };
    let packet = event.packet.as_ref().unwrap();
    assert_eq!((packet.frame, packet.seq, packet.flags.as_str()), (Some(4), 101, "R."), "{what}");
    assert_eq!(event.timestamp.as_nanosecond(), 1_003_000_005_000, "{what}");
    assert_eq!((event.direction, event.network.local.port), (Direction::Received, 5672), "{what}");
    assert!(event.host.is_none() && event.process.is_none());
}

#[test]
fn every_format_gives_the_same() {
    for big_endian in [false, true] {
        for nanoseconds in [false, true] {
            check("raw IP", pcap(big_endian, nanoseconds, 101, &frames()));
        }
        check("pcapng", pcapng(big_endian, &frames(), 0));
    }
    for linktype in [0, 1, 113, 276] {
        check(&format!("link type {linktype}"), pcap(false, false, linktype, &linked(linktype)));
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&pcap(false, false, 101, &frames())).unwrap();
    check("gzip", gzip.finish().unwrap());
    let zstd =
        ruzstd::encoding::compress_to_vec(pcap(false, false, 101, &frames()).as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
    check("zstd", zstd);
    // A writer that compresses in pieces, as rotating and parallel ones do.
    let whole = pcap(false, false, 101, &frames());
    let (first, second) = whole.split_at(70);
    let member = |part: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(part).unwrap();
        gzip.finish().unwrap()
    };
    check("gzip members", [member(first), member(second)].concat());
    let frame = |part: &[u8]| ruzstd::encoding::compress_to_vec(part, ruzstd::encoding::CompressionLevel::Fastest);
    check("zstd frames", [frame(first), frame(second)].concat());
}

#[test]
fn what_breaks_off_is_read_to_there() {
    let whole = pcap(false, false, 101, &frames());
    for cut in 24..whole.len() {
        let (events, ended) = read(whole.get(..cut).unwrap().to_vec());
        assert!(events.is_empty());
        let at_a_boundary = (cut - 24).is_multiple_of(56);
        assert_eq!(ended.is_ok(), at_a_boundary, "cut at {cut}");
    }
    let mut damaged = whole.clone();
    damaged.extend([0xff; 40]);
    let (events, ended) = read(damaged);
    assert_eq!(events.len(), 1);
    assert!(matches!(ended, Err(super::PcapError::Damaged { frames: 4, .. })), "{ended:?}");
}

#[test]
fn what_is_no_capture_is_refused() {
    for bytes in [Vec::new(), b"#!/bin/sh".to_vec(), vec![0; 100]] {
        assert!(matches!(read(bytes).1, Err(super::PcapError::NotACapture { .. })));
    }
    assert!(matches!(read(pcap(false, false, 9999, &frames())).1, Err(super::PcapError::LinkType { linktype: 9999, .. })));
}

#[test]
fn marks_of_direction_decide_which_end_is_local() {
    // All four leave the capturing host only if it were both ends: the client's three outvote.
    let (events, _) = read(pcapng(false, &frames(), 2));
    assert_eq!(events.first().map(|event| event.direction), Some(Direction::Sent));
    let (events, _) = read(pcapng(false, &frames(), 1));
    assert_eq!(events.first().map(|event| event.direction), Some(Direction::Received));
}

#[test]
fn fragments_are_no_segments() {
    let mut later = ipv4(true, 0x04, 1, 0, 61);
    later.splice(6..8, [0x20, 5]);
    let (events, ended) = read(pcap(false, false, 101, &[later]));
    assert!(events.is_empty() && ended.is_ok());
}

/// The labelled captures beside the repository, where they are.
fn labelled() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?.join("shared/data/injected-resets");
    shared.join("labels.tsv").is_file().then_some(shared)
}

#[test]
fn labelled_captures_are_told_apart() {
    let Some(folder) = labelled() else {
        eprintln!("skipped: ../shared/data/injected-resets is not there");
        return;
    };
    let labels = std::fs::read_to_string(folder.join("labels.tsv")).unwrap();
    let mut kinds: BTreeMap<(String, u64), OriginKind> = BTreeMap::new();
    let mut counts: BTreeMap<(String, OriginKind), u32> = BTreeMap::new();
    for line in labels.lines().skip(1) {
        let [file, frame, origin] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        if !kinds.keys().any(|(known, _)| known == file) {
            let (events, ended) = read(std::fs::read(folder.join(file)).unwrap());
            assert!(ended.is_ok(), "{file}");
            kinds.extend(events.iter().map(|event| ((file.to_owned(), event.packet.as_ref().unwrap().frame.unwrap()), event.origin.kind)));
        }
        let kind = *kinds.get(&(file.to_owned(), frame.parse().unwrap())).unwrap();
        *counts.entry((origin.to_owned(), kind)).or_default() += 1;
    }
    println!("{counts:?}");
    let total = |origin: &str| counts.iter().filter(|((of, _), _)| of == origin).map(|(_, count)| count).sum::<u32>();
    let accused = |origin: &str| counts.get(&(origin.to_owned(), OriginKind::Middlebox)).copied().unwrap_or(0);
    assert!(total("injected") > 100 && total("genuine") > 100, "{counts:?}");
    assert_eq!(accused("genuine"), 0, "{counts:?}");
    assert!(accused("injected") * 100 >= total("injected") * 95, "{counts:?}");
}

proptest! {
    #[test]
    fn no_file_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u8..6) {
        let mut file = match kind {
            0 => pcap(false, false, 1, &[]),
            1 => pcap(true, true, 113, &[]),
            2 => pcapng(false, &[], 0),
            3 => vec![0x1f, 0x8b, 8],
            4 => vec![0x28, 0xb5, 0x2f, 0xfd],
            _ => Vec::new(),
        };
        file.extend(&bytes);
        let _ = read(file);
        for linktype in [0, 1, 101, 113, 276] {
            let _ = read(pcap(false, false, linktype, std::slice::from_ref(&bytes)));
        }
    }

    #[test]
    fn no_changed_byte_makes_it_panic(at in 0_usize..500, to in any::<u8>()) {
        for mut file in [pcap(false, false, 1, &linked(1)), pcapng(false, &frames(), 1), pcap(false, false, 276, &linked(276))] {
            if let Some(byte) = file.get_mut(at) {
                *byte = to;
            }
            let _ = read(file);
        }
    }
}
