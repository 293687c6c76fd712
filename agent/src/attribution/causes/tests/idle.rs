use super::*;
use crate::{flow::idle::Learnt, model::OriginKind};

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
        // Whatever the silence is, heartbeats of 60 s were to keep it short: something else is
        // wrong.
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
    let wire = convict(bare_answer(63, seconds(77), true));
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

/// A box that signs its RSTs cut a connection after this silence, with this heartbeat.
fn convicted(heartbeat: u16, silence: Duration) -> Reset {
    let wire = convict(bare_answer(63, silence, true));
    Reset { wire: Some(Box::new(wire)), ..cut(Some(heartbeat), 0, 63) }
}

fn on_the_wire(reset: Reset, change: impl FnOnce(&mut Wire)) -> Reset {
    let mut wire = reset.wire.clone();
    if let Some(wire) = &mut wire {
        change(wire);
    }
    Reset { wire, ..reset }
}

#[test]
fn where_a_silence_begins_to_explain() {
    let just_short = Duration::from_millis(9_999);
    let in_order = Reset { amqp: Some(Box::new(closed(Side::Local, 200, "bye"))), ..convicted(0, seconds(77)) };
    let of_no_template = |silence| on_the_wire(convicted(0, silence), |wire| wire.rst.payload = 28);
    let unsigned = on_the_wire(of_no_template(seconds(350)), |wire| {
        wire.receiver.ip_ids.recent = crate::flow::wire::Ring::default();
        wire.rst.ip_id = Some(0);
    });
    check([
        ("ten seconds", convicted(0, seconds(10)), IDLE),
        ("less", convicted(0, just_short), "state_lost warning"),
        ("a heartbeat was due just then", convicted(77, seconds(77)), "state_lost warning"),
        ("a heartbeat was due a second later", convicted(78, seconds(77)), IDLE),
        // A FIN says that an end had a reason of its own.
        ("after the peer's FIN", on_the_wire(convicted(0, seconds(77)), |wire| wire.sender.fin = true), "state_lost warning"),
        ("after this end's FIN", on_the_wire(convicted(0, seconds(77)), |wire| wire.receiver.fin = true), "state_lost warning"),
        ("AMQP had taken leave", in_order, "routine_close info"),
        ("the RST broke the silence, a shipped default", of_no_template(seconds(350)), IDLE),
        ("the RST broke the silence, no default", of_no_template(seconds(77)), "injected warning"),
        // Neither the silence nor the shape convicts anything by itself.
        ("a shipped default, nobody convicted", unsigned, "unknown warning"),
        ("no silence", on_the_wire(convicted(0, seconds(77)), |wire| wire.silence = None), "state_lost warning"),
    ]);
}

#[test]
fn how_sure_and_how_it_goes() {
    let taught = |repeats, on_next_segment| {
        let learnt = Learnt { timeout: seconds(61), repeats, spread: Duration::ZERO, on_next_segment };
        attribute(&Reset { learnt_idle: Some(Box::new(learnt)), ..cut(None, 61, 62) }).cause
    };
    assert_eq!((taught(4, true).confidence, taught(5, true).confidence), (Some(0.9), Some(0.95)));
    assert!(taught(3, true).summary.contains("the first segment after it is answered by a RST"));
    assert!(taught(3, false).summary.contains("the RST comes when it ends"));
    assert!(!taught(3, true).summary.contains("default of"));
}

#[test]
fn advice_is_for_the_device_that_fits() {
    let advice = |timeout| attribute(&taught(timeout, cut(Some(0), timeout, 62))).cause.advice.unwrap();
    assert!(advice(350).contains("tcp.idle_timeout.seconds"), "{}", advice(350));
    assert!(advice(300).ends_with(", or raise the idle timeout of the device"), "{}", advice(300));
    assert!(advice(61).ends_with("in the URI)"), "no device is known with 61 s: {}", advice(61));
    // Half of it, rounded down; and where half is longer than RabbitMQ's default, that.
    assert!(advice(121).starts_with("set heartbeat=60: half of the 121 s"), "{}", advice(121));
    assert!(advice(122).starts_with("set heartbeat=60: at most 61, half of the 122 s"), "{}", advice(122));
    let agreed = |heartbeat| attribute(&taught(61, cut(Some(heartbeat), 61, 62))).cause.advice.unwrap();
    assert!(agreed(30).starts_with("find out which end sent no heartbeats"), "{}", agreed(30));
    assert!(agreed(31).starts_with("set heartbeat=30"), "{}", agreed(31));
    let evidence = attribute(&taught(61, cut(Some(0), 61, 62))).evidence;
    let heartbeat = evidence.iter().find(|evidence| evidence.signal == "heartbeat").unwrap();
    assert_eq!(heartbeat.detail, "heartbeat 0 (off) agreed on; 61.0 s of silence");
}

#[test]
fn heartbeats_as_long_as_the_timeout_should_have_come() {
    let summary = |heartbeat| attribute(&taught(61, cut(Some(heartbeat), 61, 62))).cause.summary;
    assert!(summary(61).contains("did not come"), "{}", summary(61));
    assert!(summary(62).contains("62 s is longer than that"), "{}", summary(62));
}

/// A known proxy ends a connection: when it was for want of payload.
#[test]
fn a_known_proxy_is_not_blamed_for_what_it_had_another_reason_for() {
    let ended = |heartbeat: Option<u16>, silence: Duration| {
        let last_payload = LastSeen { local: Some(silence), peer: Some(silence + seconds(1)) };
        let conversation = Conversation { heartbeat, last_payload, ..open() };
        Reset { known_middlebox: Some("lb-1".to_owned()), ..arrives(Role::Client, Some(conversation)) }
    };
    let with_close = |reset: Reset| {
        let amqp = reset.amqp.map(|it| Box::new(Conversation { close: Some(close(Side::Peer, 320, "CONNECTION_FORCED - x")), ..*it }));
        Reset { amqp, ..reset }
    };
    let one_way = |reset: Reset| {
        let amqp = reset.amqp.map(|it| Box::new(Conversation { last_payload: LastSeen { peer: None, ..it.last_payload }, ..*it }));
        Reset { amqp, ..reset }
    };
    let off = |silence| ended(Some(0), silence);
    check([
        ("ten seconds", off(seconds(10)), IDLE),
        ("less", off(Duration::from_millis(9_999)), "peer_aborted warning"),
        ("a heartbeat was due just then", ended(Some(31), seconds(31)), "peer_aborted warning"),
        ("a heartbeat was due a second later", ended(Some(32), seconds(31)), IDLE),
        ("heartbeats are not known", ended(None, seconds(31)), "peer_aborted warning"),
        ("one direction was not seen", one_way(off(seconds(31))), "peer_aborted warning"),
        ("the broker behind it had closed", with_close(off(seconds(31))), "forced_close warning"),
        ("this host had closed, by its packets", on_the_wire(off(seconds(31)), |wire| wire.receiver.fin = true), "peer_aborted warning"),
        ("this host had closed, by its socket", Reset { state: Some(TcpState::FinWait2), ..off(seconds(31)) }, "routine_close info"),
        (
            "a bare answer is no decision of a program",
            on_the_wire(off(seconds(31)), |wire| wire.rst = bare_answer(61, seconds(31), true).rst),
            "peer_gone warning",
        ),
    ]);
}
