#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Endings, KEPT, KEPT_ORDINARY};
use crate::{
    flow::{Act, Connection, FirstAct, Reset, TcpFacts},
    model::{ConnectionKey, Direction, Flags, KnownFrom, Role, Task, TcpState, Tuple},
    testing,
    units::nanoseconds,
};

const MS: u64 = 1_000_000;
const WINDOW: Duration = Duration::from_secs(1);
const CLOSE: Act = Act::LocalClose { shutdown: false };

fn task(pid: u32) -> Task {
    Task { pid, start_boottime_ns: Some(1), comm: "proxy".to_owned(), uid: 0, end: None }
}

/// The connection of this host to, or from, a peer whose address ends so.
fn tuple(role: Role, last: u8) -> Tuple {
    let end = |last, port| SocketAddr::new([192, 0, 2, last].into(), port);
    match role {
        Role::Broker => Tuple::new(end(1, 5672), end(last, 40_000)),
        Role::Client => Tuple::new(end(1, 40_000), end(last, 5672)),
    }
}

/// An end: by whom, of which connection, when, after how much silence.
fn ending(act: Act, pid: u32, tuple: Tuple, role: Role, at_ms: u64, silence: u64) -> Box<Reset> {
    let from = if act == CLOSE { KnownFrom::Close } else { KnownFrom::Connect };
    let silence = Some(Duration::from_millis(silence));
    let mut reset = Reset {
        id: format!("{at_ms}-{}", tuple.peer),
        direction: if act == Act::PeerClose { Direction::Received } else { Direction::Sent },
        boottime_ns: at_ms * MS,
        tuple,
        role,
        ended: true,
        sock: at_ms + 1,
        remembered: Some((task(pid), from)),
        tcp: Some(TcpFacts { since_received: silence, since_sent: silence, ..TcpFacts::default() }),
        ..testing::reset()
    };
    reset.first_act = Some(Arc::new(reset.first_act_as(act)));
    Box::new(reset)
}

/// A RST on a connection, so old.
fn rst(tuple: Tuple, at_ms: u64, age_ms: Option<u64>) -> Reset {
    let age = age_ms.map(Duration::from_millis);
    Reset { tuple, boottime_ns: at_ms * MS, connection: Some(Connection { age, active_open: false }), ..testing::reset() }
}

fn note(endings: &mut Endings, reset: Box<Reset>, told: bool) {
    endings.note(reset.key(), reset, 0, told);
}

/// Writes the line that is due.
fn tell(endings: &mut Endings, at_ms: u64) -> Arc<FirstAct> {
    let reset = endings.pop_due(at_ms * MS).unwrap().reset;
    let first = Arc::new(FirstAct { told: true, ..FirstAct::clone(reset.first_act.as_ref().unwrap()) });
    endings.replace(reset.key(), Arc::clone(&first));
    first
}

#[test]
fn an_end_without_a_rst_is_told_when_its_window_is_over() {
    let mut endings = Endings::new(WINDOW, 10);
    note(&mut endings, ending(CLOSE, 7, tuple(Role::Client, 2), Role::Client, 100, 0), true);
    assert_eq!(endings.next_due_ns(), Some(1100 * MS));
    assert!(endings.pop_due(1099 * MS).is_none());
    assert_eq!(tell(&mut endings, 1100).id, "100-192.0.2.2:5672");
    assert!(endings.pop_due(u64::MAX).is_none());
}

#[test]
fn an_end_that_a_rst_tells_of_has_no_line_of_its_own() {
    let mut endings = Endings::new(WINDOW, 10);
    let its = tuple(Role::Client, 2);
    note(&mut endings, ending(CLOSE, 7, its, Role::Client, 100, 0), true);
    let reset = rst(its, 600, Some(50_000));
    endings.reset(reset.key(), &reset);
    assert!(endings.pop_due(u64::MAX).is_none());
    assert_eq!((endings.superseded(), endings.held()), (1, 0));
    let first = endings.first_act(reset.key(), &reset).unwrap();
    assert_eq!((first.actor.as_ref().unwrap().pid, first.told), (7, false));
}

#[test]
fn a_rst_after_the_line_names_it() {
    let mut endings = Endings::new(WINDOW, 10);
    let its = tuple(Role::Client, 2);
    note(&mut endings, ending(CLOSE, 7, its, Role::Client, 100, 0), true);
    let id = tell(&mut endings, 1100).id.clone();
    let reset = rst(its, 9_000, None);
    let first = endings.first_act(reset.key(), &reset).unwrap();
    assert_eq!((first.told, &first.id), (true, &id));
}

#[test]
fn an_end_that_has_no_line_after_all_is_not_named_by_a_rst() {
    let mut endings = Endings::new(WINDOW, 10);
    let its = tuple(Role::Client, 2);
    note(&mut endings, ending(CLOSE, 7, its, Role::Client, 100, 0), true);
    assert!(endings.pop_due(1100 * MS).is_some(), "and a farewell has been seen meanwhile");
    let reset = rst(its, 9_000, None);
    assert!(!endings.first_act(reset.key(), &reset).unwrap().told);
}

