//! Every cause and every pattern of the contract is described in docs/causes.md, where `cause.more`
//! points.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use rstblame::{event::schema, model::CauseId};
use serde_json::Value;

fn page() -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/causes.md")).unwrap()
}

/// The words of a closed set of the contract.
fn words(name: &str) -> BTreeSet<String> {
    let schema = serde_json::to_value(schema()).unwrap();
    let set = schema.pointer(&format!("/$defs/{name}")).unwrap();
    let described = set.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described =
        described.flat_map(|one| one.get("const").into_iter().chain(one.get("enum").and_then(Value::as_array).into_iter().flatten()));
    let plain = set.get("enum").and_then(Value::as_array).into_iter().flatten();
    let words: BTreeSet<String> = described.chain(plain).filter_map(Value::as_str).map(ToOwned::to_owned).collect();
    assert!(words.len() >= 5, "{name}: {words:?}");
    words
}

#[test]
fn every_cause_has_its_section_and_every_section_its_cause() {
    let text = page();
    let (_, causes) = text.split_once("\n## Causes\n").unwrap();
    let causes = causes.split("\n## ").next().unwrap();
    let sections: Vec<(&str, &str)> = causes.split("\n### ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    assert_eq!(sections.iter().map(|(heading, _)| (*heading).to_owned()).collect::<BTreeSet<_>>(), words("CauseId"));
    assert_eq!(sections.len(), words("CauseId").len(), "a cause has two sections");
    for (heading, body) in sections {
        let whole = ["Looks:", "Confirm:", "Fix:"].iter().all(|part| body.contains(part));
        assert!(whole || heading == "unknown", "{heading}: {body}");
    }
}

#[test]
fn every_pattern_is_in_the_table() {
    let text = page();
    let missing: Vec<String> = words("PatternId").into_iter().filter(|id| !text.contains(&format!("\n| `{id}` |"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_word_of_a_cause_is_that_of_the_contract() {
    for word in words("CauseId") {
        let id: CauseId = serde_json::from_value(Value::String(word.clone())).unwrap();
        assert_eq!(id.token(), word);
    }
}
