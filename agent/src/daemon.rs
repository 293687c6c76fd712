//! The agent as a service, by a configuration file.

use std::{io::Write as _, process::ExitCode};

use crate::{
    capture,
    cli::{self, ConfigArgs, DaemonArgs},
    config::Config,
    log,
};

/// Runs `rstblame daemon`.
pub fn run(args: DaemonArgs) -> ExitCode {
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            log::failed(error);
            return ExitCode::from(cli::USAGE);
        }
    };
    if args.check_config {
        let file = &args.config.file;
        return print(&if file.exists() {
            format!("{} is valid\n", file.display())
        } else {
            format!("there is no {}; every setting has its default\n", file.display())
        });
    }
    let mut config = config;
    if args.user.is_some() {
        config.privileges.user = args.user;
    }
    log::configure(config.log);
    capture::exit_code(&capture::run_daemon(args.config, config))
}

/// Runs `rstblame config`.
pub fn print_config(args: &ConfigArgs) -> ExitCode {
    match Config::load(args) {
        Ok(config) => print(&config.to_string()),
        Err(error) => {
            log::failed(error);
            ExitCode::from(cli::USAGE)
        }
    }
}

fn print(text: &str) -> ExitCode {
    // A reader that has seen enough is no failure.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            log::failed(format_args!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
