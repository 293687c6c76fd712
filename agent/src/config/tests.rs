#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, os::unix::fs::symlink, path::Path, sync::mpsc, thread, time::Duration};

use clap::Parser as _;
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Config, ConfigError, settings};
use crate::{
    cli::{self, Cli, Command, ConfigArgs},
    host::netns::NetnsFilter,
    output::sink::{Fsync, Target, WhenFull},
};

const EXAMPLE: &str = include_str!("../../../packaging/rstblame.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("f.toml"), text)
}

/// The one line that a bad file is answered with.
fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The example with its commented settings taken in.
fn full_example() -> String {
    EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).unwrap_or(line))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_example_is_the_defaults() {
    assert_eq!(parse(EXAMPLE).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
}

/// Each row can be printed and read back, has a table, and stands in the example.
#[test]
fn every_setting_is_documented_once() {
    let example = full_example();
    let mut seen = std::collections::BTreeSet::new();
    let mut section = "";
    let mut documented: Vec<String> = Vec::new();
    for line in example.lines() {
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            section = header;
        } else if let Some((key, _)) = line.trim_start_matches(['#', ' ']).split_once(" = ") {
            documented.push(if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") });
        }
    }
    for setting in settings::SETTINGS {
        assert!(seen.insert(setting.name()), "{} stands twice", setting.name());
        assert!(settings::SECTIONS.iter().any(|(key, _)| *key == setting.section), "{} is in no table", setting.name());
        assert!(documented.contains(&setting.name()), "the example does not have {}", setting.name());
    }
}

#[test]
fn the_defaults_are_those_of_a_capture() {
    let Command::Capture(capture) = Cli::try_parse_from(["rstblame", "capture"]).unwrap().command else { unreachable!("as asked for") };
    let config = Config::default();
    assert_eq!(
        (config.settle, config.state_dir, config.netns, config.ignored),
        (capture.settle, capture.state_dir, capture.netns, capture.ignored)
    );
    assert_eq!((config.kernel, config.flood), (capture.kernel, capture.flood));
    assert_eq!(config.ports.names(), capture.ports.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[test]
fn what_is_commented_out_in_the_example_is_valid_and_covers_every_sink() {
    let config = parse(&full_example()).unwrap();
    assert_eq!(config.state_dir.as_deref(), Some(Path::new("/var/lib/rstblame")));
    assert_eq!(config.middleboxes.len(), 1);
    assert_eq!(config.sinks.len(), 7);
    // Every key that is printed for any of them stands in the example.
    for line in config.to_string().lines().filter(|line| line.contains(" = ")) {
        let key = line.split(" = ").next().unwrap();
        assert!(full_example().lines().any(|line| line.starts_with(&format!("{key} = "))), "{key} is not in the example");
    }
}

#[test]
fn what_is_printed_reads_the_same() {
    for text in [EXAMPLE.to_owned(), full_example()] {
        let config = parse(&text).unwrap();
        assert_eq!(parse(&config.to_string()).unwrap(), config, "{config}");
    }
}

#[test]
fn values_are_understood() {
    let config = parse(
        "[filter]\nports = [5671, \"15671-15672\"]\nnetns = 4026531840\npids = [7]\n[kernel]\nbtf = \"none\"\nmax_processes = 0x10\n\
         [[sink]]\ntype = \"file\"\npath = \"/f\"\nfsync = \"250ms\"\nwhen_full = \"block_until 5s\"\n",
    )
    .unwrap();
    assert_eq!(config.ports.names(), ["5671", "15671-15672"]);
    assert_eq!(config.netns, NetnsFilter::Inode(4_026_531_840));
    assert_eq!(config.kernel.max_processes, 16);
    let [sink] = config.sinks.as_slice() else { unreachable!("one sink") };
    assert_eq!(sink.name, "file:/f");
    assert_eq!(sink.when_full, WhenFull::BlockUntil(Duration::from_secs(5)));
    assert!(matches!(sink.target, Target::File { fsync: Fsync::Interval(interval), .. } if interval == Duration::from_millis(250)));
}

#[test]
fn metrics_are_served_where_it_says() {
    for (listen, remote) in [
        ("off", false),
        ("127.0.0.2:9752", false),
        ("[::1]:9752", false),
        ("[::ffff:127.0.0.1]:1", false),
        ("unix:/run/x.sock", false),
        ("192.0.2.1:80", true),
    ] {
        let config = parse(&format!("[metrics]\nlisten = {listen:?}\nallow_remote = {remote}\n")).unwrap();
        assert_eq!(config.metrics.listen.as_ref().map(ToString::to_string), (listen != "off").then(|| listen.to_owned()));
        assert_eq!(parse(&config.to_string()).unwrap(), config);
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_its_line() {
    for (text, expected) in [
        ("settle = \"1s\"\nfliter = 1\n", "f.toml:2: unknown key \"fliter\"; did you mean filter?"),
        ("[filter]\n\nprots = [1]\n", "f.toml:3: unknown key \"prots\" in [filter]; did you mean ports?"),
        ("[kernel]\nzzz = 1\n", "f.toml:2: unknown key \"zzz\" in [kernel]; known keys are ring_size, max_connections, max_processes"),
        ("settle = 1\n", "f.toml:1: settle is an integer; give a time from 0 to 1m"),
        ("settle = \"2m\"\n", "f.toml:1: settle = \"2m\" is no such time; give a time from 0 to 1m"),
        ("filter = 3\n", "f.toml:1: filter is an integer; write [filter] above its keys"),
        ("[sink]\ntype = \"stdout\"\n", "f.toml:1: sink is a table; write [[sink]] above each"),
        ("sink = []\n", "sink is empty"),
        ("[filter]\nports = []\n", "f.toml:2: ports is empty"),
        ("[filter]\nports = [\n  5672,\n  \"5600-5700\",\n]\n", "f.toml:4: ports: 5600-5700 overlaps 5672"),
        ("[filter]\nports = [0]\n", "f.toml:2: ports: port 0 does not exist"),
        ("[filter]\nports = \"5672\"\n", "f.toml:2: ports is a string; give an array"),
        ("[filter]\nignored = \"no\"\n", "f.toml:2: ignored is a string; give true or false"),
        ("[filter]\nnetns = \"web\"\n", "f.toml:2: netns: `web` names no network namespace"),
        ("[filter]\npids = [-1]\n", "f.toml:2: pids = -1 is out of range; give a number from 1"),
        ("[kernel]\nring_size = \"1KiB\"\n", "f.toml:2: ring_size = \"1KiB\": out of range"),
        ("[kernel]\nhooks = \"tracpoint\"\n", "f.toml:2: unknown hooks \"tracpoint\"; did you mean tracepoint?"),
        ("[metrics]\nlisten = \"9752\"\n", "f.toml:2: listen = \"9752\": give \"off\", an address such as"),
        ("[metrics]\nlisten = \"unix:x\"\n", "f.toml:2: listen = \"unix:x\": give \"off\""),
        ("[metrics]\nlisten = \"127.0.0.1:0\"\n", "f.toml:2: listen = \"127.0.0.1:0\": give \"off\""),
        ("[metrics]\nlisten = \"0.0.0.0:9752\"\n", "f.toml:2: listen = \"0.0.0.0:9752\" can be reached by other hosts"),
        ("[metrics]\nlisten = \"[2001:db8::1]:9752\"\nallow_remote = false\n", "f.toml:2: listen = \"[2001:db8::1]:9752\" can be reached"),
        ("[metrics]\nmax_peers = 0\n", "f.toml:2: max_peers = 0 is out of range; give a number from 1 to 100000"),
        ("[[middlebox]]\nname = \"x\"\n", "f.toml:1: [[middlebox]] has no network; give an address or network"),
        ("[[middlebox]]\nnetwork = \"10.0.0.0/33\"\nname = \"x\"\n", "f.toml:2: network = \"10.0.0.0/33\": give an address or network"),
        (
            "[[middlebox]]\nnetwork = \"10.0.0.0/8\"\nname = \"a\"\n[[middlebox]]\nnetwork = \"10.1.0.0/8\"\nname = \"b\"\n",
            "f.toml:5: [[middlebox]] names 10.1.0.0/8 twice, as \"a\" and as \"b\"",
        ),
        ("[[sink]]\n", "f.toml:1: [[sink]] has no type; give one of stdout, file"),
        ("[[sink]]\ntype = \"flie\"\n", "f.toml:2: unknown type \"flie\"; did you mean file?"),
        ("[[sink]]\ntype = \"file\"\npth = \"/x\"\n", "f.toml:3: unknown key \"pth\" in [[sink]]; did you mean path?"),
        ("[[sink]]\ntype = \"tcp\"\npath = \"/x\"\n", "f.toml:3: unknown key \"path\" in [[sink]]"),
        ("[[sink]]\ntype = \"file\"\npath = \"x\"\n", "f.toml:3: path = \"x\": give an absolute path"),
        ("[[sink]]\ntype = \"tcp\"\naddress = \"::1:5\"\n", "f.toml:3: address = \"::1:5\": give HOST:PORT"),
        ("[[sink]]\ntype = \"syslog\"\naddress = \"http://x:1\"\n", "f.toml:3: address = \"http://x:1\": give a path"),
        ("[[sink]]\ntype = \"stdout\"\nqueue = 1\n", "f.toml:3: queue = 1 is out of range; give a number from 16 to 1048576"),
        ("[[sink]]\ntype = \"stdout\"\nwhen_full = \"block\"\n", "f.toml:3: when_full = \"block\": give \"drop_oldest\""),
        (
            "[[sink]]\ntype = \"stdout\"\nwhen_full = \"block_until 1h\"\n",
            "f.toml:3: when_full = \"block_until 1h\": give a time from 1ms to 10m",
        ),
        ("[[sink]]\ntype = \"stdout\"\n[[sink]]\ntype = \"stdout\"\n", "f.toml:3: [[sink]] goes to the same place as stdout"),
        ("a = \n", "f.toml:1: "),
        ("settle = \"1s\"\nsettle = \"2s\"\n", "f.toml:2: duplicate key"),
    ] {
        let refused = refusal(text);
        assert!(refused.contains(expected), "{text:?} gives {refused:?}, not {expected:?}");
        assert_eq!(refused.lines().count(), 1, "{refused:?}");
    }
}

#[test]
fn a_file_that_is_named_has_to_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("none.toml");
    assert!(matches!(Config::load(&ConfigArgs { file: file.clone() }), Err(ConfigError::Read { .. })));
    fs::write(&file, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(matches!(Config::load(&ConfigArgs { file }), Err(ConfigError::TooLarge { .. })));
}

/// Whatever lies in its place: it is read on the thread of the session.
#[test]
fn what_is_no_regular_file_is_neither_waited_for_nor_read_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink("/dev/zero", path("zero")).unwrap();
    symlink("fifo", path("link")).unwrap();
    let (tell, told) = mpsc::channel();
    for name in ["fifo", "zero", "link"] {
        let (args, tell) = (ConfigArgs { file: path(name) }, tell.clone());
        // On a thread apart: one that waits for good would never tell.
        thread::spawn(move || {
            let both = Box::new((Config::load(&args), Config::reload(&args, &Config::default())));
            let _gone = tell.send(both);
        });
        let (loaded, reloaded) = *told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(matches!(loaded, Err(ConfigError::Read { .. })), "{name}");
        assert!(matches!(reloaded, Err(ConfigError::Read { .. })), "{name}");
    }
    // A link of one's own is followed, as those of a ConfigMap are.
    fs::write(path("file"), "settle = \"3s\"\n").unwrap();
    symlink("file", path("own")).unwrap();
    assert_eq!(Config::load(&ConfigArgs { file: path("own") }).unwrap().settle, Duration::from_secs(3));
}

#[test]
fn a_default_file_that_is_missing_means_the_defaults_at_the_start_only() {
    let args = ConfigArgs { file: cli::CONFIG.into() };
    if args.file.exists() {
        eprintln!("there is a {}: that it is missing cannot be tried", args.file.display());
        return;
    }
    assert_eq!(Config::load(&args).unwrap(), Config::default());
    // Started without it, a daemon goes on without it.
    assert_eq!(Config::reload(&args, &Config::default()).unwrap(), Config::default());
    let running = Config { ignored: true, ..Config::default() };
    assert!(matches!(Config::reload(&args, &running), Err(ConfigError::Read { .. })));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text);
    }

    /// A good file with one line replaced is read, or refused in one line that names an existing
    /// one.
    #[test]
    fn any_damage_is_one_line(at in 0_usize..120, line in "[ -~]{0,40}") {
        let text = full_example();
        let count = text.lines().count();
        let damaged: String =
            text.lines().enumerate().fold(String::new(), |all, (index, old)| all + if index == at % count { &line } else { old } + "\n");
        if let Err(error) = parse(&damaged) {
            let error = error.to_string();
            prop_assert_eq!(error.lines().count(), 1, "{}", error);
            let number: usize = error.split(':').nth(1).unwrap().parse().unwrap();
            prop_assert!((1..=count).contains(&number), "{}", error);
        }
    }

    #[test]
    fn any_valid_configuration_is_printed_as_it_is_read(
        first in 1_u16..30_000, last in 30_000_u16.., queue in 16_u64..=1_048_576, wait in 1_u64..=600_000, comm in "\\PC{1,20}",
    ) {
        prop_assume!(!comm.trim().is_empty());
        let text = format!(
            "[filter]\nports = [\"{first}-{last}\"]\ncomms = [{}]\n[[sink]]\ntype = \"tcp\"\naddress = \"[::1]:{first}\"\nqueue = {queue}\n\
             when_full = \"block_until {wait}ms\"\n",
            toml::Value::String(comm),
        );
        let config = parse(&text).unwrap();
        prop_assert_eq!(parse(&config.to_string()).unwrap(), config);
    }
}
