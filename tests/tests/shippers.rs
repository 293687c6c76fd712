//! The configurations under packaging/shippers: those of rsyslog and syslog-ng run in the real
//! programs, a reset goes in and is found on the other side with its fields; of all of them every
//! field they name is in the schema of the events.

use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rstblame_lab::{
    LabError, Result, Value,
    agents::{agent::Agent, record::is_kind, site::Site},
    command,
    peers::peer::AMQP,
    poll, workspace,
};

/// How long a program may take to start, and an event to pass through it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a shipped configuration writes.
const LOGS: &str = "/var/log/rstblame";

fn shipped(name: &str) -> Result<String> {
    fs::read_to_string(workspace::root().join("packaging/shippers").join(name)).map_err(LabError::during("read a shipper's configuration"))
}

/// A program, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended, perhaps.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nothing listens on.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(LabError::during("find a free port"))?.port())
}

/// Sends a reset through the agent and a program that listens on `port`, and compares what comes
/// out.
fn ships(site: &Site, port: u16, program: &mut Command, json: &str) -> Result<()> {
    let _program = Running(command::spawn(program.stdin(Stdio::null()))?);
    poll::until("the program to listen", PATIENCE, || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))?;
    let config = site.configure(&format!("[{AMQP}]"), &format!("[[sink]]\ntype = \"syslog\"\naddress = \"tcp://127.0.0.1:{port}\"\n"))?;
    let agent = Agent::daemon(&config).start()?;
    site.resets(AMQP, 1)?;
    agent.wait_for_count("rst", 2)?;
    let record = agent.stop()?;

    let text = |name: &str| fs::read_to_string(site.path(name)).unwrap_or_default();
    let all: Vec<Value> = record.events().collect();
    let arrived: Vec<Value> = poll::until("every event on the other side", PATIENCE, || {
        let lines: Vec<_> = text(json).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok((lines.len() >= all.len()).then_some(lines))
    })?;
    assert_eq!(arrived, all, "every event arrives whole, once, in order");
    let resets = poll::until("the resets on the other side", PATIENCE, || {
        Ok(Some(text("resets.log")).filter(|text| text.lines().count() >= 2 && text.ends_with('\n')))
    })?;
    for (line, event) in resets.lines().zip(all.iter().filter(|event| is_kind(event, "rst"))) {
        let field = |pointer: &str| match event.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            other => other.map(Value::to_string).unwrap_or_default(),
        };
        let expected = format!(
            "{} host={} severity={} origin={} cause={} local={}:{} peer={}:{} id={}",
            field("/timestamp"),
            field("/host/name"),
            field("/severity"),
            field("/origin/kind"),
            field("/cause/id"),
            field("/network/local/address"),
            field("/network/local/port"),
            field("/network/peer/address"),
            field("/network/peer/port"),
            field("/id")
        );
        assert_eq!(line, expected);
    }
    Ok(())
}

#[test]
fn rsyslog_takes_a_reset_with_its_fields() -> Result<()> {
    let site = Site::new("rsyslog")?;
    let port = free_port()?;
    let text = shipped("rsyslog.conf")?.replace(LOGS, &directory(&site)).replace("5514", &port.to_string());
    let config = site.path("rsyslog.conf");
    fs::write(&config, text).map_err(LabError::during("write a configuration"))?;
    let mut program = Command::new("rsyslogd");
    program.arg("-n").arg("-f").arg(config).arg("-i").arg(site.path("pid")).arg("-M").arg(workspace::library("rsyslog", "imptcp.so")?);
    ships(&site, port, &mut program, "rsyslog.jsonl")
}

#[test]
fn syslog_ng_takes_a_reset_with_its_fields() -> Result<()> {
    let site = Site::new("syslog-ng")?;
    let port = free_port()?;
    let text = shipped("syslog-ng.conf")?.replace(LOGS, &directory(&site)).replace("5515", &port.to_string());
    let config = site.path("syslog-ng.conf");
    fs::write(&config, format!("@version: 3.38\noptions {{ log-msg-size(65536); }};\n{text}"))
        .map_err(LabError::during("write a configuration"))?;
    let mut program = Command::new("syslog-ng");
    program.args(["-F", "--no-caps", "-f"]).arg(config);
    program.arg("-R").arg(site.path("persist")).arg("-p").arg(site.path("pid")).arg("-c").arg(site.path("control"));
    program.arg(format!("--module-path={}", workspace::library("syslog-ng-core", "libjson-plugin.so")?.display()));
    ships(&site, port, &mut program, "syslog-ng.jsonl")
}

