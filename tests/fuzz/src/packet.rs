//! Frames: what was captured short says the same or less, and a VLAN tag says nothing but itself.

use rstblame::pcap::{Frame, Packet, Skip, parse};

use super::input::Input;

/// NULL, ETHERNET, RAW, `LINUX_SLL`, `LINUX_SLL2`.
const LINKS: [u32; 5] = [1, 0, 101, 113, 276];

pub fn holds(data: &[u8]) {
    let mut input = Input::new(data);
    let link = usize::from(input.byte());
    let cut = usize::from(input.byte());
    let data = input.rest();
    let linktype = LINKS[link % LINKS.len()];
    let frame = |data| Frame { number: 1, time_ns: 7, linktype, data, direction: None, interface: None };
    let whole = parse(&frame(data));
    if let Ok(packet) = &whole {
        let (within, payload) = (data.as_ptr_range(), packet.payload.as_ptr_range());
        let inside = within.start <= payload.start && payload.end <= within.end;
        assert!(packet.payload.is_empty() || inside, "the payload is not of this frame");
        assert!(packet.payload.len() <= packet.segment.payload as usize, "more payload than the IP header has");
        if linktype == 1 {
            tagged(data, packet);
        }
    }
    let short = parse(&frame(&data[..cut.min(data.len())]));
    match (&whole, &short) {
        (Ok(whole), Ok(short)) => less(short, whole),
        (Err(Skip::LinkType), short) => assert!(matches!(short, Err(Skip::LinkType))),
        // Where IP has no length of its own (an offloaded segment), that of the capture stands in:
        // a TCP header can only get too short.
        (Err(of_whole), Ok(short)) => panic!("{of_whole:?} as a whole, but cut to {cut}: {short:?}"),
        (_, Err(_)) => {}
    }
}

/// `short` says what `whole` does, or less.
fn less(short: &Packet, whole: &Packet) {
    assert_eq!((short.source, short.destination), (whole.source, whole.destination));
    let (one, other) = (&short.segment, &whole.segment);
    assert_eq!((one.seq, one.ack, one.flags, one.window), (other.seq, other.ack, other.flags, other.window));
    assert_eq!(
        (one.ttl, one.tos, one.ip_id, one.dont_fragment, one.flow_label),
        (other.ttl, other.tos, other.ip_id, other.dont_fragment, other.flow_label)
    );
    assert!(one.payload <= other.payload);
    assert!(one.timestamps.is_none() || one.timestamps == other.timestamps);
    assert!(other.options.names().starts_with(&one.options.names()));
    assert!(whole.payload.starts_with(short.payload));
}

/// With one more VLAN tag an Ethernet frame says the same.
fn tagged(data: &[u8], packet: &Packet) {
    let (addresses, rest) = data.split_at(12);
    let tagged = [addresses, &[0x81, 0, 0, 9], rest].concat();
    let frame = Frame { number: 1, time_ns: 7, linktype: 1, data: &tagged, direction: None, interface: None };
    match parse(&frame) {
        Ok(again) => {
            assert!(again.segment.vlan.is_some());
            let plain = |packet: &Packet| {
                let mut segment = packet.segment;
                segment.vlan = None;
                (packet.source, packet.destination, segment)
            };
            assert_eq!(plain(&again), plain(packet));
        }
        // Eight tags are followed, and it may have had so many.
        Err(skip) => assert!(skip == Skip::Other && packet.segment.vlan.is_some(), "{skip:?}"),
    }
}
