//! Resets of owners that ended, and resets that were seen at both ends.

use std::net::SocketAddr;

use super::*;
use crate::{
    flow::{LocalSender, wire::Segment},
    model::{Direction, Route},
};

const SECOND_NS: u64 = 1_000_000_000;

/// A process that ended a millisecond before second 10.
fn end() -> ProcessEnd {
    ProcessEnd { code: None, signal: None, core_dumped: false, oom: false, sent_by: None, at_ns: 10 * SECOND_NS - 1_000_000 }
}

/// The RST of a `close()` that the kernel did for an owner that ended, at second 10.
fn ended(end: ProcessEnd) -> Reset {
    let tcp = TcpFacts { unread_bytes: 8, ..TcpFacts::default() };
    let owner = Task { end: Some(end), ..beam() };
    Reset { boottime_ns: 10 * SECOND_NS, reason: reason("TCP_ABORT_ON_CLOSE"), actor: Some(owner), ..closed(owned(), tcp) }
}

fn by_signal(number: u8) -> ProcessEnd {
    ProcessEnd { signal: Some(number), ..end() }
}

fn python() -> Task {
    Task { comm: "python3".to_owned(), ..beam() }
}

fn exits(status: u8, owner: Task, role: Role) -> Reset {
    let end = ProcessEnd { code: Some(status), ..end() };
    Reset { actor: Some(Task { end: Some(end.clone()), ..owner }), role, ..ended(end) }
}

#[test]
fn an_owner_that_ended_did_not_close() {
    let killed = ProcessEnd { sent_by: Some((1, "systemd".to_owned())), ..by_signal(9) };
    let too_late = ProcessEnd { at_ns: 11 * SECOND_NS, ..by_signal(9) };
    let by_another_path = Reset { reason: reason("TCP_STATE"), closed_first: false, ..ended(by_signal(9)) };
    check([
        ("SIGKILL", ended(killed), "connection_reset local_process process_killed error"),
        ("SIGTERM", ended(by_signal(15)), "connection_reset local_process process_killed error"),
        ("out-of-memory killer", ended(ProcessEnd { oom: true, ..by_signal(9) }), "connection_reset local_process process_killed error"),
        ("SIGSEGV", ended(by_signal(11)), "connection_reset local_process process_crashed error"),
        ("SIGABRT", ended(by_signal(6)), "connection_reset local_process process_crashed error"),
        ("the broker exits", exits(0, beam(), Role::Broker), "connection_reset local_process broker_shutdown warning"),
        ("a client exits", exits(0, python(), Role::Client), "connection_reset local_process process_exited warning"),
        ("a client exits with an error", exits(1, python(), Role::Client), "connection_reset local_process process_exited warning"),
        // A shovel or federation link is a client of another broker.
        ("RabbitMQ as a client exits", exits(1, beam(), Role::Client), "connection_reset local_process process_exited warning"),
        ("another broker exits", exits(1, python(), Role::Broker), "connection_reset local_process process_exited warning"),
        ("ended only afterwards", ended(too_late), "connection_reset local_process close_with_unread_data warning"),
        // The task on the CPU is not the owner of a socket that was destroyed.
        ("ss -K, itself killed", by_another_path, "connection_reset local_host socket_destroyed warning"),
    ]);
}

#[test]
fn the_evidence_says_how_it_ended_and_by_whom() {
    let killed = ProcessEnd { sent_by: Some((1, "systemd".to_owned())), ..by_signal(9) };
    let verdict = attribute(&ended(killed));
    let evidence = verdict.evidence.iter().find(|evidence| evidence.signal == "owner_ended").unwrap();
    assert_eq!(evidence.detail, "beam.smp (pid 4312) was ended by SIGKILL, sent by systemd (pid 1), 1 ms before the RST");
    assert_eq!(verdict.cause.summary, "beam.smp (pid 4312) was ended by SIGKILL sent by systemd (pid 1)");
}

#[test]
fn data_after_the_owner_ended_is_blamed_on_its_end() {
    let reset = Reset {
        boottime_ns: 10 * SECOND_NS,
        closed_first: true,
        reason: reason("TCP_ABORT_ON_DATA"),
        remembered: Some((Task { end: Some(by_signal(9)), ..beam() }, KnownFrom::Close)),
        ..answered(SocketKind::Connection, 0x18)
    };
    let opener = Reset { remembered: Some((Task { end: Some(by_signal(9)), ..beam() }, KnownFrom::Connect)), ..reset.clone() };
    check([
        ("its kernel sent the FIN", reset, "connection_reset local_process process_killed error"),
        // Who opened a connection need not be who held it.
        ("it only opened the connection", opener, "connection_reset local_process data_after_close warning"),
    ]);
}