fn directory(site: &Site) -> String {
    site.path("").display().to_string().trim_end_matches('/').to_owned()
}

/// How a configuration writes the path of a field of an event.
type Paths = fn(&str) -> Vec<String>;

/// Every shipped configuration, and how to find the fields in it.
const SHIPPED: [(&str, Paths); 7] = [
    ("rsyslog.conf", |text| after(text, "$!rstblame!", '!')),
    ("syslog-ng.conf", |text| after(text, "${rstblame.", '.')),
    ("vector.toml", |text| after(text, " .rstblame.", '.').into_iter().chain(after(text, "(.rstblame.", '.')).collect()),
    ("fluent-bit.yaml", |text| after(&text.replace("['", ".").replace("']", ""), "- $", '.')),
    ("otel-collector.yaml", |text| {
        let named = ["parse_from: attributes.", "from: attributes.", "'attributes."];
        named.iter().flat_map(|before| after(text, before, '.')).collect()
    }),
    ("filebeat.yml", |text| after(text, " rstblame.", '.')),
    ("alloy.alloy", |text| {
        let block = text.split_once("expressions = {").and_then(|(_, rest)| rest.split_once('}')).map_or("", |(block, _)| block);
        after(block, "= \"", '.')
    }),
];

/// The paths that follow each `before`, as JSON pointers.
fn after(text: &str, before: &str, separator: char) -> Vec<String> {
    let is_path = |c: char| c.is_ascii_lowercase() || c == '_' || c == separator;
    let paths = text.split(before).skip(1).map(|rest| rest.split(|c| !is_path(c)).next().unwrap_or_default().trim_end_matches(separator));
    paths.filter(|path| !path.is_empty()).map(|path| path.replace(separator, "/")).collect()
}

/// Whether an event may have this field.
fn is_in_schema(schema: &Value, at: &Value, path: &str) -> bool {
    let resolved = at.get("$ref").and_then(Value::as_str).and_then(|reference| schema.pointer(reference.trim_start_matches('#')));
    let choices = ["anyOf", "oneOf"].into_iter().filter_map(|key| at.get(key)?.as_array()).flatten();
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let own = at.get("properties").and_then(|properties| properties.get(first));
    own.is_some_and(|next| rest.is_none_or(|rest| is_in_schema(schema, next, rest)))
        || resolved.into_iter().chain(choices).any(|at| is_in_schema(schema, at, path))
}

#[test]
fn every_field_that_a_configuration_names_is_in_the_schema() -> Result<()> {
    let text = fs::read_to_string(workspace::root().join("docs/schema.json")).map_err(LabError::during("read the schema"))?;
    let schema: Value = serde_json::from_str(&text).map_err(|error| LabError::io("read the schema", error))?;
    assert!(!is_in_schema(&schema, &schema, "origin/knid") && !is_in_schema(&schema, &schema, "kind"), "the check can fail");
    for (name, paths) in SHIPPED {
        let paths: BTreeSet<String> = paths(&shipped(name)?).into_iter().collect();
        for needed in ["origin/kind", "cause/id", "network/peer/address"] {
            assert!(paths.contains(needed), "{name} does not pass {needed} on: {paths:?}");
        }
        for path in &paths {
            assert!(is_in_schema(&schema, &schema, path), "{name} names {path}, and no event has it");
        }
    }
    let there = fs::read_dir(workspace::root().join("packaging/shippers")).map_err(LabError::during("list the configurations"))?;
    let there: BTreeSet<_> = there.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(there, SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect(), "each is looked at");
    Ok(())
}

/// As far as a syntax goes that is at hand without the program.
#[test]
fn what_is_toml_or_yaml_reads_as_such() -> Result<()> {
    for name in ["fluent-bit.yaml", "otel-collector.yaml", "filebeat.yml"] {
        let documents =
            yaml_rust2::YamlLoader::load_from_str(&shipped(name)?).map_err(|error| LabError::Client(format!("{name}: {error}")))?;
        assert!(documents.len() == 1 && documents.iter().all(|document| document.as_hash().is_some_and(|hash| hash.len() > 1)), "{name}");
    }
    let vector: toml::Table = shipped("vector.toml")?.parse().map_err(|error| LabError::Client(format!("vector.toml: {error}")))?;
    assert!(["sources", "transforms", "sinks"].iter().all(|key| vector.contains_key(*key)));
    Ok(())
}