#[test]
fn a_new_connection_with_the_same_ends_is_another() {
    let mut endings = Endings::new(WINDOW, 10);
    let its = tuple(Role::Client, 2);
    note(&mut endings, ending(CLOSE, 7, its, Role::Client, 1_000, 0), true);
    let of = |reset: &Reset| endings.first_act(reset.key(), reset).is_some();
    assert!(of(&rst(its, 5_000, Some(4_500))));
    assert!(!of(&rst(its, 5_000, Some(3_000))), "opened after the end");
    assert!(!of(&rst(its, 500, None)), "before the end");
    assert!(!of(&rst(its, 1_000 + 200_000, None)), "long after");
    assert!(!of(&Reset { netns: Some(9), ..rst(its, 5_000, None) }), "another namespace");
    assert!(!of(&rst(tuple(Role::Client, 3), 5_000, None)), "another peer");
    let syn = crate::flow::Trigger { seq: 1, ack: 0, flags: Flags(Flags::SYN) };
    assert!(!of(&Reset { trigger: Some(syn), ..rst(its, 5_000, None) }), "asks for a new one");
}

#[test]
fn legs_of_one_process_find_each_other() {
    let mut endings = Endings::new(WINDOW, 10);
    let (front, back) = (tuple(Role::Broker, 2), tuple(Role::Client, 3));
    note(&mut endings, ending(CLOSE, 7, front, Role::Broker, 1_000, 11_000), true);
    // Its other leg is reset, two milliseconds later.
    let mut abort = Reset {
        state: Some(TcpState::Established),
        closed_first: true,
        actor: Some(task(7)),
        role: Role::Client,
        ..rst(back, 1_002, None)
    };
    abort.tcp = Some(TcpFacts { since_received: Some(Duration::from_millis(11_002)), ..TcpFacts::default() });
    endings.reset(abort.key(), &abort);
    let of_front = endings.other_leg(7, ConnectionKey { tuple: front, netns: 0 }, Role::Broker, 1_000 * MS, None).unwrap();
    assert_eq!((of_front.peer, of_front.ended_by_peer, of_front.silence), (back.peer, false, Some(Duration::from_millis(11_002))));
    let of_back = endings.other_leg(7, ConnectionKey { tuple: back, netns: 0 }, Role::Client, 1_002 * MS, None).unwrap();
    assert_eq!((of_back.peer, of_back.before), (front.peer, Duration::from_millis(2)));
    assert!(endings.other_leg(8, ConnectionKey { tuple: back, netns: 0 }, Role::Client, 1_002 * MS, None).is_none(), "another process");
    assert!(endings.other_leg(7, ConnectionKey { tuple: back, netns: 0 }, Role::Client, 9_000 * MS, None).is_none(), "another time");
    assert!(
        endings.other_leg(7, ConnectionKey { tuple: front, netns: 0 }, Role::Client, 1_000 * MS, None).is_none(),
        "the same connection"
    );
}

#[test]
fn of_many_ends_at_once_those_that_were_silent_for_as_long_belong_together() {
    let mut endings = Endings::new(WINDOW, 100);
    for last in 10..20 {
        let silence = 1_000 * u64::from(last);
        note(&mut endings, ending(CLOSE, 7, tuple(Role::Client, last), Role::Client, 5_000, silence), true);
    }
    let place = ConnectionKey { tuple: tuple(Role::Broker, 2), netns: 0 };
    let leg = endings.other_leg(7, place, Role::Broker, 5_001 * MS, Some(Duration::from_millis(14_100))).unwrap();
    assert_eq!(leg.peer, tuple(Role::Client, 14).peer);
}

#[test]
fn who_closes_after_the_peer_makes_the_peers_end_a_leg_of_its_process() {
    let mut endings = Endings::new(WINDOW, 10);
    let front = ending(Act::PeerClose, 0, tuple(Role::Broker, 2), Role::Broker, 1_000, 3_000);
    let sock = front.sock;
    note(&mut endings, Box::new(Reset { remembered: None, ..*front }), true);
    endings.closed(sock, &task(7));
    let back = ConnectionKey { tuple: tuple(Role::Client, 3), netns: 0 };
    let leg = endings.other_leg(7, back, Role::Client, 1_001 * MS, None).unwrap();
    assert!(leg.ended_by_peer);
}

#[test]
fn the_memory_is_bounded_and_counts_what_fell_out() {
    let mut endings = Endings::new(WINDOW, 4);
    let its = |number: u16| Tuple::new(SocketAddr::new([192, 0, 2, 1].into(), number), SocketAddr::new([192, 0, 2, 2].into(), 5672));
    for number in 0..100 {
        note(&mut endings, ending(CLOSE, 7, its(number), Role::Client, 1_000 + u64::from(number), 0), number % 10 == 0);
    }
    assert_eq!((endings.remembered(), endings.evicted()), (4, 96));
    let known = |number: u16| endings.first_act(ConnectionKey { tuple: its(number), netns: 0 }, &rst(its(number), 2_000, None)).is_some();
    assert!(known(70) && known(80) && known(90), "those that matter stay longer");
    let later = nanoseconds(KEPT_ORDINARY) / MS + 1_200;
    note(&mut endings, ending(CLOSE, 7, its(200), Role::Client, later, 0), false);
    assert_eq!((endings.remembered(), endings.evicted()), (4, 96), "an ordinary one was too old");
    let later = nanoseconds(KEPT) / MS + 1_200 + later;
    note(&mut endings, ending(CLOSE, 7, its(201), Role::Client, later, 0), false);
    assert_eq!((endings.remembered(), endings.evicted()), (1, 96));
    assert!(endings.by_sock.len() <= 1 && endings.order.iter().map(std::collections::VecDeque::len).sum::<usize>() == 1);
}
