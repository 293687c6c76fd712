//! The commands in the README and in `docs/` are commands that this program takes, and its
//! configurations are ones that it reads.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Command},
};

use clap::{Parser as _, error::ErrorKind};
use rstblame::cli::Cli;

/// Each page with its name.
fn pages() -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).chain([root.join("README.md")]);
    pages.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

/// The words of a command line up to where a shell would end it; quotes are those that the pages
/// use.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in command.chars() {
        match (letter, quote) {
            ('"' | '\'', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            ('|' | '>' | '#' | ';' | '&' | ')', None) => break,
            (' ', None) => words.push(String::new()),
            (letter, _) => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The command lines of this program on a page: in blocks, and whole in backquotes.
fn commands(page: &str) -> Vec<String> {
    let lines = page.lines().filter(|line| line.starts_with("    ")).map(str::trim);
    let begins = lines.filter_map(|line| {
        let line = line.split_once("| ").map_or(line, |(first, then)| if then.starts_with("rstblame ") { then } else { first });
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        line.starts_with("rstblame ").then(|| line.to_owned())
    });
    let quoted = page.split('`').skip(1).step_by(2).filter(|text| text.starts_with("rstblame ")).map(str::to_owned);
    begins.chain(quoted).collect()
}

#[test]
fn every_command_is_one_it_takes() {
    let mut count = 0;
    for (name, page) in pages() {
        for command in commands(&page) {
            // Versions and the heading of `capture` begin with the same word.
            if command.starts_with("rstblame 0.") {
                continue;
            }
            // What the reader decides on.
            let words: Vec<String> = words(&command.replace(['[', ']'], "")).into_iter().filter(|word| word != "...").collect();
            if let Err(error) = Cli::try_parse_from(&words) {
                // What is only named has no arguments.
                let is_named = error.kind() == ErrorKind::MissingRequiredArgument;
                assert!(is_named || !error.use_stderr(), "{name}: {command}\n{error}");
            }
            count += 1;
        }
    }
    assert!(count > 15, "{count} commands were found");
}

#[test]
fn every_configuration_is_one_it_reads() {
    let mut count = 0;
    for (name, page) in pages() {
        for (number, block) in page.split("\n```toml\n").skip(1).enumerate() {
            let text = block.split("\n```").next().unwrap();
            let path = env::temp_dir().join(format!("rstblame-documented-{}-{number}.toml", process::id()));
            fs::write(&path, text).unwrap();
            let mut check = Command::new(env!("CARGO_BIN_EXE_rstblame"));
            let output = check.args(["daemon", "--check-config", "--config"]).arg(&path).output().unwrap();
            fs::remove_file(&path).unwrap();
            assert!(output.status.success(), "{name}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
            count += 1;
        }
    }
    assert!(count > 0, "no configuration was found");
}

#[test]
fn commands_are_found_and_cut_as_a_shell_would() {
    let page = "text\n\n    sudo rstblame capture --duration 10m > \"$(hostname).json\"\n    tail -F x | rstblame explain -\n\n`rstblame check` or `other`\n";
    let found: Vec<_> = commands(page).iter().map(|command| words(command).join(" ")).collect();
    assert_eq!(found, ["rstblame capture --duration 10m", "rstblame explain -", "rstblame check"]);
}
