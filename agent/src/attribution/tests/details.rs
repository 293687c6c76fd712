//! What is said of a reset that this host sent, beyond who and why: evidence, certainty, sentences.

use super::{SocketKind as Kind, TcpState::*, *};
use crate::attribution::kernel_path::{INFERRED, NAMED};

const DATA: u16 = 0x18;

fn linger() -> SocketFacts {
    SocketFacts { linger_zero: true, ..owned() }
}

fn said(reset: &Reset, signal: &str) -> Option<String> {
    attribute(reset).evidence.into_iter().find(|evidence| evidence.signal == signal).map(|evidence| evidence.detail.into_owned())
}

#[test]
fn what_the_socket_said_is_in_evidence_and_nothing_else() {
    let unread = |unread_bytes| closed(linger(), TcpFacts { unread_bytes, ..TcpFacts::default() });
    for (bytes, detail) in [(0, None), (1, Some("1 bytes not read at close"))] {
        assert_eq!(said(&unread(bytes), "unread_data").as_deref(), detail);
    }
    assert!(said(&closed(linger(), TcpFacts::default()), "linger_zero").is_some());
    assert!(said(&closed(owned(), TcpFacts::default()), "linger_zero").is_none());
}

#[test]
fn the_out_of_memory_killer_is_named() {
    let ended = |oom| {
        let end = ProcessEnd { code: None, signal: Some(9), core_dumped: false, oom, sent_by: None, at_ns: 0 };
        Reset { actor: Some(Task { end: Some(end), ..beam() }), ..closed(owned(), TcpFacts::default()) }
    };
    let detail = |oom| said(&ended(oom), "owner_ended").unwrap();
    assert_eq!(detail(true), "beam.smp (pid 4312) was killed by the out-of-memory killer (SIGKILL), 0 ms before the RST");
    assert_eq!(detail(false), "beam.smp (pid 4312) was ended by SIGKILL, 0 ms before the RST");
}

/// `peer_spoke_just_before` is what an ordinary close of RabbitMQ looks like; of any other end it
/// says nothing.
#[test]
fn when_the_peer_last_spoke_is_told_of_ordinary_closes_only() {
    let spoke = TcpFacts { since_received: Some(Duration::from_millis(3)), ..TcpFacts::default() };
    let late =
        Reset { trigger: Some(Trigger { seq: 1, ack: 2, flags: Flags(DATA) }), tcp: Some(spoke.clone()), ..answered(Kind::None, DATA) };
    let earlier = crate::flow::Earlier { id: "test-0".to_owned(), ago: Duration::from_millis(1), routine: true };
    for (name, reset, told) in [
        ("RabbitMQ closes", closed(linger(), spoke.clone()), true),
        ("another close", Reset { actor: None, ..closed(linger(), spoke) }, false),
        ("an answer after an ordinary close", Reset { earlier: Some(Box::new(earlier)), ..late.clone() }, false),
        ("an answer", late, false),
    ] {
        assert_eq!(said(&reset, "peer_spoke_just_before").is_some(), told, "{name}: {:#?}", attribute(&reset));
    }
}

/// Who did it is as certain as the fact that proves it, and not as the path.
#[test]
fn an_answer_and_a_closed_socket_prove_the_origin_where_the_path_is_inferred() {
    let keepalive = SocketFacts { keepalive: true, ..owned() };
    for (name, reset, confidence) in [
        ("an answer without a socket", answered(Kind::None, DATA), NAMED),
        ("an answer after the socket was torn down", Reset { closed_first: true, ..answered(Kind::Connection, DATA) }, NAMED),
        ("CLOSE already", closed(linger(), TcpFacts::default()), NAMED),
        ("not closed", aborted(Established, keepalive.clone(), Some(Duration::from_secs(90))), INFERRED),
        (
            "not closed, named",
            Reset { reason: reason("TCP_KEEPALIVE_TIMEOUT"), ..aborted(Established, keepalive, Some(Duration::from_secs(90))) },
            NAMED,
        ),
    ] {
        assert_eq!(attribute(&reset).origin.confidence, Some(confidence), "{name}");
    }
}

#[test]
fn the_sentence_names_the_path() {
    let with = |text, reset| Reset { reason: reason(text), ..reset };
    let unread = |unread_bytes| closed(owned(), TcpFacts { unread_bytes, ..TcpFacts::default() });
    let nothing = || closed(owned(), TcpFacts::default());
    for (reset, summary) in [
        (with("TCP_ABORT_ON_CLOSE", unread(8)), "beam.smp (pid 4312) closed the connection with 8 received bytes unread"),
        (with("TCP_ABORT_ON_CLOSE", unread(0)), "beam.smp (pid 4312) closed the connection with received data unread"),
        (
            with("TCP_STATE", closed(linger(), TcpFacts::default())),
            "beam.smp (pid 4312) aborted the connection: it closed with SO_LINGER 0",
        ),
        (with("TCP_STATE", nothing()), "beam.smp (pid 4312) disconnected the socket, by connect() to AF_UNSPEC or an equivalent"),
        (nothing(), "beam.smp (pid 4312) closed the connection by a RST; this kernel does not say why"),
        (aborted(Established, owned(), Some(Duration::ZERO)), "this host reset the connection by itself; this kernel does not say why"),
        (with("MPTCP_RST_EBADPERF", aborted(Established, owned(), None)), "Multipath TCP reset one of its subflows (MPTCP_RST_EBADPERF)"),
        (
            Reset { trigger: None, ..answered(Kind::None, 0) },
            "a segment met no socket; whether it asked for a connection or belonged to one cannot be seen on this kernel",
        ),
        (answered(Kind::Unseen, DATA), "this kernel answered a segment with a RST"),
    ] {
        assert_eq!(attribute(&reset).cause.summary, summary);
    }
}
