#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs::File,
    io::{IoSliceMut, Read as _, Seek as _},
    mem::MaybeUninit,
    os::unix::net::UnixDatagram,
};

use rustix::{
    fs::{SealFlags, fcntl_get_seals},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};

use super::{Journal, Post as _, encode};
use crate::{event::Event, output::sink::item::Item};

fn reset(message: &str) -> Item {
    let event: Event = serde_json::from_str(include_str!("../../../../testdata/events/rst.json")).unwrap();
    let Event::Rst(mut reset) = event else { unreachable!("the file is of a reset") };
    reset.message = message.to_owned();
    Item::new(Event::Rst(reset))
}

/// Takes a message apart as the protocol says.
fn parse(mut rest: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut fields = BTreeMap::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let (name, value, length) = if let Some(equals) = rest[..end].iter().position(|byte| *byte == b'=') {
            (&rest[..equals], &rest[equals + 1..end], end + 1)
        } else {
            let length = usize::try_from(u64::from_le_bytes(rest[end + 1..end + 9].try_into().unwrap())).unwrap();
            assert_eq!(rest[end + 9 + length], b'\n');
            (&rest[..end], &rest[end + 9..end + 9 + length], end + 10 + length)
        };
        rest = &rest[length..];
        let name = String::from_utf8(name.to_vec()).unwrap();
        // Otherwise the journal throws the field away.
        assert!(name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        assert!(!name.starts_with(['_', '0']));
        assert!(fields.insert(name, value.to_vec()).is_none());
    }
    fields
}

#[test]
fn fields_are_what_resets_are_looked_for_by() {
    let item = reset("was reset");
    let fields = parse(&encode(&item));
    for (name, value) in [
        ("MESSAGE", "was reset"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", "rstblame"),
        ("MESSAGE_ID", "327bf0963e074068a656f6da7870ea0d"),
        ("RSTBLAME_EVENT", "rst"),
    ] {
        assert_eq!(fields[name], value.as_bytes(), "{name}");
    }
    let Event::Rst(event) = item.event() else { unreachable!("a reset") };
    assert_eq!(fields["RSTBLAME_PEER_ADDRESS"], event.network.peer.address.to_string().as_bytes());
    assert_eq!(serde_json::from_slice::<Event>(&fields["RSTBLAME_JSON"]).unwrap(), *item.event());
}

#[test]
fn a_value_with_a_newline_is_sent_with_its_length() {
    let fields = parse(&encode(&reset("first\nPRIORITY=0\nsecond")));
    assert_eq!(fields["MESSAGE"], b"first\nPRIORITY=0\nsecond");
    assert_eq!(fields["PRIORITY"], b"4");
}

#[test]
fn the_other_events_have_a_message_too() {
    for text in [
        include_str!("../../../../testdata/events/agent_started.json"),
        include_str!("../../../../testdata/events/events_lost.json"),
        include_str!("../../../../testdata/events/agent_stopped.json"),
        include_str!("../../../../testdata/events/rst_suppressed.json"),
    ] {
        let fields = parse(&encode(&Item::new(serde_json::from_str(text).unwrap())));
        assert!(!fields["MESSAGE"].is_empty() && fields["MESSAGE_ID"].len() == 32);
    }
}

#[test]
fn what_is_too_long_for_a_datagram_comes_as_a_sealed_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let mut journal = Journal::new(&path);
    // Larger than any buffer a datagram socket is given.
    let long = "x".repeat(40 << 20);
    journal.post(&reset(&long)).unwrap();

    let mut data = [0_u8; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(&receiver, &mut [IoSliceMut::new(&mut data)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert_eq!(received.bytes, 0);
    let descriptor = control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .unwrap();
    let seals = fcntl_get_seals(&descriptor).unwrap();
    assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL));
    let mut file = File::from(descriptor);
    let mut message = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut message).unwrap();
    assert_eq!(parse(&message)["MESSAGE"], long.as_bytes());
}
