//! Files as they are found: rotated, compressed, cut, of several versions and several programs.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{fs, io::Write as _, ops::ControlFlow, path::PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Counts, Files, Unread, event};
use crate::{
    event::Event,
    model::{CauseId, OriginKind, Severity},
    testing::UNSAFE_TEXTS,
    text::is_unsafe,
};

const LINES: [&str; 11] = [
    include_str!("../../testdata/events/agent_reloaded.json"),
    include_str!("../../testdata/events/agent_started.json"),
    include_str!("../../testdata/events/agent_stopped-minimal.json"),
    include_str!("../../testdata/events/agent_stopped.json"),
    include_str!("../../testdata/events/connection_ended.json"),
    include_str!("../../testdata/events/endings_suppressed.json"),
    include_str!("../../testdata/events/events_lost.json"),
    include_str!("../../testdata/events/rst-minimal.json"),
    include_str!("../../testdata/events/rst.json"),
    include_str!("../../testdata/events/rst_revised.json"),
    include_str!("../../testdata/events/rst_suppressed.json"),
];

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// As the agent writes it.
fn line(text: &str) -> String {
    serde_json::to_string(&serde_json::from_value::<Event>(value(text)).unwrap()).unwrap()
}

/// A `rst` with something of it changed.
fn rst(change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut event = value(include_str!("../../testdata/events/rst.json"));
    change(&mut event);
    serde_json::to_vec(&event).unwrap()
}

