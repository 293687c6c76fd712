//! What the README and `docs/` promise of this repository, held against it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser as _;

use crate::Cli;

/// The README is a way in, and not a manual.
const LONGEST: usize = 200;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn pages() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .chain(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|page| root().join(page)));
    pages.map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// The commands of this program on a page: in blocks, and in backquotes.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.lines().filter_map(|line| line.strip_prefix("    cargo xtask "));
    let quoted = page.split('`').skip(1).step_by(2).filter_map(|text| text.strip_prefix("cargo xtask "));
    blocks.chain(quoted).map(|command| command.split('#').next().unwrap().trim()).collect()
}

/// Blocks that are neither commands nor a configuration: what a program prints. Each with the text
/// before it, back to the heading or the block before.
fn outputs(page: &str) -> Vec<(String, String)> {
    let (mut outputs, mut before, mut block, mut fence) = (Vec::new(), String::new(), String::new(), None);
    let is_command = |line: &str| {
        ["cargo ", "rstblame ", "sudo ", "jq ", "tail ", "tcpdump ", "apt ", "rpm ", "systemctl ", "journalctl ", "editor ", "curl ", "#"]
            .iter()
            .any(|word| line.starts_with(word))
            || line.contains("| rstblame ")
    };
    for line in page.lines().chain([""]) {
        if let Some(language) = line.strip_prefix("```") {
            match fence.take() {
                None => fence = Some(language.to_owned()),
                Some(language) if ["json", "text", ""].contains(&language.as_str()) => {
                    outputs.push((std::mem::take(&mut before), std::mem::take(&mut block)));
                }
                Some(_) => block.clear(),
            }
        } else if fence.is_some() || line.starts_with("    ") {
            block.push_str(line.trim());
            block.push('\n');
        } else if !line.is_empty() || !block.is_empty() {
            let lines: Vec<&str> = block.lines().filter(|line| !line.is_empty()).collect();
            if lines.iter().any(|line| !is_command(line)) {
                outputs.push((std::mem::take(&mut before), block.clone()));
            }
            block.clear();
            if line.starts_with('#') {
                before.clear();
            }
            before.push_str(line);
            before.push('\n');
        }
    }
    outputs
}

#[test]
fn the_readme_is_short() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= LONGEST, "{lines} lines");
}

#[test]
fn every_command_is_one_it_takes() {
    let mut count = 0;
    for (path, page) in pages() {
        for command in commands(&page) {
            // What may be left out, and words for what the reader names.
            let words = command.split_whitespace().map(|word| word.trim_matches(['[', ']'])).map(|word| match word {
                "N" => "60",
                "K/N" => "0/20",
                word => word,
            });
            let words: Vec<&str> = ["cargo xtask"].into_iter().chain(words).collect();
            if let Err(error) = Cli::try_parse_from(&words) {
                assert!(!error.use_stderr(), "{}: {command}\n{error}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count} commands were found");
}

#[test]
fn every_output_says_that_it_is_an_example() {
    let mut missing = String::new();
    for (path, page) in pages().iter().filter(|(path, _)| !path.ends_with("figures.md")) {
        for (before, output) in outputs(page) {
            if !before.to_lowercase().contains("example") {
                missing += &[&path.to_string_lossy(), ": ", output.as_str()].concat();
            }
        }
    }
    assert!(missing.is_empty(), "no word of an example before these:\n{missing}");
}

#[test]
fn every_link_leads_somewhere() {
    for (path, page) in pages() {
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", path.display());
            let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").replace(['\'', ',', '`'], "");
            let is_there = heading.is_empty()
                || fs::read_to_string(&target).unwrap().lines().any(|line| line.starts_with('#') && slug(line) == heading);
            assert!(is_there, "{}: {link}", path.display());
        }
    }
}

/// Of each list of CONTRIBUTING.md the name by which the code knows its example.
const EXAMPLES: [(&str, &str); 6] = [
    ("### A signal", "answer_delay"),
    ("### A cause", "WrongProtocol"),
    ("### A sink", "Journald"),
    ("### A setting", "max_conversations"),
    ("### A hook", "destroy_sock"),
    ("### A scenario", "client_is_paused"),
];

/// All sources below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { sources(&path) } else { vec![path] }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn what_is_to_be_touched_is_listed() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    for (heading, name) in EXAMPLES {
        let list = page.split(heading).nth(1).unwrap().split("\n### ").next().unwrap();
        let listed: Vec<PathBuf> =
            list.split('`').skip(1).step_by(2).filter(|text| text.contains('/')).map(|path| root().join(path)).collect();
        assert!(!listed.is_empty(), "{heading}");
        for path in &listed {
            assert!(path.exists(), "{heading}: there is no {}", path.display());
        }
        for folder in ["agent/src", "agent-ebpf/src", "agent-ebpf/abi/src"] {
            for path in sources(&root().join(folder)) {
                let knows = fs::read_to_string(&path).unwrap().split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
                assert!(!knows || listed.contains(&path), "{heading}: {} knows {name} and is not listed", path.display());
            }
        }
    }
}

#[test]
fn an_output_is_told_from_commands() {
    let page = "# A\nText.\n\n    cargo xtask demo\n\nAn example:\n\n    3 passed\n\n```toml\nx = 1\n```\n\nMore:\n\n```json\n{}\n```\n";
    let outputs = outputs(page);
    let outputs: Vec<_> = outputs.iter().map(|(before, output)| (before.lines().last().unwrap(), output.as_str())).collect();
    assert_eq!(outputs, [("An example:", "3 passed\n"), ("More:", "{}\n")]);
}
