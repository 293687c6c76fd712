//! The schema in `docs/` is that of this build, and lines of every kind hold to it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod validate;

use std::{fs, path::PathBuf, process::Command};

use rstblame::event::{Event, schema};
use serde_json::Value;

use validate::validate;

/// What is done to a good line.
type Change = fn(&mut serde_json::Map<String, Value>);

const REGENERATE: &str = "cargo run -p rstblame -- schema > docs/schema.json";

fn manifest_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The examples: a file a line, at least one for each kind of event.
fn examples() -> Vec<(String, Value)> {
    let mut examples: Vec<(String, Value)> = fs::read_dir(manifest_dir().join("testdata/events"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
        })
        .collect();
    examples.sort_by(|(a, _), (b, _)| a.cmp(b));
    examples
}

fn own_schema() -> Value {
    serde_json::to_value(schema()).unwrap()
}

#[test]
fn the_schema_in_docs_is_that_of_this_build() {
    let output = Command::new(env!("CARGO_BIN_EXE_rstblame")).arg("schema").output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let kept = fs::read_to_string(manifest_dir().join("../docs/schema.json")).unwrap();
    assert!(kept == printed, "docs/schema.json is not what `rstblame schema` prints; if the change is meant, run: {REGENERATE}");
}

#[test]
fn every_kind_of_event_has_an_example() {
    let examples = examples();
    let own = own_schema();
    let kinds = own.get("oneOf").and_then(Value::as_array).unwrap().iter().filter_map(|kind| kind.pointer("/properties/event/const"));
    for kind in kinds {
        assert!(examples.iter().any(|(_, example)| example.get("event") == Some(kind)), "no example of {kind} in testdata/events");
    }
}

#[test]
fn examples_hold_to_the_schema() {
    let schema = own_schema();
    for (name, example) in examples() {
        assert_eq!(validate(&schema, &example), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn examples_come_back_as_they_went_in() {
    // Nothing is renamed, dropped, zeroed or written as null on the way.
    for (name, example) in examples() {
        let event: Event = serde_json::from_value(example.clone()).unwrap();
        assert_eq!(serde_json::to_value(event).unwrap(), example, "{name}");
    }
}

#[test]
fn what_is_not_known_is_absent() {
    fn has_null(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(items) => items.iter().any(has_null),
            Value::Object(members) => members.values().any(has_null),
            _ => false,
        }
    }
    for (name, example) in examples() {
        let event: Event = serde_json::from_value(example).unwrap();
        assert!(!has_null(&serde_json::to_value(event).unwrap()), "{name}");
    }
    assert!(!own_schema().to_string().contains("null"), "the schema must not offer null");
}

#[test]
fn the_schema_refuses_lines_that_break_the_contract() {
    let schema = own_schema();
    let (_, good) = examples().into_iter().find(|(name, _)| name == "rst.json").unwrap();
    let broken = |change: Change| {
        let mut line = good.clone();
        change(line.as_object_mut().unwrap());
        validate(&schema, &line)
    };
    let refused: [(&str, Change); 7] = [
        ("no id", |line| drop(line.remove("id"))),
        ("no event", |line| drop(line.remove("event"))),
        ("null for absent", |line| drop(line.insert("tcp".to_owned(), Value::Null))),
        ("unknown direction", |line| drop(line.insert("direction".to_owned(), "sideways".into()))),
        ("text for a number", |line| drop(line.insert("process".to_owned(), serde_json::json!({"pid": "1"})))),
        ("one value for a list", |line| drop(line.insert("evidence".to_owned(), "none".into()))),
        ("a field nobody described", |line| drop(line.insert("surprise".to_owned(), 1.into()))),
    ];
    for (what, change) in refused {
        assert!(!broken(change).is_empty(), "{what} was let through");
    }
}
