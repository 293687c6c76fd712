//! What the agent costs and how fast and how right it is, measured from outside on this machine.
//!
//! `bench` runs all benchmarks, `bench NAME` one. Each writes its figures to
//! `target/bench/NAME.json`, too. Exit status 1 when a figure is over its limit.

mod bpf;
mod busy;
mod calibration;
mod cost;
mod flood;
mod growth;
mod latency;
mod load;
mod owners;
mod pcap;
mod tap;
mod watchers;

use std::process::ExitCode;

use rstblame_lab::{
    LabError, Result,
    figures::{self, Figures},
    peers::act,
};

/// A benchmark, and what it found.
type Bench = fn(&mut Figures) -> Result<()>;

const BENCHES: [(&str, Bench); 10] = [
    ("latency", latency::bench),
    ("owners", owners::bench),
    ("cost", cost::bench),
    ("tap", tap::bench),
    ("load", load::bench),
    ("busy", busy::bench),
    ("growth", growth::bench),
    ("flood", flood::bench),
    ("pcap", pcap::bench),
    ("calibration", calibration::bench),
];

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1);
    // The benchmarks' own helpers are this program once more.
    if wanted.as_deref() == Some("act") {
        return act::main();
    }
    match run(wanted.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: Option<&str>) -> Result<bool> {
    let mut found = false;
    let mut kept = true;
    for (name, bench) in BENCHES {
        if wanted.is_none_or(|wanted| wanted == name) {
            found = true;
            let mut figures = Figures::default();
            bench(&mut figures)?;
            figures.write(name)?;
            kept &= figures.kept();
        }
    }
    if found {
        return Ok(kept);
    }
    let names = BENCHES.map(|(name, _)| name).join(", ");
    Err(LabError::Client(format!("no benchmark has the name {:?}; there are {names}", wanted.unwrap_or_default())))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// This program, to be started as an actor.
fn actor() -> Result<String> {
    let path = std::env::current_exe().map_err(|error| LabError::io("find this program", error))?;
    Ok(path.to_string_lossy().into_owned())
}
