use super::*;
use crate::{
    event::OriginKind,
    flow::{idle::Learnt, wire::VendorText},
};

/// A bare answer to the first segment after so much silence, on a conversation with this heartbeat.
fn cut(heartbeat: Option<u16>, silence: u64, ttl: u8) -> Reset {
    Reset {
        wire: Some(Box::new(bare_answer(ttl, seconds(silence), true))),
        ..arrives(Role::Client, heartbeat.map(|heartbeat| Conversation { heartbeat: Some(heartbeat), ..open() }))
    }
}

fn taught(timeout: u64, reset: Reset) -> Reset {
    let learnt = Learnt { timeout: seconds(timeout), repeats: 5, spread: Duration::from_millis(300), on_next_segment: true };
    Reset { learnt_idle: Some(Box::new(learnt)), ..reset }
}

const IDLE: &str = "idle_timeout warning";

#[test]
fn silence_that_nothing_interrupted_is_an_idle_timeout() {
    check([
        ("learnt, heartbeats off", taught(350, cut(Some(0), 350, 62)), IDLE),
        ("learnt, AMQP not seen", taught(350, cut(None, 350, 62)), IDLE),
        ("learnt, heartbeat too long", taught(61, cut(Some(600), 61, 62)), IDLE),
        ("learnt, another silence", taught(350, cut(Some(0), 200, 61)), "peer_gone warning"),
        ("a shipped default, heartbeats off", cut(Some(0), 350, 61), IDLE),
        ("a shipped default, heartbeat longer", cut(Some(580), 350, 61), IDLE),
        // Whatever the silence is, heartbeats of 60 s were to keep it short: something else is wrong.
        ("a shipped default, heartbeat shorter", cut(Some(60), 350, 61), "peer_gone warning"),
        ("no default, heartbeats off", cut(Some(0), 77, 61), "peer_gone warning"),
        ("a shipped default, AMQP not seen", cut(None, 350, 61), "peer_gone warning"),
    ]);
}

#[test]
fn a_program_has_timers_too() {
    let aborted = |known: Option<&str>| {
        let wire = Wire { silence: Some(Silence { length: seconds(350), broken_by_receiver: false }), ..abort_of_a_socket() };
        let reset = Reset { wire: Some(Box::new(wire)), known_middlebox: known.map(ToOwned::to_owned), ..arrives(Role::Client, None) };
        taught(350, reset)
    };
    check([("a peer", aborted(None), "peer_aborted warning"), ("a proxy that is known", aborted(Some("haproxy-1")), IDLE)]);
    let advice = attribute(&aborted(Some("haproxy-1"))).cause.advice.unwrap();
    assert!(advice.contains("timeout client"), "{advice}");
}

#[test]
fn heartbeats_are_named_as_the_reason() {
    let cause = |heartbeat, timeout| attribute(&taught(timeout, cut(heartbeat, timeout, 62))).cause;
    for (heartbeat, says) in [(Some(0), "heartbeats are off"), (Some(600), "600 s is longer"), (Some(20), "did not come")] {
        let cause = cause(heartbeat, 61);
        assert!(cause.summary.contains(says), "{heartbeat:?}: {}", cause.summary);
    }
    assert!(!cause(None, 61).summary.contains("heartbeat"), "nothing is known of it");
    let advice = cause(Some(0), 61).advice.unwrap();
    assert!(advice.starts_with("set heartbeat=30: half of the 61 s learnt"), "{advice}");
    assert!(advice.contains("ConnectionParameters(heartbeat=30)"), "{advice}");
    let advice = cause(Some(0), 350).advice.unwrap();
    assert!(advice.starts_with("set heartbeat=60: at most 175"), "{advice}");
    let advice = cause(Some(20), 61).advice.unwrap();
    assert!(advice.starts_with("find out which end sent no heartbeats"), "{advice}");
}

#[test]
fn a_box_that_is_convicted_needs_no_default() {
    let wire = Wire { text: VendorText::recognise(b"BIG-IP: [0x1:7] Flow expired"), ..bare_answer(63, seconds(77), true) };
    let with = |heartbeat| Reset { wire: Some(Box::new(wire.clone())), ..cut(Some(heartbeat), 77, 63) };
    assert_eq!(attribute(&with(0)).origin.kind, OriginKind::Middlebox);
    check([("heartbeats off", with(0), IDLE), ("heartbeats on", with(60), "state_lost warning")]);
}

#[test]
fn a_known_proxy_need_not_have_done_it_before() {
    let ended = |known: Option<&str>, heartbeat, silence, fin: bool| {
        let silence = Some(seconds(silence));
        let last_payload = LastSeen { local: silence, peer: silence };
        let mut wire = abort_of_a_socket();
        wire.sender.fin = fin;
        let state = Some(if fin { TcpState::CloseWait } else { TcpState::Established });
        let conversation = Conversation { heartbeat: Some(heartbeat), last_payload, ..open() };
        Reset {
            wire: Some(Box::new(wire)),
            known_middlebox: known.map(ToOwned::to_owned),
            state,
            ..arrives(Role::Client, Some(conversation))
        }
    };
    let known = Some("lb-1");
    check([
        ("heartbeats off", ended(known, 0, 11, false), IDLE),
        ("a FIN just before", ended(known, 0, 11, true), IDLE),
        ("heartbeat too long", ended(known, 60, 31, false), IDLE),
        ("heartbeat that would have come", ended(known, 5, 31, false), "peer_aborted warning"),
        ("a pause", ended(known, 0, 9, false), "peer_aborted warning"),
        ("a peer", ended(None, 0, 11, false), "peer_aborted warning"),
    ]);
    let summary = attribute(&ended(known, 0, 11, true)).cause.summary;
    assert!(summary.contains("lb-1") && summary.contains("heartbeats are off"), "{summary}");
}
