//! Figures as they were measured: of which machine and commit, and the page of them all.
//!
//! Benchmarks, the soak, the lab and the virtual machines leave `target/bench/NAME.json` behind:
//! `name`, `run` (what [`run`] tells), `kept` (whether no limit is broken), and `tables` of
//! `title`, `columns`, `rows`, `plots`, `notes` and `limits`.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    thread,
};

use serde_json::{Value, json};

use crate::{
    command,
    error::{Error, Result},
    toolchain::clean,
    workspace::Workspace,
};

/// What the page has, in this order, and the command that measures it.
const SHEETS: [(&str, &str); 13] = [
    ("kernels", "cargo xtask test vm"),
    ("lab", "cargo xtask lab --table"),
    ("latency", "cargo xtask bench latency"),
    ("load", "cargo xtask bench load"),
    ("busy", "cargo xtask bench busy"),
    ("growth", "cargo xtask bench growth"),
    ("cost", "cargo xtask bench cost"),
    ("tap", "cargo xtask bench tap"),
    ("flood", "cargo xtask bench flood"),
    ("soak", "cargo xtask soak"),
    ("pcap", "cargo xtask bench pcap"),
    ("owners", "cargo xtask bench owners"),
    ("calibration", "cargo xtask bench calibration"),
];

/// The machine, the commit and the time.
///
/// # Errors
///
/// When git or date cannot be run, or this is no checkout.
pub fn run(workspace: &Workspace) -> Result<Value> {
    let git = |arguments: &[&str]| command::output(clean("git").arg("-C").arg(&workspace.root).args(arguments));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.trim().is_empty();
    let date = command::output(clean("date").args(["-u", "+%FT%TZ"]))?;
    // What a kernel does not tell stays empty.
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let of = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.split(':').next().is_some_and(|member| member.trim() == name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())).unwrap_or_default()
    };
    let kib = of(&memory, "MemTotal").split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    Ok(json!({
        "commit": commit.trim(),
        "changed": changed,
        "date": date.trim(),
        "machine": {
            "kernel": read("/proc/sys/kernel/osrelease").trim(),
            "processor": of(&processors, "model name"),
            "processors": thread::available_parallelism().map_or(0, std::num::NonZero::get),
            "memory_mib": kib / 1024,
            "virtual": of(&processors, "flags").split(' ').any(|flag| flag == "hypervisor"),
        },
    }))
}

/// One table of figures.
pub struct Table<'a> {
    pub title: &'a str,
    pub columns: Vec<&'a str>,
    pub rows: Vec<Vec<String>>,
    pub notes: Vec<String>,
}

/// Writes down what was measured outside of the benchmarks.
///
/// # Errors
///
/// As [`run`], and when the file cannot be written.
pub fn write(workspace: &Workspace, name: &str, kept: bool, tables: &[Table<'_>]) -> Result<()> {
    let tables: Vec<Value> = tables
        .iter()
        .map(|Table { title, columns, rows, notes }| {
            json!({"title": title, "columns": columns, "rows": rows, "plots": [], "notes": notes, "limits": []})
        })
        .collect();
    let sheet = json!({"name": name, "run": run(workspace)?, "kept": kept, "tables": tables});
    let path = place(workspace, name);
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, format!("{sheet:#}\n")));
    written.map_err(|source| Error::File { path, source })
}

/// Writes `docs/figures.md` from all that was measured so far.
///
/// # Errors
///
/// When a file cannot be read or written.
pub fn report(workspace: &Workspace) -> Result<()> {
    let mut text =
        "# Figures\n\nWritten by `cargo xtask report` from what the commands named below measured; nothing here is typed by hand. What is \
                    compared is measured in one run, in turn: read ratios and differences, the machine is not quiet.\n"
            .to_owned();
    let mut missing = Vec::new();
    for (name, command) in SHEETS {
        match sheet(&place(workspace, name))? {
            Some(sheet) => text += &markdown(name, command, &sheet),
            None => missing.push(format!("`{command}`")),
        }
    }
    if !missing.is_empty() {
        // Writing to a string does not fail.
        let _ = write!(text, "\n## Not measured\n\nNo figures were there of {}.\n", missing.join(", "));
    }
    let path = workspace.root.join("docs/figures.md");
    fs::write(&path, text).map_err(|source| Error::File { path: path.clone(), source })?;
    println!("report: {}", path.display());
    Ok(())
}

