//! What hosts have to say about connections that went through a proxy.
//!
//! On its own host a proxy is a process like any other. To the client's host and the broker's it is
//! the peer, and whether that is a proxy they cannot know unless they are told: the truth about
//! them never blames that peer for certain where it can be a proxy that does what it was told to.

use serde_json::json;

use super::{Truth, by_process};
use crate::hosts::flow::Flow;

/// It was the silence, this many seconds of it, and a heartbeat would have prevented it.
fn idle_timeout_without_heartbeats(seconds: u64) -> Truth {
    // A timer fires late, or in a bundle with others: nginx reads its clock before it looks at its
    // sockets.
    let tenths = (seconds * 10 - 2)..(seconds * 10 + 10);
    let silences: Vec<String> = tenths.map(|tenth| format!("{}.{} s", tenth / 10, tenth % 10)).chain([format!("{seconds} s")]).collect();
    Truth::new(json!({
        "severity": ["warning", "error"], "cause": {"id": "idle_timeout"}, "amqp": {"version": "0-9-1", "heartbeat_s": 0},
    }))
    .mentions("/evidence", &silences.iter().map(String::as_str).collect::<Vec<_>>())
    .mentions("/cause/advice", &["heartbeat"])
}

/// The same, where only the silence tells of it: that heartbeats were off belongs to the evidence.
fn idle_timeout(seconds: u64) -> Truth {
    idle_timeout_without_heartbeats(seconds).mentions("/evidence", &["heartbeat"])
}

/// From the client's host or the broker's, which know nothing of a proxy.
pub fn idle_seen_from_an_end(role: &str, seconds: u64) -> Truth {
    let kinds = ["middlebox", "unknown", "remote_peer"];
    idle_timeout(seconds).and(json!({"origin": {"kind": kinds}, "amqp": {"role": role}})).leaves_open("middlebox")
}

/// The same, told that there is a proxy of this name at that address.
pub fn idle_seen_from_an_end_that_knows(role: &str, name: &str, seconds: u64) -> Truth {
    idle_timeout(seconds).and(json!({"origin": {"kind": "middlebox", "name": name}, "amqp": {"role": role}}))
}

/// RabbitMQ answers a FIN with a RST, unless the proxy's own RST is quicker. Its process sent that
/// RST, and still did not end the connection.
pub fn idle_answered_by_the_broker(seconds: u64) -> Truth {
    idle_timeout(seconds).and(json!({"direction": "sent", "origin": {"kind": "local_process"}, "amqp": {"role": "broker"}}))
}

/// On the proxy's host the two connections are one story: each names the other.
pub fn idle_seen_from_the_proxy(pid: u32, program: &str, seconds: u64, other: Flow) -> Truth {
    idle_timeout_without_heartbeats(seconds)
        .and(json!({
            "origin": {"kind": "local_process", "possible": ["local_process"]},
            "process": {"pid": pid, "executable": {"name": program}},
        }))
        .tied_to(other)
}

/// On the proxy's host, the half that it ends later because of the other: data passed it meanwhile,
/// so that no silence is to be seen, and what ties the two is all there is.
pub fn other_half_of_idle(pid: u32, other: Flow) -> Truth {
    let causes = ["idle_timeout", "peer_gone", "data_after_close", "closed_without_amqp_close", "linger_abort"];
    by_process(json!(causes), pid).tied_to(other)
}

/// The peer has left, for whatever reason, and its host may well be one that stands in between.
pub fn peer_left(role: &str) -> Truth {
    Truth::new(json!({
        "severity": ["warning", "error"], "cause": {"id": ["peer_gone", "peer_aborted"]},
        "origin": {"kind": ["remote_peer", "unknown", "middlebox"]}, "amqp": {"version": "0-9-1", "role": role, "close": null},
    }))
}

/// The same, where the broker has answered the FIN of its peer with a RST.
pub fn peer_left_and_broker_answered() -> Truth {
    Truth::new(json!({
        "direction": "sent", "severity": ["warning", "error"], "cause": {"id": ["peer_gone", "peer_aborted"]},
        "origin": {"kind": ["local_process", "remote_peer", "unknown", "middlebox"]},
        "amqp": {"version": "0-9-1", "role": "broker", "close": null},
    }))
}

/// On its own host, a proxy that was killed by the lab.
pub fn proxy_killed(pid: u32) -> Truth {
    let exit = json!({"signal": "SIGKILL", "oom": false, "sent_by": {"pid": std::process::id()}});
    by_process("process_killed", pid).and(json!({"severity": "error", "process": {"exit": exit}}))
}

/// On its own host, a proxy that ended a connection on purpose: told to end or to read its
/// configuration again, or because the other half was gone. Never a silence.
pub fn proxy_closed(pid: u32) -> Truth {
    let causes = ["process_exited", "data_after_close", "closed_without_amqp_close", "linger_abort", "close_with_unread_data"];
    by_process(json!(causes), pid)
}
