//! A reset and its verdict into the line of the contract. Says nothing that the two do not.

mod amqp;
mod first_act;

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use super::{
    Baseline, Capture, Cause, Container, Endpoint, Executable, Exit, Host, Kubernetes, Nat, NatDirection, NatEnd, Network, NetworkType,
    Origin, Owner, Packet, Pod, Process, ProcessName, Related, ResetEvent, SCHEMA, Signaller, Systemd, Tcp, Transport,
};
use crate::{
    attribution::Verdict,
    clock,
    flow::{LocalSender, Reset},
    host::process::ProcessFacts,
    model::{Direction, Effect, KnownFrom, OriginKind, ProcessEnd, Role, TcpState},
    signal,
};

/// Room for a message of usual length, bytes.
const MESSAGE: usize = 256;

/// Builds the line of a reset on this host.
pub fn event(reset: &Reset, verdict: Verdict, host: &Host) -> ResetEvent {
    build(reset, verdict, Some(host))
}

/// Builds the line of a reset from a capture: no host, no process.
pub fn captured_event(reset: &Reset, verdict: Verdict) -> ResetEvent {
    build(reset, verdict, None)
}

fn build(reset: &Reset, verdict: Verdict, host: Option<&Host>) -> ResetEvent {
    let message = message(reset, &verdict);
    let process = reset.process.as_ref().map(|(facts, known_from)| Box::new(process(facts, *known_from, reset)));
    let cgroup = reset.process.as_ref().and_then(|(facts, _)| facts.cgroup.as_ref());
    ResetEvent {
        schema: SCHEMA.into(),
        id: reset.id.clone(),
        timestamp: reset.timestamp,
        severity: verdict.severity,
        message,
        host: host.cloned(),
        direction: reset.direction,
        effect: verdict.effect,
        network: network(reset),
        origin: Origin {
            kind: verdict.origin.kind,
            confidence: verdict.origin.confidence,
            address: verdict.origin.address,
            name: verdict.origin.name,
            hops: verdict.origin.hops,
            possible: verdict.origin.possible,
        },
        cause: Cause {
            id: verdict.cause.id,
            confidence: verdict.cause.confidence,
            summary: verdict.cause.summary,
            advice: verdict.cause.advice,
            more: Some(verdict.cause.id.page().into()),
        },
        evidence: verdict.evidence,
        pattern: verdict.patterns,
        tcp: tcp(reset),
        packet: packet(reset).map(Box::new),
        container: cgroup
            .and_then(|cgroup| cgroup.container.as_ref())
            .map(|container| Container { id: container.id.clone(), runtime: container.runtime.map(|runtime| runtime.as_str().into()) }),
        k8s: cgroup.and_then(|cgroup| cgroup.k8s_pod_uid.clone()).map(|uid| Kubernetes { pod: Pod { uid } }),
        systemd: cgroup.and_then(|cgroup| cgroup.systemd_unit.clone()).map(|unit| Systemd { unit }),
        process,
        amqp: amqp::amqp(reset).map(Box::new),
        tls: amqp::tls(reset),
        peer_process: reset
            .pair
            .as_ref()
            .and_then(|pair| pair.process.clone())
            .or_else(|| reset.sender.as_deref().and_then(answering))
            .map(|(pid, name, path)| ProcessName { pid, executable: Executable { name, path } }),
        first_act: first_act::first_act(reset).map(Box::new),
        related: related(reset),
        capture: reset.capture.as_ref().map(|capture| Capture { file: capture.file.clone() }),
    }
}

/// The process that answers on this host in the peer's name: id, name, path.
fn answering(sender: &LocalSender) -> Option<(u32, String, Option<String>)> {
    match (&sender.process, &sender.task) {
        (Some(facts), _) => Some((facts.pid, facts.executable_name.clone(), facts.executable_path.clone())),
        (None, Some(task)) => Some((task.pid, task.comm.clone(), None)),
        (None, None) => None,
    }
}

