//! Configuration: what is accepted is printed as what reads back the same, and what is refused
//! names its line.

use std::path::Path;

use rstblame::config::Config;

pub fn holds(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let path = Path::new("/etc/rstblame.toml");
    match Config::parse(path, text) {
        Ok(config) => {
            let printed = config.to_string();
            let again = Config::parse(path, &printed).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(again, config, "{printed}");
        }
        Err(error) => {
            let message = error.to_string();
            let rest = message.strip_prefix("/etc/rstblame.toml:").unwrap_or_else(|| panic!("{message:?} names no file"));
            let (line, problem) = rest.split_once(": ").unwrap_or_else(|| panic!("{message:?} names no line"));
            let line: usize = line.parse().unwrap_or_else(|error| panic!("{message:?}: {error}"));
            assert!((1..=text.split('\n').count().max(1)).contains(&line), "{message:?} of {} lines", text.lines().count());
            assert!(!problem.is_empty() && !message.contains('\n'), "{message:?} is more than one line");
        }
    }
}
