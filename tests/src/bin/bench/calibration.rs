//! Whether the probabilities that the engine states are right, over all cases whose truth is known.
//!
//! A verdict is taken as a probability that a middlebox sent the RST: its confidence for
//! `middlebox`, what is left for `remote_peer`. `unknown` states none; it counts as one half, and
//! is shown for itself.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    io::ErrorKind,
    path::Path,
    process::Command,
    time::Duration,
};

use rstblame_lab::{LabError, Result, Value, command::run_command, workspace};

use super::figures::Figures;

/// Names the file with the verdicts of the lab; `cargo xtask bench` makes it.
const TRUTH_FILE: &str = "RSTBLAME_TRUTH_FILE";

/// Upper ends of the bins.
const BINS: [f64; 7] = [0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0];

/// What was said of one RST, and what is true.
struct Case {
    kind: String,
    confidence: Option<f64>,
    middlebox: bool,
    /// Of a capture, the address that was talked to: whatever injects on the way there is one
    /// device.
    path: Option<String>,
}

impl Case {
    /// The probability of a middlebox; `None` where none is stated.
    fn stated(&self) -> Option<f64> {
        match (self.kind.as_str(), self.confidence) {
            ("middlebox", Some(confidence)) => Some(confidence),
            ("unknown", _) | (_, None) => None,
            (_, Some(confidence)) => Some(1.0 - confidence),
        }
    }

    /// The squared error of that probability.
    fn error(&self) -> f64 {
        let truth = if self.middlebox { 1.0 } else { 0.0 };
        (self.stated().unwrap_or(0.5) - truth).powi(2)
    }
}

pub fn bench(figures: &mut Figures) -> Result<()> {
    let lab = lab()?;
    let captures = captures()?;
    report(figures, "the lab", &lab);
    report(figures, "captures of real injectors", &captures);
    by_device(figures, &captures);
    let both: Vec<Case> = lab.into_iter().chain(captures).collect();
    report(figures, "both together", &both);
    table(figures, &both);
    figures.note("rst-forensics is said to accuse 24 % of the genuine ones in the captures: quoted, not measured here");
    let wrong = both.iter().filter(|case| !case.middlebox && case.kind == "middlebox").count();
    figures.limit("none accused wrongly", wrong == 0);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "numbers of cases")]
fn mean(cases: &[&Case], value: impl Fn(&Case) -> f64) -> f64 {
    cases.iter().map(|case| value(case)).sum::<f64>() / cases.len() as f64
}

/// A table of the cases of one source.
fn report(figures: &mut Figures, name: &str, cases: &[Case]) {
    let all: Vec<&Case> = cases.iter().collect();
    if all.is_empty() {
        println!("{name}: no cases");
        return;
    }
    let count = |middlebox: bool, kind: &str| all.iter().filter(|case| case.middlebox == middlebox && case.kind == kind).count();
    let total = |middlebox: bool| all.iter().filter(|case| case.middlebox == middlebox).count();
    figures.table(format!("verdicts on {} cases of {name}", all.len()), &["truth", "cases", "middlebox", "remote_peer", "unknown"]);
    for (truth, middlebox) in [("middlebox", true), ("remote_peer", false)] {
        let said = ["middlebox", "remote_peer", "unknown"].map(|kind| count(middlebox, kind));
        figures.row(truth, std::iter::once(total(middlebox)).chain(said).map(|count| count.to_string()));
    }
    let stated: Vec<&Case> = all.iter().copied().filter(|case| case.stated().is_some()).collect();
    let rate = mean(&all, |case| if case.middlebox { 1.0 } else { 0.0 });
    figures.note(format!(
        "Brier score {:.4} with unknown as 0.5, {:.4} of the {} that state a probability; always {rate:.2}, the share of middleboxes: {:.4}",
        mean(&all, Case::error),
        mean(&stated, Case::error),
        stated.len(),
        rate * (1.0 - rate)
    ));
}

/// The same by device: one that many captures show says nothing of the others.
fn by_device(figures: &mut Figures, cases: &[Case]) {
    let mut devices: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        devices.entry(case.path.as_deref().unwrap_or("?")).or_default().push(case);
    }
    figures.table(
        "by device",
        &["on the way to", "injected", "recognised", "unknown", "laid to the peer", "genuine", "accused", "Brier score"],
    );
    for (path, of_it) in devices {
        let count = |middlebox: bool, kind: &str| of_it.iter().filter(|case| case.middlebox == middlebox && case.kind == kind).count();
        let injected = of_it.iter().filter(|case| case.middlebox).count();
        let counts = [injected, count(true, "middlebox"), count(true, "unknown"), count(true, "remote_peer"), of_it.len() - injected];
        let accused = count(false, "middlebox");
        let brier = format!("{:.4}", mean(&of_it, Case::error));
        figures.row(path, counts.into_iter().chain([accused]).map(|count| count.to_string()).chain([brier]));
    }
}

