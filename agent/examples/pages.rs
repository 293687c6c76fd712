//! Writes the man pages and shell completions that are packed, into a directory:
//! `cargo run --example pages -- DIRECTORY`.

use std::{env, fs, io, path::PathBuf};

use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};
use rstblame::cli::Cli;

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).map(PathBuf::from).ok_or_else(|| io::Error::other("which directory?"))?;
    fs::create_dir_all(&directory)?;
    clap_mangen::generate_to(Cli::command(), &directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "rstblame", &directory)?;
    }
    Ok(())
}
