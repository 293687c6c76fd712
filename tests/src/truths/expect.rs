//! Comparing an event with the truth: the truth names what matters, the event may say more.

use std::fmt::Write as _;

use serde_json::Value;

/// Asserts that an event says at least what is written, with every difference listed when it does
/// not.
///
/// ```
/// use rstblame_lab::{assert_event, json};
/// let event = json!({"direction": "sent", "origin": {"kind": "local_process", "confidence": 1.0}});
/// assert_event!(event, {"direction": "sent", "origin": {"kind": "local_process"}, "process": null});
/// ```
#[macro_export]
macro_rules! assert_event {
    ($event:expr, $truth:tt) => {
        $crate::truths::expect::check("event", &$event, &$crate::json!($truth))
    };
}

/// Asserts that `event`, as seen by `view`, says at least what `truth` does. See [`differences`].
///
/// # Panics
///
/// When it does not, with every difference and the whole event.
#[track_caller]
pub fn check(view: &str, event: &Value, truth: &Value) {
    let found = differences(event, truth);
    let mut list = String::new();
    for difference in &found {
        // Writing to a String cannot fail.
        let _ = writeln!(list, "  {difference}");
    }
    assert!(found.is_empty(), "{view} is not the truth:\n{list}{event:#}");
}

/// The phase of a connection that was open. It is left out where the beginning of one direction
/// went by unseen: a new direction's first two packets may be looked at by two processors at once,
/// and then what the second of them says is not followed (one conversation in some 800 on a busy
/// machine). What is told must be right.
pub fn open() -> Value {
    serde_json::json!(["open", null])
}

/// What in `truth` the event does not say, one finding an entry; empty when it says all of it.
///
/// Objects match when each member of the truth is there and matches; what the event says besides is
/// not looked at. A `null` in the truth means that the event must not have that member. Arrays
/// match when they have as many elements and each element of the truth has one that matches, in any
/// order (the arrays of the contract are sets). An array in the truth for something that is none
/// means one of its elements; with a `null` among them the member may be absent. Everything else
/// matches when it is equal.
pub fn differences(event: &Value, truth: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", Some(event), truth, &mut found);
    found
}

/// Whether a difference is only that scenarios side by side look like a pattern, which makes an
/// error of a warning.
pub fn raised(event: &Value, truth: &Value, difference: &str) -> bool {
    difference.starts_with("severity:")
        && truth.get("severity").is_some_and(|severity| severity == "warning")
        && event.get("severity").is_some_and(|severity| severity == "error")
        && event.get("pattern").is_some()
}

fn compare(path: &str, actual: Option<&Value>, truth: &Value, found: &mut Vec<String>) {
    let name = if path.is_empty() { "event" } else { path };
    match (actual, truth) {
        (None, Value::Null) => {}
        (None, Value::Array(choice)) if choice.contains(&Value::Null) => {}
        (Some(actual), Value::Null) => found.push(format!("{name}: should be absent, is {actual}")),
        (None, _) => found.push(format!("{name}: should be {truth}, is absent")),
        (Some(Value::Object(actual)), Value::Object(truth)) => {
            for (member, truth) in truth {
                let path = if path.is_empty() { member.clone() } else { format!("{path}.{member}") };
                compare(&path, actual.get(member), truth, found);
            }
        }
        (Some(Value::Array(actual)), Value::Array(truth)) => {
            let all_there = truth.iter().all(|truth| actual.iter().any(|one| differences(one, truth).is_empty()));
            if actual.len() != truth.len() || !all_there {
                found.push(format!("{name}: should be {}, is {}", Value::from(truth.clone()), Value::from(actual.clone())));
            }
        }
        (Some(actual), Value::Array(truths)) if truths.iter().any(|truth| differences(actual, truth).is_empty()) => {}
        (Some(actual), truth) if actual == truth => {}
        (Some(actual), truth) => found.push(format!("{name}: should be {truth}, is {actual}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differences;

    #[test]
    fn an_array_for_a_single_value_is_a_choice() {
        let event = json!({"kind": "unknown"});
        assert!(differences(&event, &json!({"kind": ["remote_peer", "unknown"]})).is_empty());
        assert_eq!(differences(&event, &json!({"kind": ["remote_peer", "middlebox"]})).len(), 1);
        assert!(differences(&event, &json!({"phase": ["open", null]})).is_empty());
        assert_eq!(differences(&event, &json!({"phase": ["open", "closing"]})).len(), 1);
    }

    #[test]
    fn more_than_the_truth_is_fine() {
        let event = json!({"a": 1, "b": {"c": [1, 2], "d": "x"}});
        assert!(differences(&event, &json!({"b": {"c": [2, 1]}})).is_empty());
    }

    #[test]
    fn every_difference_is_listed_with_its_path() {
        let event = json!({"a": 1, "b": {"c": [1, 2]}, "pid": 7});
        let truth = json!({"a": 2, "b": {"c": [1]}, "pid": null, "gone": "x"});
        assert_eq!(
            differences(&event, &truth),
            ["a: should be 2, is 1", "b.c: should be [1], is [1,2]", "gone: should be \"x\", is absent", "pid: should be absent, is 7",]
        );
    }

    #[test]
    fn an_object_is_not_a_scalar() {
        assert_eq!(differences(&json!({"a": 1}), &json!({"a": {"b": 1}})), ["a: should be {\"b\":1}, is 1"]);
    }
}
