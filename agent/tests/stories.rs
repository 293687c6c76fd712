//! The stories of recorded incidents, and the tutorial: what docs/stories.md and docs/incident.md
//! show of the program is what it prints.
//!
//! With `RSTBLAME_WRITE_DOCS` in the environment the pages are written instead: read the difference
//! before it is committed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// What a command of a page prints, run where its files are.
fn output(command: &str) -> String {
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("rstblame"), "{command}");
    let mut shell = Command::new("sh");
    let line = command.replacen("rstblame", "\"$0\"", 1);
    shell.args(["-c", &line, env!("CARGO_BIN_EXE_rstblame")]).current_dir(root().join("agent/testdata/stories")).env_remove("NO_COLOR");
    let done = shell.output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    text.replace("\r\n", "\n")
}

/// Writes every output of a page anew: the blocks `console` begin with the command, after `$ `.
fn printed(page: &str) -> String {
    let mut text = String::new();
    let mut blocks = 0;
    let mut rest = page;
    while let Some((before, block)) = rest.split_once("```console\n") {
        let (block, after) = block.split_once("```").unwrap();
        text.push_str(before);
        text.push_str("```console\n");
        for command in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
            blocks += 1;
            writeln!(text, "$ {command}").unwrap();
            text.push_str(&output(command));
        }
        text.push_str("```");
        rest = after;
    }
    assert!(blocks >= 4, "a page without commands shows nothing");
    text + rest
}

fn is_what_it_prints(page: &Path) {
    let written = fs::read_to_string(page).unwrap();
    let printed = printed(&written);
    if env::var_os("RSTBLAME_WRITE_DOCS").is_some() {
        fs::write(page, printed).unwrap();
    } else {
        assert!(printed == written, "{} is out of date: run this test with RSTBLAME_WRITE_DOCS=1\n{printed}", page.display());
    }
}

#[test]
fn stories_are_those_of_their_recordings() {
    let page = root().join("docs/stories.md");
    let text = fs::read_to_string(&page).unwrap();
    for file in fs::read_dir(root().join("agent/testdata/stories")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(text.contains(&format!("$ rstblame summary {name}\n")), "{name} is not told");
    }
    is_what_it_prints(&page);
}

#[test]
fn the_tutorial_shows_what_is_printed() {
    is_what_it_prints(&root().join("docs/incident.md"));
}