fn place(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.target.join("bench").join(format!("{name}.json"))
}

/// What was measured, if it is known of which commit.
fn sheet(path: &Path) -> Result<Option<Value>> {
    let text = match fs::read_to_string(path) {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| Error::File { path: path.to_owned(), source })?,
    };
    let sheet: Option<Value> = serde_json::from_str(&text).ok();
    Ok(sheet.filter(|sheet| sheet.pointer("/run/commit").is_some_and(Value::is_string)))
}

/// One part of the page.
fn markdown(name: &str, command: &str, sheet: &Value) -> String {
    let text = |pointer: &str| sheet.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let number = |pointer: &str| sheet.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let is = |pointer: &str| sheet.pointer(pointer) == Some(&Value::Bool(true));
    let mut page = format!(
        "\n## {name}\n\n`{command}`, commit {}{}, {}: Linux {}, {}, {} processors{}, {} MiB.\n",
        text("/run/commit"),
        if is("/run/changed") { " with changes" } else { "" },
        text("/run/date"),
        text("/run/machine/kernel"),
        text("/run/machine/processor"),
        number("/run/machine/processors"),
        if is("/run/machine/virtual") { " of a virtual machine" } else { "" },
        number("/run/machine/memory_mib"),
    );
    for table in list(sheet.get("tables")) {
        page += &table_markdown(table);
    }
    page
}

fn table_markdown(table: &Value) -> String {
    let columns = cells(table.get("columns"));
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = write!(page, "\n{}:\n\n| {} |\n", table.get("title").and_then(Value::as_str).unwrap_or_default(), columns.join(" | "));
    let rule: String = (0..columns.len()).map(|number| if number == 0 { "---|" } else { "---:|" }).collect();
    let _ = writeln!(page, "|{rule}");
    for row in list(table.get("rows")) {
        let _ = writeln!(page, "| {} |", cells(Some(row)).join(" | "));
    }
    for plot in cells(table.get("plots")) {
        let _ = write!(page, "\n```text\n{}```\n", plot.replace("\\|", "|"));
    }
    let limits = list(table.get("limits")).iter().map(|limit| {
        let word = if limit.get("kept") == Some(&Value::Bool(true)) { "kept" } else { "**broken**" };
        format!("Limit {}: {word}.", limit.get("what").and_then(Value::as_str).unwrap_or_default())
    });
    let said: Vec<String> = cells(table.get("notes")).into_iter().chain(limits).collect();
    if !said.is_empty() {
        page.push('\n');
    }
    for line in said {
        let _ = writeln!(page, "* {line}");
    }
    page
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Strings as a table of Markdown takes them.
fn cells(value: Option<&Value>) -> Vec<String> {
    list(value).iter().filter_map(Value::as_str).map(|cell| cell.replace('|', "\\|")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::markdown;

    #[test]
    fn a_sheet_is_dated_and_says_what_is_broken() {
        let machine = json!({"kernel": "6.1", "processor": "Z80", "processors": 1, "memory_mib": 64, "virtual": false});
        let table = json!({"title": "t", "columns": ["a", "b"], "rows": [["x|y", "1"]], "plots": ["p |#|\n"], "notes": ["n"],
            "limits": [{"what": "one", "kept": true}, {"what": "two", "kept": false}]});
        let run = json!({"commit": "abc", "changed": true, "date": "today", "machine": machine});
        let page = markdown("load", "do it", &json!({"name": "load", "run": run, "kept": false, "tables": [table]}));
        let expected = "\n## load\n\n`do it`, commit abc with changes, today: Linux 6.1, Z80, 1 processors, 64 MiB.\n\nt:\n\n| a | b |\n|---|---:|\n\
                        | x\\|y | 1 |\n\n```text\np |#|\n```\n\n* n\n* Limit one: kept.\n* Limit two: **broken**.\n";
        assert_eq!(page, expected);
    }
}