/// The reliability table.
fn table(figures: &mut Figures, cases: &[Case]) {
    figures.table("reliability of what is stated", &["stated for a middlebox", "cases", "stated, mean", "were middleboxes"]);
    let share = |cases: &[&Case]| mean(cases, |case| if case.middlebox { 1.0 } else { 0.0 });
    let mut from = 0.0;
    for to in BINS {
        let last = to >= 1.0;
        let within = |stated: f64| stated >= from && (stated < to || last);
        let bin: Vec<&Case> = cases.iter().filter(|case| case.stated().is_some_and(within)).collect();
        if !bin.is_empty() {
            let stated = mean(&bin, |case| case.stated().unwrap_or(0.5));
            let figure = |value: f64| format!("{value:.3}");
            figures.row(format!("{from:.2} to {to:.2}"), [bin.len().to_string(), figure(stated), figure(share(&bin))]);
        }
        from = to;
    }
    let unknown: Vec<&Case> = cases.iter().filter(|case| case.stated().is_none()).collect();
    if !unknown.is_empty() {
        figures.row("unknown", [unknown.len().to_string(), "-".to_owned(), format!("{:.3}", share(&unknown))]);
    }
}

/// The verdicts of the lab's scenarios: lines of eight members (`rstblame_lab::truths::truth`).
fn lab() -> Result<Vec<Case>> {
    let Some(path) = env::var_os(TRUTH_FILE) else {
        println!("calibration: without the lab, since {TRUTH_FILE} names no file; `cargo xtask bench calibration` makes one");
        return Ok(Vec::new());
    };
    let path = Path::new(&path);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("calibration: without the lab, which wrote no verdicts to {}", path.display());
            return Ok(Vec::new());
        }
        Err(error) => return Err(LabError::io(format!("read {}", path.display()), error)),
    };
    let mut either = 0;
    let mut cases = Vec::new();
    for line in text.lines() {
        let members: Vec<&str> = line.split('\t').collect();
        let [_scenario, _view, _family, truth, kind, confidence, ..] = members.as_slice() else {
            return Err(LabError::Client(format!("no verdict in {}: {line:?}", path.display())));
        };
        match *truth {
            // Peer and middlebox at once: nothing to be right or wrong about.
            "either" => either += 1,
            truth => {
                cases.push(Case {
                    kind: (*kind).to_owned(),
                    confidence: confidence.parse().ok(),
                    middlebox: truth == "middlebox",
                    path: None,
                });
            }
        }
    }
    if either > 0 {
        println!("calibration: {either} cases of the lab left out, where peer and middlebox are one machine");
    }
    Ok(cases)
}

/// The labelled captures beside the repository.
fn captures() -> Result<Vec<Case>> {
    let Some(folder) = workspace::root().parent().map(|parent| parent.join("shared/data/injected-resets")) else {
        return Ok(Vec::new());
    };
    let Ok(labels) = fs::read_to_string(folder.join("labels.tsv")) else {
        println!("calibration: without the labelled captures, since ../shared/data/injected-resets is not there");
        return Ok(Vec::new());
    };
    let mut verdicts: HashMap<String, HashMap<u64, Value>> = HashMap::new();
    let mut cases = Vec::new();
    for line in labels.lines().skip(1) {
        let (file, frame, label) = match line.split('\t').collect::<Vec<_>>().as_slice() {
            [file, frame, label] => ((*file).to_owned(), frame.parse::<u64>().unwrap_or(0), *label),
            _ => return Err(LabError::Client(format!("no label: {line:?}"))),
        };
        if !verdicts.contains_key(&file) {
            verdicts.insert(file.clone(), read(&folder.join(&file))?);
        }
        let verdict = verdicts.get(&file).and_then(|events| events.get(&frame));
        let origin = |member: &str| verdict.and_then(|event| event.pointer(&format!("/origin/{member}")));
        let kind = origin("kind").and_then(Value::as_str);
        cases.push(Case {
            kind: kind.ok_or_else(|| LabError::Client(format!("nothing is said of frame {frame} of {file}")))?.to_owned(),
            confidence: origin("confidence").and_then(Value::as_f64),
            middlebox: label == "injected",
            path: file.split('_').next().map(ToOwned::to_owned),
        });
    }
    Ok(cases)
}

/// What the agent says of a capture, by frame.
fn read(file: &Path) -> Result<HashMap<u64, Value>> {
    let mut command = Command::new(workspace::agent_binary());
    command.args(["pcap", "--all-ports", "--format", "json"]).arg(file);
    let text = run_command(command, Duration::from_mins(1))?;
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(events.filter_map(|event| Some((event.pointer("/packet/frame")?.as_u64()?, event))).collect())
}
