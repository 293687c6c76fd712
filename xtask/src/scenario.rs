//! Scenarios of the lab by hand: one or many, with what went over the wires and the truth table.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    agent, bpf, command,
    error::{Error, Result},
    figures::{self, Table},
    lab, programs,
    workspace::Workspace,
};

/// What to do besides playing.
#[derive(Debug, Clone, Copy, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the command line")]
pub struct Wishes {
    /// Leave the network namespaces up, and say how to enter and remove them
    #[arg(long)]
    keep: bool,
    /// Write what every host sees to target/lab/pcap
    #[arg(long)]
    pcap: bool,
    /// Print each verdict beside the truth, as a Markdown table
    #[arg(long)]
    table: bool,
    /// Only list the scenarios
    #[arg(long)]
    list: bool,
}

/// Plays the scenarios whose name contains `name`, or all of them.
///
/// # Errors
///
/// When something is missing, no scenario has such a name, or one of them fails; the table is
/// printed all the same.
pub fn play(workspace: &Workspace, name: Option<&str>, wishes: Wishes) -> Result<()> {
    bpf::setup(workspace)?;
    programs::setup(workspace)?;
    agent::build(workspace)?;
    let tests = tests(workspace)?;
    if wishes.list {
        for test in &tests {
            println!("{test}");
        }
        return Ok(());
    }
    let directory = workspace.target.join("lab");
    let table = directory.join("table.jsonl");
    let pcap = directory.join("pcap");
    let mut settings = vec![format!("RSTBLAME_LAB_TABLE={}", table.display())];
    remove(&table)?;
    if wishes.pcap {
        settings.push(format!("RSTBLAME_LAB_PCAP={}", pcap.display()));
    }
    if wishes.keep {
        settings.push("RSTBLAME_LAB_KEEP=1".to_owned());
    }
    let mut filter = name;
    if let Some(name) = name.filter(|name| !tests.iter().any(|test| test.contains(name))) {
        // Those that share a broker are no tests of their own, but parts of one: `Stand::play`
        // looks for them.
        settings.push(format!("RSTBLAME_LAB_SCENARIO={name}"));
        filter = None;
    }
    let shared = if filter.is_none() && name.is_some() { &["--test", "amqp"][..] } else { &["--tests"] };
    let arguments = [&["test", "--quiet", "--package", "rstblame-lab", "--no-fail-fast"], shared, &["--"]].concat();
    let mut cargo = lab::lab_with(workspace, &arguments, &settings);
    cargo.command().args(filter).arg("--nocapture");
    let played = cargo.run();
    if wishes.pcap {
        println!("pcap: {}, one file for each host", pcap.display());
    }
    let rows = rows(&table)?;
    if wishes.table {
        print!("{}", markdown(&rows));
        if name.is_none() {
            record(workspace, &rows)?;
        }
    }
    if rows.is_empty() && filter != name && played.is_ok() {
        return Err(Error::NoSuch { what: "scenario", name: name.unwrap_or_default().to_owned(), known: "those of --list".to_owned() });
    }
    played
}

/// The names of the lab's tests.
fn tests(workspace: &Workspace) -> Result<Vec<String>> {
    let mut cargo =
        lab::lab_with(workspace, &["test", "--quiet", "--package", "rstblame-lab", "--tests", "--", "--list", "--format", "terse"], &[]);
    let listed = command::output(cargo.command().stderr(std::process::Stdio::inherit()))?;
    Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(ToOwned::to_owned).collect())
}

/// One verdict.
struct Row {
    /// scenario, view, expected, got, confidence, evidence.
    cells: [String; 6],
    right: bool,
}

fn rows(path: &Path) -> Result<Vec<Row>> {
    let text = match fs::read_to_string(path) {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|source| Error::File { path: path.to_owned(), source })?,
    };
    let mut rows: Vec<Row> = text.lines().filter_map(row).collect();
    // Scenarios write side by side.
    rows.sort_by(|one, other| one.cells.cmp(&other.cells));
    Ok(rows)
}

fn row(line: &str) -> Option<Row> {
    let row: serde_json::Value = serde_json::from_str(line).ok()?;
    let text = |member: &str| Some(row.get(member)?.as_str()?.to_owned());
    let confidence =
        row.get("confidence").and_then(serde_json::Value::as_f64).map_or_else(String::new, |confidence| format!("{confidence:.2}"));
    let evidence: Vec<&str> = row.get("evidence")?.as_array()?.iter().filter_map(serde_json::Value::as_str).collect();
    let cells = [text("scenario")?, text("view")?, text("expected")?, text("got")?, confidence, evidence.join(", ")];
    Some(Row { cells, right: row.get("right")?.as_bool()? })
}

fn markdown(rows: &[Row]) -> String {
    let head = "| | scenario | view | expected | got | confidence | evidence |\n|---|---|---|---|---|---|---|\n".to_owned();
    let line = |row: &Row| format!("| {} | {} |\n", mark(row), row.cells.join(" | "));
    let text = head + &rows.iter().map(line).collect::<String>();
    let right = rows.iter().filter(|row| row.right).count();
    text + &format!("\n{right} of {} verdicts are right.\n", rows.len())
}

/// Keeps the table of all scenarios for `cargo xtask report`.
fn record(workspace: &Workspace, rows: &[Row]) -> Result<()> {
    let right = rows.iter().filter(|row| row.right).count();
    let table = Table {
        title: "every verdict of the lab beside the truth",
        columns: vec!["right", "scenario", "view", "expected", "got", "confidence", "evidence"],
        rows: rows.iter().map(|row| [&[mark(row).to_owned()], row.cells.as_slice()].concat()).collect(),
        notes: vec![format!("{right} of {} verdicts are right.", rows.len())],
    };
    figures::write(workspace, "lab", right == rows.len(), &[table])
}

const fn mark(row: &Row) -> &'static str {
    if row.right { "✓" } else { "✗" }
}

fn remove(path: &PathBuf) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::File { path: path.clone(), source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{markdown, row};

    #[test]
    fn a_table_counts_what_is_right() {
        let lines = [
            r#"{"scenario":"refused","view":"client v4","expected":"remote_peer","got":"remote_peer: refused","confidence":0.934,"evidence":["ttl","ip_id"],"right":true}"#,
            r#"{"scenario":"refused","view":"server","expected":"*: *","got":"nothing","confidence":null,"evidence":[],"right":false}"#,
            "half a li",
        ];
        let table = markdown(&lines.iter().filter_map(|line| row(line)).collect::<Vec<_>>());
        assert!(table.contains("| ✓ | refused | client v4 | remote_peer | remote_peer: refused | 0.93 | ttl, ip_id |\n"), "{table}");
        assert!(table.ends_with("\n1 of 2 verdicts are right.\n"), "{table}");
    }
}
