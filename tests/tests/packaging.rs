//! What is packed beside the agent, given to the programs that read it.

use std::{fs, path::Path, process::Command, time::Duration};

use rstblame_lab::{
    LabError, Result,
    agents::{
        agent::Agent,
        record::Record,
        site::{Site, lines_of},
    },
    command::{finish, run},
    peers::peer::AMQP,
    poll, workspace,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Both ends of a connection are on the one host.
const EVENTS: u64 = 2;

/// Lower is better; `systemd-analyze` calls up to 2.0 good.
const MOST_EXPOSED: f64 = 2.0;

fn packaging(name: &str) -> String {
    workspace::root().join("packaging").join(name).to_string_lossy().into_owned()
}

#[test]
fn the_unit_is_hardened_as_far_as_its_work_allows() -> Result<()> {
    let report = run(&["systemd-analyze", "security", "--offline=true", "--no-pager", &packaging("systemd/rstblame.service")])?;
    let figure =
        report.lines().find_map(|line| line.split_once("Overall exposure level for rstblame.service: ")?.1.split(' ').next()?.parse().ok());
    assert!(figure.is_some_and(|figure: f64| figure <= MOST_EXPOSED), "{report}");
    Ok(())
}

/// Every setting is one that systemd knows, and means what it says.
#[test]
fn systemd_finds_nothing_wrong_with_the_unit() -> Result<()> {
    let unit = packaging("systemd/rstblame.service");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no", &unit]);
    let said = finish(verify, PATIENCE)?.stderr;
    // The agent is not installed here.
    let wrong: Vec<&str> = said.lines().filter(|line| line.contains("rstblame") && !line.contains("is not executable")).collect();
    assert_eq!(wrong, [""; 0]);
    Ok(())
}

/// logrotate as it is packed, again and again while connections are reset. The agent is not told
/// (there is no systemd to do it): it notices.
#[test]
fn rotated_under_it_the_file_loses_no_line() -> Result<()> {
    const ROTATIONS: usize = 4;
    const EACH: usize = 25;
    let site = Site::new("logrotate")?;
    let file = site.path("events.jsonl");
    let config = site.configure(&format!("[{AMQP}]"), &format!("[[sink]]\ntype = \"file\"\nname = \"file\"\npath = {file:?}\n"))?;
    let packed = fs::read_to_string(packaging("logrotate/rstblame")).map_err(|error| LabError::io("read the snippet", error))?;
    let rules = packed.replace("/var/log/rstblame/*.jsonl", &file.to_string_lossy()).replace("su rstblame rstblame", "su root root");
    assert!(rules.contains(&*file.to_string_lossy()) && rules.contains("su root root"), "{packed}");
    let (conf, state) = (site.path("logrotate.conf"), site.path("logrotate.state"));
    fs::write(&conf, rules).map_err(|error| LabError::io("write the rules", error))?;

    let agent = Agent::daemon(&config).start()?;
    let written = |count: u64| {
        poll::until("lines in the file", PATIENCE, || Ok((lines_of(&file).unwrap_or_default().len() as u64 >= count).then_some(())))
    };
    written(1)?;
    for _ in 0..ROTATIONS {
        std::thread::scope(|scope| {
            let resets = scope.spawn(|| site.resets(AMQP, EACH));
            run(&["logrotate", "--force", "--state", &state.to_string_lossy(), &conf.to_string_lossy()])?;
            resets.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        // Something is in the new file before that is moved in its turn: an empty one is not
        // rotated.
        site.resets(AMQP, 1)?;
        written(1)?;
    }
    let record = agent.stop()?;
    let all = EVENTS * (ROTATIONS * (EACH + 1)) as u64;
    assert_eq!(record.totals().map(|totals| (totals.seen, totals.lost)), Some((all, 0)));

    let mut lines = Vec::new();
    for number in (0..=ROTATIONS).rev() {
        lines.extend(rotated(&file, number)?);
    }
    assert_eq!(lines.len(), record.lines().len());
    assert_eq!(Record::new(lines).resets().count() as u64, all);
    Ok(())
}

/// The lines of the file that was rotated so many times.
fn rotated(file: &Path, number: usize) -> Result<Vec<String>> {
    let name = file.to_string_lossy();
    match number {
        0 => lines_of(file),
        1 => lines_of(Path::new(&format!("{name}.1"))),
        _ => Ok(run(&["zcat", &format!("{name}.{number}.gz")])?.lines().map(str::to_owned).collect()),
    }
}
