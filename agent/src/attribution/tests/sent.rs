use super::{SocketKind as Kind, TcpState::*, *};

const SYN: u16 = 0x02;
const ACK: u16 = 0x10;
const DATA: u16 = 0x18;
const SECOND: Duration = Duration::from_secs(1);

fn linger() -> SocketFacts {
    SocketFacts { linger_zero: true, ..owned() }
}

fn heard_from(before_the_close: Duration) -> TcpFacts {
    TcpFacts { bytes_received: 8, since_received: Some(before_the_close), since_heard: Some(before_the_close), ..TcpFacts::default() }
}

fn unread() -> TcpFacts {
    TcpFacts { unread_bytes: 8, ..TcpFacts::default() }
}

/// The same path with and without the kernel's word for it: the origin and the cause stay, the
/// confidence does not grow.
fn with_and_without_reason(name: &str, with: &Reset) {
    let without = Reset { reason: None, ..with.clone() };
    let unspecified = Reset { reason: reason("NOT_SPECIFIED"), ..with.clone() };
    let (named, inferred) = (attribute(with), attribute(&without));
    assert_eq!((named.origin.kind, named.cause.id, named.severity), (inferred.origin.kind, inferred.cause.id, inferred.severity), "{name}");
    assert!(inferred.cause.confidence < named.cause.confidence, "{name}: {:?} {:?}", inferred.cause, named.cause);
    assert_eq!(attribute(&unspecified).cause, inferred.cause, "{name}");
    assert!(named.evidence.iter().any(|evidence| evidence.signal == "kernel_reason"), "{name}");
    assert!(!attribute(&unspecified).evidence.iter().any(|evidence| evidence.signal == "kernel_reason"), "{name}");
}

#[test]
fn a_close_is_blamed_on_the_process() {
    let silent = heard_from(10 * SECOND);
    let with = |text, reset| Reset { reason: reason(text), ..reset };
    check([
        (
            "unread data",
            with("TCP_ABORT_ON_CLOSE", closed(owned(), unread())),
            "connection_reset local_process close_with_unread_data warning",
        ),
        // A byte may have been read between the two; the kernel's word stands.
        (
            "unread data, none left",
            with("TCP_ABORT_ON_CLOSE", closed(owned(), silent.clone())),
            "connection_reset local_process close_with_unread_data warning",
        ),
        ("linger", with("TCP_STATE", closed(linger(), silent.clone())), "connection_reset local_process linger_abort warning"),
        ("linger2", with("TCP_ABORT_ON_LINGER", closed(owned(), silent.clone())), "connection_reset local_process linger_abort warning"),
        ("disconnect", with("TCP_STATE", closed(owned(), silent.clone())), "connection_reset local_process linger_abort warning"),
        (
            "disconnect with data",
            with("TCP_DISCONNECT_WITH_DATA", closed(owned(), silent.clone())),
            "connection_reset local_process linger_abort warning",
        ),
        (
            "listener closed",
            with("TCP_STATE", closed(SocketFacts::default(), silent.clone())),
            "handshake_aborted local_process handshake_aborted warning",
        ),
        ("old kernel, unread data", closed(owned(), unread()), "connection_reset local_process close_with_unread_data warning"),
        ("old kernel, linger", closed(linger(), silent.clone()), "connection_reset local_process linger_abort warning"),
        (
            "old kernel, listener closed",
            closed(SocketFacts::default(), unread()),
            "handshake_aborted local_process handshake_aborted warning",
        ),
        ("old kernel, nothing to go by", closed(owned(), silent), "connection_reset local_process unknown warning"),
        (
            "a reason that is not known here",
            with("SOMETHING_NEW", closed(owned(), unread())),
            "connection_reset local_process close_with_unread_data warning",
        ),
    ]);
}