#[test]
fn a_reset_seen_leaving_the_other_end_is_settled() {
    let pair = |direction| Some(Pair { id: "test-2".to_owned(), direction, active: true, process: Some((7, "python3".to_owned(), None)) });
    let received = Reset { direction: Direction::Received, active: false, ..testing::reset() };
    let settled = Reset { pair: pair(Direction::Sent), ..received.clone() };
    let both_received = Reset { pair: pair(Direction::Received), ..received };
    check([
        ("seen leaving", settled.clone(), "connection_reset remote_peer unknown warning"),
        // Both ends received one: something between sent it.
        ("seen arriving there too", both_received, "connection_reset unknown unknown warning"),
    ]);
    // Whatever its packet looks like: somebody sent it there.
    let it = linux::Linux::new(61, 6);
    let forged = it.wire(&Segment { ip_id: Some(1), dont_fragment: Some(false), window: 8192, ..it.answer(255) });
    let looks_forged = |pair| {
        let wire = Some(Box::new(forged.clone()));
        attribute(&Reset { pair, wire, direction: Direction::Received, active: false, ..testing::reset() }).origin.kind
    };
    assert_eq!(looks_forged(pair(Direction::Sent)), OriginKind::RemotePeer);
    assert_eq!(looks_forged(None), OriginKind::Middlebox);
    let verdict = attribute(&settled);
    let evidence = verdict.evidence.iter().find(|evidence| evidence.signal == "pair").unwrap();
    assert_eq!(evidence.detail, "the other end is on this host, owned by python3 (pid 7); the RST was sent there (event test-2)");
}

/// A socket of this host has the peer's address, and what it sends comes over `lo`.
#[test]
fn a_transparent_proxy_is_told_and_not_the_peer() {
    let it = linux::Linux::new(64, 6);
    let over = |interface: &str, peer_is_local| {
        let mut wire = it.wire(&it.answer(64));
        wire.way = Some(Route { interface: Some(interface.to_owned()), peer_is_local, ..Route::default() });
        Some(Box::new(wire))
    };
    let pair = |direction, active| Some(Pair { id: "test-2".to_owned(), direction, active, process: Some((7, "envoy".to_owned(), None)) });
    let received = || Reset { direction: Direction::Received, active: false, role: Role::Client, ..testing::reset() };
    let transparent = Reset { pair: pair(Direction::Sent, true), wire: over("lo", false), ..received() };
    let told = |mut reset: Reset| {
        reset.sender = reset.stand_in().map(Box::new);
        attribute(&reset).origin.kind
    };
    assert_eq!(told(transparent.clone()), OriginKind::LocalProcess);
    assert_eq!(told(Reset { pair: pair(Direction::Sent, false), ..transparent.clone() }), OriginKind::LocalHost, "its kernel answered");
    for reset in [
        Reset { wire: over("lo", true), ..transparent.clone() },
        Reset { wire: over("eth0", false), ..transparent.clone() },
        Reset { pair: pair(Direction::Received, true), ..transparent },
    ] {
        assert_eq!(reset.stand_in(), None);
    }
}

#[test]
fn what_answers_in_the_peers_name_on_this_host_is_told_and_not_the_peer() {
    let sender = |task: Option<Task>| {
        let end = SocketAddr::new([127, 0, 0, 1].into(), 15_001);
        Some(Box::new(LocalSender { end, netns: Some(1), task, process: None, apart: Duration::from_micros(40) }))
    };
    let proxy = || Task { pid: 77, start_boottime_ns: Some(1), comm: "envoy".to_owned(), uid: 1337, end: None };
    let received = Reset { direction: Direction::Received, active: false, role: Role::Client, ..testing::reset() };
    let sidecar = Reset { sender: sender(Some(proxy())), ..received.clone() };
    check([
        ("a process", sidecar.clone(), "connection_reset local_process peer_aborted warning"),
        ("nobody for certain", Reset { sender: sender(None), ..received.clone() }, "connection_reset local_host peer_aborted warning"),
        // Whose address the peer's is does not matter: nothing of this reset came from there.
        (
            "the address of a load balancer",
            Reset { known_middlebox: Some("lb-1".to_owned()), ..sidecar.clone() },
            "connection_reset local_process peer_aborted warning",
        ),
    ]);
    let verdict = attribute(&sidecar);
    assert_eq!(verdict.origin.possible, [OriginKind::LocalProcess]);
    assert!(verdict.cause.summary.starts_with("envoy (pid 77), which answers on this host in the name of"), "{}", verdict.cause.summary);
    // Whatever its packet looks like, and whatever came first.
    let it = linux::Linux::new(61, 6);
    for wire in [it.wire(&it.answer(255)), it.wire(&Segment { window: 8192, ..it.answer(61) })] {
        let seen = Reset { wire: Some(Box::new(wire)), ..sidecar.clone() };
        assert_eq!(attribute(&seen).origin.kind, OriginKind::LocalProcess);
    }
}

#[test]
fn what_came_over_loopback_in_a_strangers_name_was_made_here() {
    let it = linux::Linux::new(64, 0);
    let over = |interface: &str, peer_is_local| {
        let mut wire = it.wire(&it.answer(64));
        wire.way = Some(Route { interface: Some(interface.to_owned()), peer_is_local, ..Route::default() });
        Reset { direction: Direction::Received, active: false, wire: Some(Box::new(wire)), ..testing::reset() }
    };
    let kind = |reset: &Reset| attribute(reset).origin.kind;
    assert_eq!(kind(&over("lo", false)), OriginKind::LocalHost);
    for elsewhere in [over("lo", true), over("eth0", false)] {
        assert_ne!(kind(&elsewhere), OriginKind::LocalHost, "{elsewhere:?}");
    }
}