/// Other lines that belong to this one.
fn related(reset: &Reset) -> Option<Related> {
    let ending = reset.first_act.as_ref().filter(|first| first.told && !reset.ended);
    let related = Related {
        duplicates: None,
        pair: reset.pair.as_ref().map(|pair| pair.id.clone()),
        ending: ending.map(|first| first.id.clone()),
        other_leg: reset.other_leg.as_ref().map(|leg| leg.id.clone()),
    };
    (related != Related::default()).then_some(related)
}

/// The RST as it was on the wire.
fn packet(reset: &Reset) -> Option<Packet> {
    let wire = reset.wire.as_ref().or(reset.left.as_ref())?;
    let rst = &wire.rst;
    let baseline = &wire.sender.ttl;
    Some(Packet {
        seq: rst.seq,
        ack: rst.ack,
        flags: rst.flags.letters(),
        window: rst.window,
        ttl: rst.ttl,
        ip_id: rst.ip_id,
        dont_fragment: rst.dont_fragment,
        options: rst.options.names(),
        source_mac: rst.source_mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
        interface: wire.way.as_ref().and_then(|way| way.interface.clone()),
        baseline: (baseline.count > 0).then_some(Baseline { ttl: baseline.mode, packets: baseline.count }),
        frame: reset.capture.as_ref().map(|capture| capture.frame),
    })
}

fn network(reset: &Reset) -> Network {
    let end = |address: SocketAddr| Endpoint { address: address.ip(), port: address.port(), name: None };
    Network {
        kind: NetworkType::from(reset.tuple.local.ip()),
        transport: Transport::Tcp,
        protocol: amqp::protocol(reset),
        community_id: community_id(reset),
        netns: reset.netns,
        netns_name: reset.netns_name.clone(),
        local: end(reset.tuple.local),
        peer: end(reset.tuple.peer),
        // A transparent proxy has the peer's own address: nothing is translated.
        nat: reset.sender.as_deref().filter(|sender| sender.end != reset.tuple.peer).map(|sender| Box::new(nat(reset, sender))),
    }
}

/// How the connection looks at its two ends. This host's end is the client's: it opened it.
fn nat(reset: &Reset, sender: &LocalSender) -> Nat {
    let direction = |from: SocketAddr, to: SocketAddr| NatDirection { source: nat_end(from), destination: nat_end(to) };
    let (local, peer) = (reset.tuple.local, reset.tuple.peer);
    Nat { original: direction(local, peer), reply: direction(sender.end, local) }
}

const fn nat_end(end: SocketAddr) -> NatEnd {
    NatEnd { address: end.ip(), port: end.port() }
}