fn read(contents: &[&[u8]]) -> (Vec<Event>, Counts) {
    let folder = tempfile::tempdir().unwrap();
    let mut paths: Vec<PathBuf> = Vec::new();
    for (number, content) in contents.iter().enumerate() {
        let path = folder.path().join(number.to_string());
        fs::write(&path, content).unwrap();
        paths.push(path);
    }
    let mut events = Vec::new();
    let mut files = Files::new(&paths).unwrap();
    let counts = files
        .events(|event| {
            events.push(event);
            ControlFlow::Continue(())
        })
        .unwrap();
    (events, counts)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(content).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn every_kind_is_read_from_every_kind_of_file() {
    let whole = LINES.map(line).join("\n");
    let zstd = ruzstd::encoding::compress_to_vec(whole.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    let (events, counts) = read(&[whole.as_bytes(), &gzip(whole.as_bytes()), &zstd, b"", b"\n\r\n"]);
    assert!(counts.is_whole() && counts.to_string().is_empty(), "{counts:?}");
    assert_eq!((counts.lines, events.len()), (33, 33));
    for (number, event) in events.iter().enumerate() {
        assert_eq!(serde_json::to_value(event).unwrap(), value(LINES.get(number % LINES.len()).unwrap()));
    }
}

#[test]
fn every_line_is_counted_once() {
    let rst = line(include_str!("../../testdata/events/rst.json"));
    let half = rst.get(..rst.len() / 2).unwrap();
    let log = [
        // What a shipper has put before a line is no line of its own.
        &format!("2026-06-29T09:41:55Z broker-1 rstblame[7]: {rst}"),
        "time=\"2026-06-29\" msg=\"started\"",
        "{\"level\":\"info\",\"event\":\"rst\"}",
        "{\"event\":\"rst\",\"schema\":\"rstblame/1\",\"id\":7}",
        "{\"event\":\"located\",\"schema\":\"rstblame/1\"}",
        "{\"event\":\"rst\",\"schema\":\"rstblame/2\"}",
        // The agent was killed here, and started again.
        &format!("{half}{rst}"),
        half,
    ]
    .join("\n");
    let (events, counts) = read(&[log.as_bytes()]);
    assert_eq!(events.len(), 2);
    assert_eq!(
        counts,
        Counts { lines: 9, events: 2, later: 2, foreign: 2, broken: 1, cut: 2, cut_files: 0, bytes: log.len() as u64 },
        "{counts}"
    );
    assert_eq!(
        counts.to_string(),
        "7 of 9 lines could not be used: 2 of other programs, 2 of a later version that this one has no words for, 1 damaged, 2 broken off"
    );
}

#[test]
fn a_compression_that_breaks_off_gives_what_came_before() {
    let content = vec![line(include_str!("../../testdata/events/rst.json")); 500].join("\n");
    let whole = gzip(content.as_bytes());
    let (events, counts) = read(&[whole.get(..whole.len() / 2).unwrap(), content.as_bytes()]);
    assert!(events.len() > 500 && events.len() < 1000, "{}", events.len());
    assert_eq!(counts.cut_files, 1);
}

#[test]
fn what_a_later_version_has_added_is_left_out_and_the_rest_stays() {
    let read = |change: &dyn Fn(&mut Value)| event::read(&rst(change));
    let later = |event: &mut Value| {
        event["cause"]["id"] = json!("solar_flare");
        event["cause"]["since"] = json!([1]);
        event["origin"]["kind"] = json!("satellite");
        event["origin"]["possible"] = json!(["satellite", "remote_peer"]);
        event["severity"] = json!("fatal");
        event["tcp"] = json!({"state": 7});
        event["evidence"][0]["points_to"] = json!("satellite");
        event["path"] = json!({"hops": []});
    };
    let Ok(Event::Rst(reset)) = read(&later) else { unreachable!("{:?}", read(&later)) };
    let before = value(include_str!("../../testdata/events/rst.json"));
    assert_eq!((reset.cause.id, reset.origin.kind, reset.severity), (CauseId::Unknown, OriginKind::Unknown, Severity::Warning));
    assert_eq!(reset.cause.summary, before["cause"]["summary"].as_str().unwrap());
    assert_eq!((reset.origin.possible, reset.tcp), (vec![OriginKind::RemotePeer], None));
    assert_eq!(reset.evidence.len() + 1, before["evidence"].as_array().unwrap().len());
    // On what it did, and which way it went, all else depends.
    for name in ["effect", "direction"] {
        assert_eq!(read(&|event| event[name] = json!("sideways")), Err(Unread::Later), "{name}");
        assert_eq!(read(&|event| event[name] = json!(3)), Err(Unread::Broken), "{name}");
    }
}

#[test]
fn counts_of_later_causes_stay_in_the_sum() {
    let mut stopped = value(include_str!("../../testdata/events/agent_stopped.json"));
    let before: u64 = stopped["by_cause"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    stopped["by_cause"]["solar_flare"] = json!(3);
    let Ok(Event::AgentStopped(stopped)) = event::read(&serde_json::to_vec(&stopped).unwrap()) else { unreachable!("it reads") };
    assert_eq!(stopped.by_cause.values().sum::<u64>(), before + 3);
    assert!(stopped.by_cause.get(&CauseId::Unknown).is_some_and(|count| *count >= 3));
}

#[test]
fn a_file_that_is_not_there_is_told_before_any_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    fs::write(&path, "").unwrap();
    let error = Files::new(&[path, folder.path().join("event.jsonl")]).unwrap_err().to_string();
    assert!(error.contains("event.jsonl") && error.contains("there is \"events.jsonl\" beside it"), "{error}");
    assert!(Files::new(&[folder.path().to_owned()]).is_err());
}

proptest! {
    #[test]
    fn books_hold_whatever_the_lines_are(lines in proptest::collection::vec((0_usize..LINES.len() + 1, 0_usize..4000, ".{0,20}"), 0..12)) {
        let mut content = Vec::new();
        for (kind, cut, noise) in &lines {
            let whole = LINES.get(*kind).map_or_else(|| noise.clone(), |text| line(text));
            let bytes = whole.as_bytes();
            content.extend_from_slice(bytes.get(..*cut).unwrap_or(bytes));
            content.push(b'\n');
        }
        let (events, counts) = read(&[&content]);
        prop_assert_eq!(events.len() as u64, counts.events);
        prop_assert_eq!(counts.lines, counts.events + counts.later + counts.foreign + counts.broken + counts.cut);
    }
}

/// Whatever somebody has written into a file steers no terminal that it is shown on.
#[test]
fn texts_are_cleaned_however_they_stand_in_a_line() {
    for text in UNSAFE_TEXTS {
        let plain = String::from_utf8(rst(|value| value["message"] = text.into())).unwrap();
        let escaped: String = plain.chars().map(|c| if c.is_ascii() && c != '\u{7f}' { c.to_string() } else { escape(c) }).collect();
        for line in [plain, escaped] {
            let read = serde_json::to_value(event::read(line.as_bytes()).unwrap()).unwrap();
            let message = read["message"].as_str().unwrap();
            assert!(!message.chars().any(is_unsafe), "{text:?}: {message:?}");
        }
    }
}

/// A character as JSON may have it (RFC 8259, section 7).
fn escape(c: char) -> String {
    let units: Vec<String> = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect();
    units.concat()
}
