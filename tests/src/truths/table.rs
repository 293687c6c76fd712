//! The truth table: every verdict of a run beside the truth it was held against, for
//! `cargo xtask lab --table`.
//!
//! With `RSTBLAME_LAB_TABLE` in the environment each verdict is appended to that file, one JSON
//! object a line: `scenario`, `view` (the host that was asked), `expected`, `got`, `confidence` (of
//! the origin, or null), `evidence` (the signals) and `right`.

use serde_json::{Value, json};

use crate::{Result, workspace};

/// Name of the variable that says which file the verdicts are appended to.
const TABLE_FILE: &str = "RSTBLAME_LAB_TABLE";

/// The name of the running test, for scenarios that have no other.
pub fn scenario() -> String {
    std::thread::current().name().unwrap_or("unnamed").to_owned()
}

/// Appends one verdict to the file that the environment names, if it names one. Without an event,
/// nothing was said.
///
/// # Errors
///
/// As [`workspace::append`].
pub fn record(scenario: &str, view: &str, expected: &str, event: Option<&Value>, right: bool) -> Result<()> {
    workspace::append(TABLE_FILE, || row(scenario, view, expected, event, right).to_string() + "\n")
}

fn row(scenario: &str, view: &str, expected: &str, event: Option<&Value>, right: bool) -> Value {
    let member = |pointer: &str| event.and_then(|event| event.pointer(pointer));
    let evidence = member("/evidence").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let signals: Vec<&str> = evidence.iter().filter_map(|one| one.get("signal")?.as_str()).collect();
    json!({
        "scenario": scenario,
        "view": view,
        "expected": expected,
        "got": event.map_or_else(|| "nothing".to_owned(), said),
        "confidence": member("/origin/confidence"),
        "evidence": signals,
        "right": right,
    })
}

/// Who and why, of an event or of a truth that looks like one: `local_process: linger_abort`. What
/// a truth leaves open is `*`.
pub fn said(event: &Value) -> String {
    let word = |pointer: &str| match event.pointer(pointer) {
        Some(Value::String(word)) => word.clone(),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "*".to_owned(),
    };
    format!("{}: {}", word("/origin/kind"), word("/cause/id"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{row, said};

    #[test]
    fn a_row_has_what_was_said_beside_the_truth() {
        let event =
            json!({"origin": {"kind": "middlebox", "confidence": 0.9}, "cause": {"id": "idle_timeout"}, "evidence": [{"signal": "ttl"}]});
        assert_eq!(
            row("x", "client", "remote_peer", Some(&event), false),
            json!({"scenario": "x", "view": "client", "expected": "remote_peer", "got": "middlebox: idle_timeout", "confidence": 0.9,
                   "evidence": ["ttl"], "right": false})
        );
        assert_eq!(row("x", "client", "nothing", None, true).get("got"), Some(&json!("nothing")));
    }

    #[test]
    fn a_truth_may_leave_things_open() {
        assert_eq!(said(&json!({"origin": {"kind": ["remote_peer", "unknown"]}})), "remote_peer or unknown: *");
    }
}