/// Community ID 1.0 with seed 0; it does not depend on the direction.
fn community_id(reset: &Reset) -> String {
    const IPPROTO_TCP: u8 = 6;
    let (local, peer) = (reset.tuple.local, reset.tuple.peer);
    community_id::calculate_community_id(0, local.ip(), peer.ip(), Some(local.port()), Some(peer.port()), IPPROTO_TCP, false)
        .unwrap_or_default()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn microseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn tcp(reset: &Reset) -> Option<Tcp> {
    let mut tcp = Tcp {
        state: reset.state.map(|state| state.name().into()),
        kernel_reason: reset.reason_name().map(ToOwned::to_owned),
        kernel_reason_code: reset.reason.as_ref().map(|reason| reason.code),
        age_ms: reset.connection.as_ref().and_then(|connection| connection.age).map(milliseconds),
        ..Tcp::default()
    };
    if let Some(facts) = &reset.tcp {
        tcp.idle_ms = facts.since_heard.map(milliseconds);
        tcp.last_received_ms = facts.since_received.map(milliseconds);
        tcp.last_sent_ms = facts.since_sent.map(milliseconds);
        tcp.srtt_us = facts.srtt.map(microseconds);
        tcp.min_rtt_us = facts.min_rtt.map(microseconds);
        tcp.bytes_received = Some(facts.bytes_received);
        tcp.bytes_sent = Some(facts.bytes_sent);
        tcp.retransmits = Some(facts.retransmits);
        tcp.unread_bytes = Some(facts.unread_bytes);
        tcp.unsent_bytes = Some(facts.unacknowledged_bytes);
    }
    if let Some(socket) = &reset.socket {
        tcp.linger_zero = Some(socket.linger_zero);
        tcp.fin_received = Some(socket.fin_received);
        tcp.fin_sent = reset.state.map(TcpState::fin_sent);
    }
    (tcp != Tcp::default()).then_some(tcp)
}

/// When a process started, on `CLOCK_BOOTTIME` in ns.
fn start_boottime_ns(facts: &ProcessFacts) -> Option<u64> {
    let tick_ns = 1_000_000_000_u64.checked_div(rustix::param::clock_ticks_per_second())?;
    (facts.start_time_ticks > 0).then(|| facts.start_time_ticks.saturating_mul(tick_ns))
}

fn process(facts: &ProcessFacts, known_from: KnownFrom, reset: &Reset) -> Process {
    Process {
        pid: facts.pid,
        start_time: start_boottime_ns(facts).map(clock::wall_time),
        executable: Executable { name: facts.executable_name.clone(), path: facts.executable_path.clone() },
        command_line: facts.command_line.clone(),
        owner: facts.uid.map(|uid| Owner { uid, name: facts.user_name.clone() }),
        known_from,
        namespace_pid: facts.namespace_pid,
        exit: reset.owner_end().map(|end| exit(end, reset.boottime_ns)),
    }
}

fn exit(end: &ProcessEnd, reset_ns: u64) -> Exit {
    Exit {
        code: end.code.map(i32::from),
        signal: end.signal.map(signal::name),
        core_dumped: end.signal.is_some().then_some(end.core_dumped),
        oom: end.signal.is_some().then_some(end.oom),
        sent_by: end.sent_by.clone().map(|(pid, name)| Signaller { pid, name }),
        before_rst_ms: i64::try_from(reset_ns.saturating_sub(end.at_ns) / 1_000_000).ok(),
    }
}

/// One sentence: which connection, what happened to it, by whom, why.
fn message(reset: &Reset, verdict: &Verdict) -> String {
    let (client, broker) = match reset.role {
        Role::Broker => (reset.tuple.peer, reset.tuple.local),
        Role::Client => (reset.tuple.local, reset.tuple.peer),
    };
    let what = match verdict.effect {
        // The packet came later, and is not what ended it.
        Effect::ConnectionReset | Effect::Answered if reset.act().is_some() => "was ended",
        Effect::ConnectionReset => "was reset",
        Effect::ConnectionRefused => "was refused",
        Effect::HandshakeAborted => "was aborted during its handshake",
        Effect::Ignored => "got a RST that had no effect",
        Effect::Answered => "no longer exists here; a segment for it was answered by a RST",
        Effect::ClosedWithoutAmqpClose => "was closed without an end of AMQP",
        Effect::TimedOut => "timed out",
        Effect::ConnectTimedOut => "could not be opened",
    };
    let who = match verdict.origin.kind {
        OriginKind::LocalProcess => " by a process of this host",
        OriginKind::LocalHost => " by this host's kernel",
        OriginKind::RemotePeer => " by the peer",
        OriginKind::Middlebox => " by a middlebox",
        OriginKind::Unknown if reset.direction == Direction::Received => " by the peer or something in its name",
        OriginKind::Unknown => " by this host",
    };
    let who = if verdict.effect == Effect::Answered && reset.act().is_none() { "" } else { who };
    let mut message = String::with_capacity(MESSAGE);
    // Writing to a string does not fail.
    let _ = write!(message, "{client} -> broker {broker} {what}{who}: {}", verdict.cause.summary);
    message
}
