//! The `rstblame` command.

use std::process::ExitCode;

use clap::{Parser as _, error::ErrorKind};
use rstblame::{
    capture, check,
    cli::{self, Cli, Command},
    daemon, event, events, explain, log, pcap, report, summary, top,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if let Err(error) = log::init(cli.log) {
        log::failed(error);
        return ExitCode::from(cli::USAGE);
    }
    match cli.command {
        Command::Capture(args) => capture::exit_code(&capture::run(&args)),
        Command::Daemon(args) => daemon::run(args),
        Command::Config(args) => daemon::print_config(&args),
        Command::Check(args) => check::run(&args),
        Command::Pcap(args) => pcap::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Summary(args) => summary::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Schema => schema(),
    }
}

/// One line that names what is wrong; clap's own paragraphs are for `--help`.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        // A closed pipe is no reason to complain about help text.
        let _ignored = error.print();
        return if error.use_stderr() { ExitCode::from(cli::USAGE) } else { ExitCode::SUCCESS };
    }
    let text = error.to_string();
    let cause = text.lines().next().unwrap_or_default();
    let hint = text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).map_or_else(String::new, |tip| format!("; {tip}"));
    // clap names what is missing beneath.
    let names: Vec<&str> = text.lines().skip(1).take_while(|line| cause.ends_with(':') && line.starts_with("  ")).map(str::trim).collect();
    let names = if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) };
    log::failed(format_args!("{}{names}{hint} (see rstblame --help)", cause.trim_start_matches("error: ").trim()));
    ExitCode::from(cli::USAGE)
}

fn schema() -> ExitCode {
    use std::io::Write as _;
    let written =
        serde_json::to_string_pretty(&event::schema()).map_err(std::io::Error::from).and_then(|text| writeln!(std::io::stdout(), "{text}"));
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            log::failed(format_args!("cannot write the schema: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