#[test]
fn what_no_process_decided_is_blamed_on_the_host() {
    let keepalive = SocketFacts { keepalive: true, ..owned() };
    let orphan = SocketFacts { orphan: true, ..owned() };
    let with = |text, reset| Reset { reason: reason(text), ..reset };
    let just_now = Some(Duration::from_millis(20));
    let long_ago = Some(90 * SECOND);
    check([
        ("ss -K", with("TCP_STATE", aborted(Established, owned(), just_now)), "connection_reset local_host socket_destroyed warning"),
        (
            "keepalive",
            with("TCP_KEEPALIVE_TIMEOUT", aborted(Established, keepalive.clone(), long_ago)),
            "connection_reset local_host keepalive_timeout warning",
        ),
        (
            "orphan in FIN_WAIT2",
            with("TCP_STATE", aborted(FinWait2, orphan.clone(), long_ago)),
            "connection_reset local_host routine_close info",
        ),
        (
            "ss -K in FIN_WAIT2, owned",
            with("TCP_STATE", aborted(FinWait2, owned(), long_ago)),
            "connection_reset local_host socket_destroyed warning",
        ),
        (
            "out of memory",
            with("TCP_ABORT_ON_MEMORY", aborted(FinWait1, orphan.clone(), None)),
            "connection_reset local_host out_of_memory error",
        ),
        ("MPTCP", with("MPTCP_RST_EBADPERF", aborted(Established, owned(), None)), "connection_reset local_host unknown warning"),
        (
            "old kernel, keepalive",
            aborted(Established, keepalive.clone(), long_ago),
            "connection_reset local_host keepalive_timeout warning",
        ),
        ("old kernel, orphan", aborted(FinWait2, orphan.clone(), long_ago), "connection_reset local_host routine_close info"),
        ("old kernel, FIN_WAIT2 of an owner", aborted(FinWait2, owned(), long_ago), "connection_reset unknown unknown warning"),
        ("old kernel, orphan in FIN_WAIT1", aborted(FinWait1, orphan, long_ago), "connection_reset unknown unknown warning"),
        // Who did it is not known, only that this host did.
        ("old kernel, ss -K", aborted(Established, owned(), just_now), "connection_reset unknown unknown warning"),
        (
            "old kernel, heard a second before",
            aborted(Established, keepalive.clone(), Some(SECOND)),
            "connection_reset unknown unknown warning",
        ),
        ("old kernel, ss -K with keepalive on", aborted(Established, keepalive, just_now), "connection_reset unknown unknown warning"),
        ("no BTF", testing::reset(), "connection_reset unknown unknown warning"),
    ]);
}

#[test]
fn an_answer_to_a_segment_is_told_by_what_it_met() {
    let with = |text, reset| Reset { reason: reason(text), ..reset };
    let blind = Reset { trigger: None, ..answered(Kind::None, 0) };
    let torn_down = Reset { closed_first: true, ..answered(Kind::Connection, DATA) };
    let shaking = Reset { state: Some(SynRecv), ..answered(Kind::Connection, ACK) };
    check([
        ("refused", with("NO_SOCKET", answered(Kind::None, SYN)), "connection_refused local_host no_listener warning"),
        ("stale", with("NO_SOCKET", answered(Kind::None, DATA)), "answered local_host stale_connection warning"),
        ("no socket, no packet", blind, "answered local_host unknown warning"),
        ("TIME_WAIT", with("TCP_TIMEWAIT_SOCKET", answered(Kind::TimeWait, DATA)), "answered local_host stale_connection info"),
        ("TIME_WAIT without reason", answered(Kind::TimeWait, DATA), "answered local_host stale_connection info"),
        ("data after close", with("TCP_ABORT_ON_DATA", torn_down.clone()), "connection_reset local_process data_after_close warning"),
        ("old kernel, data after close", torn_down.clone(), "connection_reset local_process data_after_close warning"),
        ("unspecified, data after close", with("NOT_SPECIFIED", torn_down), "connection_reset local_process data_after_close warning"),
        ("accept queue full", with("INVALID_SYN", answered(Kind::Listener, ACK)), "handshake_aborted local_host listen_overflow warning"),
        // tcp_check_req(): only an ACK completes a handshake that the queue has no room for.
        ("a second SYN in a handshake", with("INVALID_SYN", answered(Kind::Listener, SYN)), "answered local_host stale_connection warning"),
        ("data meets a listener", with("TCP_STATE", answered(Kind::Listener, DATA)), "answered local_host stale_connection warning"),
        ("old kernel, data meets a listener", answered(Kind::Listener, DATA), "answered local_host stale_connection warning"),
        ("bad handshake", with("TCP_RFC7323_PAWS", shaking.clone()), "handshake_aborted local_host handshake_aborted warning"),
        ("old kernel, bad handshake", shaking, "handshake_aborted local_host handshake_aborted warning"),
        ("a connection, unspecified", with("NOT_SPECIFIED", answered(Kind::Connection, DATA)), "answered local_host unknown warning"),
        ("a socket that was not read", answered(Kind::Unseen, DATA), "answered local_host unknown warning"),
    ]);
}

