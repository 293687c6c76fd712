//! What was spoken on captured connections.

use super::{ipv4, pcap, read};
use crate::{
    amqp::tests::{
        HEADER,
        script::{close, method, open, start, start_ok, tune},
    },
    event::{AmqpPhase, AmqpRole, ResetEvent, TlsStage},
};

/// A connection that ends in a RST of the client's, by what was said on it: (by the client, bytes).
fn connection(syn: bool, said: &[(bool, Vec<u8>)], snapshot_length: usize) -> ResetEvent {
    let (mut client, mut broker) = (101_u32, 901_u32);
    let mut frames = vec![ipv4(false, 0x12, 900, 101, 64), ipv4(true, 0x10, client, broker, 61)];
    if syn {
        frames.insert(0, ipv4(true, 0x02, 100, 0, 61));
    }
    for (by_client, bytes) in said {
        let (seq, ack) = if *by_client { (&mut client, broker) } else { (&mut broker, client) };
        let mut packet = ipv4(*by_client, 0x18, *seq, ack, 61);
        let length = u16::try_from(bytes.len()).unwrap();
        *seq += u32::from(length);
        packet.splice(2..4, (40 + length).to_be_bytes());
        packet.extend(bytes);
        packet.truncate(snapshot_length);
        frames.push(packet);
    }
    frames.push(ipv4(true, 0x14, client, broker, 61));
    let (mut events, ended) = read(pcap(false, false, 101, &frames));
    assert!(ended.is_ok() && events.len() == 1);
    events.remove(0)
}

fn conversation() -> Vec<(bool, Vec<u8>)> {
    vec![
        (true, HEADER.to_vec()),
        (false, start()),
        (true, start_ok()),
        (false, tune(30, 60)),
        (true, [tune(31, 10), open(b"prod")].concat()),
        (false, method(41, &[0])),
        (false, close(320, b"CONNECTION_FORCED", (0, 0))),
    ]
}

#[test]
fn amqp_is_told() {
    for syn in [true, false] {
        let amqp = connection(syn, &conversation(), usize::MAX).amqp.unwrap();
        assert_eq!((&*amqp.version, amqp.role, amqp.phase), ("0-9-1", AmqpRole::Broker, Some(AmqpPhase::Closing)));
        assert_eq!((amqp.heartbeat_s, amqp.vhost.as_deref()), (Some(10), Some("prod")));
        let close = amqp.close.unwrap();
        assert_eq!((close.from, close.code, close.text.as_deref()), (AmqpRole::Broker, 320, Some("CONNECTION_FORCED")));
    }
}

#[test]
fn a_short_snapshot_tells_less() {
    // 40 bytes of headers, and 20 of payload: `tune-ok` is there, `open` after it and the text of
    // `close` are not.
    let amqp = connection(true, &conversation(), 60).amqp.unwrap();
    assert_eq!((amqp.heartbeat_s, amqp.vhost, amqp.close), (Some(10), None, None));
}

#[test]
fn other_protocols_are_told_apart() {
    let http = connection(true, &[(true, b"GET / HTTP/1.0\r\n\r\n".to_vec())], usize::MAX);
    assert!(http.amqp.is_none() && http.tls.is_none());
    let hello = [&[22, 3, 1, 0, 200][..], &[1; 200]].concat();
    let tls = connection(true, &[(true, hello), (false, vec![21, 3, 3, 0, 2, 2, 40])], usize::MAX).tls.unwrap();
    assert_eq!((tls.stage, tls.alert_sent, tls.alert_received), (TlsStage::ClientHello, Some(true), Some(false)));
    let amqp10 = connection(true, &[(true, b"AMQP\x03\x01\x00\x00".to_vec())], usize::MAX).amqp.unwrap();
    assert_eq!((&*amqp10.version, amqp10.phase), ("1.0", None));
}

#[test]
fn the_middle_of_a_conversation_tells_nothing() {
    let said: Vec<_> = conversation().into_iter().skip(3).collect();
    assert!(connection(true, &said, usize::MAX).amqp.is_none());
}
