//! `rstblame explain` on RabbitMQ's log in the forms in which people have it.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Runs `explain` on files; standard output, standard error and the exit code.
fn explain(log: &Path, events: &Path, zone: &str) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_rstblame"))
        .args(["explain", "--format", "json", "--rabbitmq-log"])
        .arg(log)
        .arg("--events")
        .arg(events)
        .env("TZ", zone)
        .output()
}

fn answers(output: &Output) -> Outcome<Vec<Value>> {
    Ok(String::from_utf8(output.stdout.clone())?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// What differs from what is wanted; a member that is null may be anything.
fn difference(wanted: &Value, answers: &[Value]) -> Option<String> {
    let wanted = wanted.as_array()?;
    if wanted.len() != answers.len() {
        return Some(format!("{} reports instead of {}", answers.len(), wanted.len()));
    }
    wanted.iter().zip(answers).find_map(|(wanted, answer)| {
        let places = [("client", "/log/client"), ("broker", "/log/broker"), ("reason", "/log/reason"), ("answer", "/answer")];
        places.into_iter().find_map(|(name, place)| {
            let (wanted, given) = (wanted.get(name)?, answer.pointer(place));
            (!wanted.is_null() && Some(wanted) != given).then(|| format!("{name} is {given:?} instead of {wanted}"))
        })
    })
}

#[test]
fn every_form_is_read() -> Outcome {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/rabbitmq-logs");
    let Ok(files) = fs::read_dir(&folder) else {
        println!("{} is not there: nothing was tested", folder.display());
        return Ok(());
    };
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".want.json")?.to_owned())).collect();
    names.sort();
    let mut wrong = Vec::new();
    for name in &names {
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        let want: Value = serde_json::from_slice(&fs::read(file("want.json"))?)?;
        let zone = want.get("tz").and_then(Value::as_str).unwrap_or("UTC");
        let output = explain(&file("log"), &file("events.jsonl"), zone)?;
        let answers = answers(&output)?;
        if let Some(difference) = difference(want.get("want").unwrap_or(&Value::Null), &answers) {
            wrong.push(format!("{name}: {difference}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        if text.contains("came as a FIN") && !text.contains("closed_without_amqp_close") {
            wrong.push(format!("{name}: states a FIN that nobody saw"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} forms are read wrongly:\n{}", wrong.len(), names.len(), wrong.join("\n"));
    Ok(())
}

/// `testdata/explain/forms.json`: one end of a connection in many forms, each with the answers to
/// it.
#[test]
fn every_form_of_our_own_is_read() -> Outcome {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/explain");
    let forms: Vec<Form> = serde_json::from_slice(&fs::read(data.join("forms.json"))?)?;
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("rabbitmq.log");
    let mut wrong = Vec::new();
    for form in &forms {
        fs::write(&log, form.bytes())?;
        let output = explain(&log, &data.join(format!("{}.jsonl", form.events)), &form.tz)?;
        let code = output.status.code();
        let difference = difference(&form.want, &answers(&output)?)
            .or_else(|| (code != Some(form.exit)).then(|| format!("it exits with {code:?} instead of {}", form.exit)));
        if let Some(difference) = difference {
            wrong.push(format!("{}: {difference}: {}", form.name, String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} forms are read wrongly:\n{}", wrong.len(), forms.len(), wrong.join("\n"));
    Ok(())
}

/// A log and what is to be answered to it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    name: String,
    /// The events beside it.
    #[serde(default = "broker")]
    events: String,
    /// `TZ`.
    #[serde(default = "utc")]
    tz: String,
    /// Its lines, in UTF-8 or in `encoding`.
    #[serde(default)]
    log: Vec<String>,
    encoding: Option<String>,
    /// What is no text.
    #[serde(default)]
    bytes: Vec<u8>,
    want: Value,
    #[serde(default)]
    exit: i32,
}

impl Form {
    fn bytes(&self) -> Vec<u8> {
        let text = self.log.join("\n");
        match self.encoding.as_deref() {
            Some("utf-16-le") => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Some("utf-16-be") => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            _ if self.log.is_empty() => self.bytes.clone(),
            _ => text.into_bytes(),
        }
    }
}

fn broker() -> String {
    "broker".into()
}

fn utc() -> String {
    "UTC".into()
}