#[test]
fn rabbitmq_ends_ordinary_connections_by_a_rst() {
    let close = |tcp| Reset { reason: reason("TCP_STATE"), ..closed(linger(), tcp) };
    let at_the_end = || close(heard_from(Duration::from_millis(3)));
    let peer_finished = closed(SocketFacts { fin_received: true, ..linger() }, heard_from(60 * SECOND));
    let python = Task { comm: "python3".to_owned(), ..beam() };
    // As it is where the host's own list of processes, and not the kernel's word, names the owner.
    let known = Reset { actor: None, process: Some((process("beam.smp").into(), KnownFrom::Close)), ..at_the_end() };
    check([
        ("ordinary close", at_the_end(), "connection_reset local_process routine_close info"),
        ("ordinary close, owner from /proc", known, "connection_reset local_process routine_close info"),
        // What a missed heartbeat looks like: RabbitMQ gives up only after at least two intervals
        // of silence, so two seconds or more.
        ("silent for two heartbeats", close(heard_from(2 * SECOND)), "connection_reset local_process linger_abort warning"),
        ("silent for exactly a second", close(heard_from(SECOND)), "connection_reset local_process linger_abort warning"),
        ("never heard of", close(TcpFacts::default()), "connection_reset local_process linger_abort warning"),
        ("another program", Reset { actor: Some(python), ..at_the_end() }, "connection_reset local_process linger_abort warning"),
        ("RabbitMQ as a client", Reset { role: Role::Client, ..at_the_end() }, "connection_reset local_process linger_abort warning"),
        (
            "after the client's FIN, whatever the program",
            Reset { actor: None, ..peer_finished },
            "connection_reset local_process routine_close info",
        ),
    ]);
    let verdict = attribute(&at_the_end());
    assert!(verdict.evidence.iter().any(|evidence| evidence.signal == "peer_spoke_just_before"), "{verdict:#?}");
    assert!(verdict.cause.summary.starts_with("beam.smp (pid 4312)"), "{}", verdict.cause.summary);
}

pub fn process(name: &str) -> ProcessFacts {
    ProcessFacts {
        pid: 4312,
        start_time_ticks: 1,
        comm: name.to_owned(),
        executable_name: name.to_owned(),
        executable_path: None,
        command_line: None,
        uid: None,
        user_name: None,
        cgroup: None,
        namespace_pid: None,
        net_namespace: None,
    }
}

#[test]
fn the_kernels_word_adds_certainty_and_changes_nothing_else() {
    let with = |text, reset| Reset { reason: reason(text), ..reset };
    let keepalive = SocketFacts { keepalive: true, ..owned() };
    let torn_down = Reset { closed_first: true, ..answered(Kind::Connection, DATA) };
    with_and_without_reason("unread data", &with("TCP_ABORT_ON_CLOSE", closed(owned(), unread())));
    with_and_without_reason("linger", &with("TCP_STATE", closed(linger(), heard_from(10 * SECOND))));
    with_and_without_reason("keepalive", &with("TCP_KEEPALIVE_TIMEOUT", aborted(Established, keepalive, Some(90 * SECOND))));
    with_and_without_reason("data after close", &with("TCP_ABORT_ON_DATA", torn_down));
}

#[test]
fn the_task_on_the_cpu_is_blamed_only_when_it_closed() {
    let destroyed = Reset { reason: reason("TCP_STATE"), actor: Some(beam()), ..aborted(Established, owned(), None) };
    let verdict = attribute(&destroyed);
    assert!(!verdict.evidence.iter().any(|evidence| evidence.signal == "closing_task"), "{verdict:#?}");
    let closing = attribute(&closed(owned(), unread()));
    let evidence = closing.evidence.iter().find(|evidence| evidence.signal == "closing_task").unwrap();
    assert_eq!(evidence.detail, "closed in the context of beam.smp (pid 4312)");
}

#[test]
fn one_who_closes_what_another_user_made_is_not_blamed_for_sure() {
    let of = |uid| attribute(&closed(SocketFacts { uid, ..owned() }, unread()));
    let (own, roots, foreign) = (of(105), of(0), of(1000));
    assert_eq!((own.origin.confidence, own.cause.confidence), (roots.origin.confidence, roots.cause.confidence));
    assert!(own.origin.confidence > Some(0.9) && foreign.origin.confidence <= Some(0.6) && foreign.cause.confidence <= Some(0.6));
    let evidence = foreign.evidence.iter().find(|evidence| evidence.signal == "closing_task").unwrap();
    assert!(evidence.detail.contains("user 1000 made the socket") && evidence.strength == crate::model::Strength::Weak, "{evidence:?}");
}

#[test]
fn the_numbers_are_in_the_evidence() {
    let verdict = attribute(&closed(owned(), unread()));
    let evidence = verdict.evidence.iter().find(|evidence| evidence.signal == "unread_data").unwrap();
    assert_eq!(evidence.detail, "8 bytes not read at close");
    let refused = attribute(&answered(Kind::None, SYN));
    assert_eq!(refused.evidence.first().unwrap().detail, "a segment [S] seq 1 ack 2 met no socket");
}
