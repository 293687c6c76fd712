//! Parts of truths that many scenarios share.

use rstblame_lab::{Value, json, truths::expect};

/// The members of `extra` beside (or in place of) those of `base`, all the way down.
pub fn with(mut base: Value, extra: Value) -> Value {
    merge(&mut base, extra);
    base
}

fn merge(base: &mut Value, extra: Value) {
    match (base, extra) {
        (Value::Object(base), Value::Object(extra)) => {
            for (name, value) in extra {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, extra) => *base = extra,
    }
}

/// A RST that a process of this host caused.
pub fn sent(cause: &str, severity: &str) -> Value {
    json!({
        "direction": "sent", "severity": severity, "cause": {"id": cause},
        "origin": {"kind": "local_process", "possible": ["local_process"]},
    })
}

/// A RST that came from the other host, for all this one can know.
pub fn received(cause: &str, severity: &str) -> Value {
    json!({
        "direction": "received", "severity": severity, "cause": {"id": cause},
        "origin": {"kind": ["remote_peer", "unknown"]},
    })
}

/// `amqp` of a connection of [`rstblame_lab::peers::pika::Login::at`] that was open.
pub fn open(role: &str) -> Value {
    json!({"amqp": {"version": "0-9-1", "role": role, "phase": expect::open(), "heartbeat_s": 60, "vhost": "orders", "close": null}})
}

/// A reset after which nobody misses anything: AMQP had been closed in order before, on a
/// connection in the vhost of [`open`].
pub fn closed(role: &str, heartbeat: u16) -> Value {
    json!({
        "severity": "info", "cause": {"id": "routine_close"},
        "amqp": {"version": "0-9-1", "role": role, "phase": ["closing", "closed"], "heartbeat_s": heartbeat, "vhost": "orders"},
    })
}
