//! What the daemon tells of itself: metrics that add up and that Prometheus understands, health
//! that is lost when something dies, and clients that can do no harm.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rstblame_lab::{
    LabError, Result,
    agents::{agent::Agent, ptrace::Stopped, site::Site},
    command::{finish, run, spawn, wait},
    peers::peer::AMQP,
    poll, workspace,
};
use rustix::process::Signal;
use serde_json::Value;

/// How long something may take that is under way.
const PATIENCE: Duration = Duration::from_secs(20);

/// Both ends of a connection are on the one host, which sends its reset and receives it.
const EVENTS: u64 = 2;

/// A daemon, and where it serves its metrics.
struct Served {
    site: Site,
    address: SocketAddr,
    config: PathBuf,
}

impl Served {
    fn new(name: &str, more: &str) -> Result<Self> {
        let site = Site::new(name)?;
        let address = free_address()?;
        let config = site.configure(&format!("[{AMQP}]"), &format!("[metrics]\nlisten = \"{address}\"\nmax_peers = 1\n{more}"))?;
        Ok(Self { site, address, config })
    }

    /// What curl gets: the status code and the body.
    fn curl(&self, path: &str, arguments: &[&str]) -> Result<(String, String)> {
        let url = format!("http://{}{path}", self.address);
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "10", "--write-out", "\n%{http_code}"]).args(arguments).arg(url);
        let said = finish(command, PATIENCE)?.stdout;
        let (body, code) = said.rsplit_once('\n').unwrap_or(("", &said));
        Ok((code.to_owned(), body.to_owned()))
    }

    fn scrape(&self) -> Result<Scrape> {
        let (code, text) = self.curl("/metrics", &[])?;
        assert_eq!(code, "200");
        let scrape = Scrape(text);
        // Whenever somebody looks.
        assert_eq!(
            scrape.sum("rstblame_resets_seen_total"),
            scrape.sum("rstblame_resets_emitted_total")
                + scrape.sum("rstblame_resets_suppressed_total")
                + scrape.sum("rstblame_resets_lost_total"),
            "{}",
            scrape.0
        );
        Ok(scrape)
    }

    /// What is dead by `/healthz`; `None` when it does not answer at all.
    fn dead(&self) -> Result<Option<Vec<String>>> {
        let (code, body) = self.curl("/healthz", &[])?;
        if code == "000" {
            return Ok(None);
        }
        let report: Value = serde_json::from_str(&body).map_err(|error| LabError::Client(format!("{error} in {body:?}")))?;
        let dead = report
            .get("dead")
            .and_then(Value::as_array)
            .map(|dead| dead.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect());
        let dead: Vec<String> = dead.unwrap_or_default();
        let status = report.get("status").and_then(Value::as_str);
        let expected = if dead.is_empty() { ("200", Some("ok")) } else { ("503", Some("dead")) };
        assert_eq!((code.as_str(), status), expected, "{body}");
        Ok(Some(dead))
    }

    fn wait_for_dead(&self, expected: &[&str]) -> Result<()> {
        poll::until(&format!("{expected:?} to be dead"), PATIENCE, || Ok((self.dead()?.is_some_and(|dead| dead == expected)).then_some(())))
    }
}

/// An address that nothing listens on, as far as can be told.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| LabError::io("listen", error))?;
    listener.local_addr().map_err(|error| LabError::io("read an address", error))
}

/// One scrape, in Prometheus text.
struct Scrape(String);

impl Scrape {
    /// The series of one name: labels as they stand, and the value.
    fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with('{'))?;
            Some((labels, value.parse().ok()?))
        })
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
    fn sum(&self, name: &str) -> u64 {
        self.series(name).map(|(_, value)| value).sum::<f64>() as u64
    }

    /// Names of everything in it.
    fn names(&self) -> BTreeSet<&str> {
        self.0.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect()
    }
}

/// The names of metrics in a text.
fn named_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("rstblame_") || word.starts_with("process_")).collect()
}

fn packaged(path: &str) -> Result<String> {
    let path = workspace::root().join("packaging").join(path);
    fs::read_to_string(&path).map_err(|error| LabError::io(format!("read {}", path.display()), error))
}

/// The expressions of a dashboard, wherever in it they are.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(["expr", "query", "definition"].iter().filter_map(|key| members.get(*key)?.as_str().map(str::to_owned)));
            members.values().for_each(|member| expressions(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

#[test]
fn metrics_add_up_and_are_what_the_rules_and_the_dashboard_ask_for() -> Result<()> {
    const RESETS: u64 = 30;
    let file = "[[sink]]\ntype = \"file\"\nname = \"full\"\npath = \"/dev/full\"\nqueue = 16\n";
    let mut served = Served::new("metrics", file)?;
    // The host itself is taken for a load balancer, so that there are resets of one.
    let middlebox = format!("[[middlebox]]\nnetwork = \"{}\"\nname = \"lb\"\n", served.site.host.v4());
    served.config = served
        .site
        .configure(&format!("[{AMQP}]"), &format!("{file}{middlebox}[metrics]\nlisten = \"{}\"\nmax_peers = 1\n", served.address))?;
    let agent = Agent::daemon(&served.config).start()?;
    let idle = served.scrape()?;
    assert_eq!(idle.sum("rstblame_resets_seen_total"), 0);
    std::thread::scope(|scope| {
        let resets = scope.spawn(|| served.site.resets(AMQP, usize::try_from(RESETS).unwrap_or_default()));
        while !resets.is_finished() {
            served.scrape()?;
        }
        resets.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let all = EVENTS * RESETS;
    let scrape = poll::until("all resets to be accounted for", PATIENCE, || {
        let scrape = served.scrape()?;
        Ok((scrape.sum("rstblame_resets_pending") == 0 && scrape.sum("rstblame_resets_seen_total") == all).then_some(scrape))
    })?;
    for counted in [
        "rstblame_resets_emitted_total",
        "rstblame_resets_total",
        "rstblame_peer_resets_total",
        "rstblame_reset_report_delay_seconds_count",
    ] {
        assert_eq!(scrape.sum(counted), all, "{counted} in\n{}", scrape.0);
    }
    let sink = |name: &str, label: &str| {
        scrape.series(name).find(|(labels, _)| *labels == format!("{{sink=\"{label}\"}}")).map(|(_, value)| value)
    };
    assert_eq!(sink("rstblame_sink_up", "full"), Some(0.0), "{}", scrape.0);
    assert!(sink("rstblame_sink_lost_total", "full") > Some(0.0), "{}", scrape.0);
    assert_eq!(sink("rstblame_sink_up", "stdout"), Some(1.0));
    assert!(scrape.sum("rstblame_middlebox_resets_total") > 0, "{}", scrape.0);
    assert!(scrape.series("rstblame_hook_attached").count() >= 4 && scrape.series("rstblame_hook_attached").all(|(_, value)| value > 0.0));

    // A client that goes away without a word, so that there is one among those that were dropped.
    drop(TcpStream::connect(served.address).map_err(|error| LabError::io("connect", error))?);
    let scrape = poll::until("a dropped connection", PATIENCE, || {
        let scrape = served.scrape()?;
        Ok((scrape.sum("rstblame_http_connections_dropped_total") == 1).then_some(scrape))
    })?;
    let names = scrape.names();
    let mut dashboard = Vec::new();
    let json: Value = serde_json::from_str(&packaged("grafana/rstblame.json")?).map_err(|error| LabError::Client(error.to_string()))?;
    expressions(&json, &mut dashboard);
    assert!(dashboard.len() > 10, "the dashboard asks for something");
    for text in [packaged("prometheus/rstblame.rules.yml")?, dashboard.join("\n")] {
        let missing: Vec<_> = named_in(&text).into_iter().filter(|name| *name != "rstblame_" && !names.contains(name)).collect();
        assert_eq!(missing, Vec::<&str>::new(), "no such metrics in\n{}", scrape.0);
    }

    let mut promtool = spawn(Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()))?;
    if let Some(mut stdin) = promtool.stdin.take() {
        stdin.write_all(scrape.0.as_bytes()).map_err(|error| LabError::io("write to promtool", error))?;
    }
    assert!(wait(&mut promtool, "promtool check metrics", PATIENCE)?.success(), "promtool has something to say of\n{}", scrape.0);
    let (_, openmetrics) = served.curl("/metrics", &["--header", "Accept: application/openmetrics-text;version=1.0.0"])?;
    assert!(openmetrics.ends_with("# EOF\n") && openmetrics.contains("\n# TYPE rstblame_resets_seen counter\n"), "{openmetrics}");

    let record = agent.stop()?;
    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    assert_eq!((totals.seen, totals.emitted), (all, all));
    Ok(())
}

#[test]
fn the_alert_rules_hold() -> Result<()> {
    let rules = workspace::root().join("packaging/prometheus");
    run(&["promtool", "check", "rules", &rules.join("rstblame.rules.yml").to_string_lossy()])?;
    run(&["promtool", "test", "rules", &rules.join("rstblame.rules.test.yml").to_string_lossy()]).map(drop)
}

#[test]
fn health_is_lost_with_what_dies_and_comes_back_with_it() -> Result<()> {
    let served = Served::new("health", "")?;
    let agent = Agent::daemon(&served.config).start()?;
    assert_eq!(served.dead()?, Some(Vec::new()));
    let (_, report) = served.curl("/healthz", &[])?;
    assert!(report.contains("{\"name\":\"ring\",\"state\":\"ok\""), "a heartbeat comes through: {report}");

    // The thread of the session, which is the first of its process.
    let stopped = Stopped::new(agent.pid())?;
    served.wait_for_dead(&["session"])?;
    let (_, metrics) = served.curl("/metrics", &[])?;
    assert!(!metrics.contains("rstblame_resets_seen_total") && metrics.contains("rstblame_session_turns_total"), "{metrics}");
    drop(stopped);
    served.wait_for_dead(&[])?;

    // The whole process.
    agent.signal(Signal::STOP)?;
    let (code, _) = served.curl("/healthz", &["--max-time", "1"])?;
    assert_eq!(code, "000", "who does not run does not answer");
    agent.signal(Signal::CONT)?;
    served.wait_for_dead(&[])?;
    served.site.resets(AMQP, 1)?;
    agent.wait_for_count("rst", EVENTS)?;
    agent.stop().map(drop)
}

/// Without its link the kernel takes a program off its tracepoint, and tells nobody.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_hook_that_is_gone_is_missed() -> Result<()> {
    let served = Served::new("hook", "")?;
    let agent = Agent::daemon(&served.config).start()?;
    let link = link_of(agent.pid(), "tcp_receive_reset")?;
    poll::until("the link to be closed", PATIENCE, || Ok(Stopped::new(agent.pid())?.close(link).ok()))?;
    served.wait_for_dead(&["hook tcp_receive_reset"])?;
    let scrape = served.scrape()?;
    let gone: Vec<_> = scrape.series("rstblame_hook_attached").filter(|(_, value)| *value == 0.0).map(|(labels, _)| labels).collect();
    assert_eq!(gone, ["{hook=\"tcp_receive_reset\"}"]);
    // And it is true: of both ends of a connection only the one that sends is seen.
    served.site.resets(AMQP, 1)?;
    agent.wait_for_count("rst", 1)?;
    let scrape = poll::until("the reset to be accounted for", PATIENCE, || {
        let scrape = served.scrape()?;
        Ok((scrape.sum("rstblame_resets_seen_total") > 0 && scrape.sum("rstblame_resets_pending") == 0).then_some(scrape))
    })?;
    assert_eq!(scrape.sum("rstblame_reset_firings_total"), 1);
    // It would close the descriptor a second time.
    agent.signal(Signal::KILL)
}

/// The descriptor by which a process holds its program on a tracepoint.
#[cfg(target_arch = "x86_64")]
fn link_of(pid: u32, tracepoint: &str) -> Result<u32> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).map_err(|error| LabError::io(format!("read {directory}"), error))?;
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    names
        .find(|fd| {
            let text = fs::read_to_string(format!("{directory}/{fd}")).unwrap_or_default();
            text.lines().any(|line| line == format!("tp_name:\t{tracepoint}"))
        })
        .ok_or_else(|| LabError::Client(format!("no link to {tracepoint} in {directory}")))
}

#[test]
fn whatever_clients_do_the_agent_works_and_answers() -> Result<()> {
    const CROWD: usize = 1000;
    const RESETS: usize = 20;
    let served = Served::new("hostile", "")?;
    let agent = Agent::daemon(&served.config).start()?;
    let connect = || TcpStream::connect(served.address).map_err(|error| LabError::io("connect to the metrics", error));
    let before = open_files(agent.pid())?;

    // Garbage, a head without end, a method that is none, and each in vain.
    for (request, status) in [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), "400"),
        ([b"GET /metrics HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat(), "431"),
        (b"DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "405"),
        (b"GET /\x1b[31mred HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "400"),
    ] {
        let mut stream = connect()?;
        // It is closed in the midst of what is too large.
        let _written = stream.write_all(&request);
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) || status == "431", "{status}: {answer:?}");
    }
    // A crowd, half of it without a word and half in the midst of one.
    let mut crowd = Vec::with_capacity(CROWD);
    for number in 0..CROWD {
        let mut stream = connect()?;
        if number % 2 == 0 {
            let _gone_already = stream.write_all(b"GET /met");
        }
        crowd.push(stream);
    }
    let began = Instant::now();
    assert_eq!(served.dead()?, Some(Vec::new()));
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?} to be heard behind the crowd", began.elapsed());
    served.site.resets(AMQP, RESETS)?;
    agent.wait_for_count("rst", EVENTS * RESETS as u64)?;
    let scrape = served.scrape()?;
    let dropped: BTreeMap<_, _> = scrape.series("rstblame_http_connections_dropped_total").collect();
    assert!(dropped.get("{reason=\"crowded\"}").is_some_and(|dropped| *dropped >= 900.0), "{dropped:?}");
    assert!(open_files(agent.pid())? <= before + 64 + 8, "no more than may be open are");
    drop(crowd);
    poll::until("the connections to be closed", PATIENCE, || Ok((open_files(agent.pid())? <= before + 1).then_some(())))?;

    let record = agent.stop()?;
    let totals = record.totals().ok_or_else(|| LabError::Client("no totals".to_owned()))?;
    assert_eq!((totals.seen, totals.lost), (EVENTS * RESETS as u64, 0));
    assert!(!record.log().contains("red") && !record.log().contains("xxx"), "nothing of it is logged: {}", record.log());
    Ok(())
}

fn open_files(pid: u32) -> Result<usize> {
    let directory = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&directory).map_err(|error| LabError::io(format!("read {directory}"), error))?.count())
}

#[test]
fn systemd_is_told_and_its_watchdog_starves_with_the_session() -> Result<()> {
    let site = Site::new("notify")?;
    let config = site.configure(&format!("[{AMQP}]"), "")?;
    let directory = tempdir()?;
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).map_err(|error| LabError::io("bind a socket", error))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(|error| LabError::io("set a timeout", error))?;
    let told = || {
        let mut buffer = [0; 4096];
        // A child of a test beside this one may end meanwhile.
        let length = loop {
            match socket.recv(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other.map_err(|error| LabError::io("hear of the agent", error))?,
            }
        };
        Ok::<_, LabError>(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
    };
    let wait_told = |what: &str| {
        loop {
            let said = told()?;
            if said.contains(what) {
                return Ok::<_, LabError>(said);
            }
        }
    };
    let agent = Agent::daemon(&config).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000").start()?;
    wait_told("READY=1")?;
    wait_told("hooks attached; resets: 0 seen")?;
    wait_told("WATCHDOG=1")?;

    let stopped = Stopped::new(agent.pid())?;
    // What was on its way before it was stopped may still come, but no more after its death was
    // found.
    wait_told("STATUS=Dead: session")?;
    wait_told("STATUS=Dead: session")?;
    let starved = {
        let mut heard = Vec::new();
        for _ in 0..2 {
            heard.push(told()?);
        }
        heard
    };
    assert!(starved.iter().all(|said| said.starts_with("STATUS=Dead: session")), "{starved:?}");
    drop(stopped);
    wait_told("WATCHDOG=1")?;

    agent.signal(Signal::HUP)?;
    let reloading = wait_told("RELOADING=1")?;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    wait_told("READY=1")?;
    agent.signal(Signal::TERM)?;
    wait_told("STOPPING=1")?;
    let record = agent.finish()?;
    assert!(record.log().contains("the watchdog is not fed"), "{}", record.log());
    fs::remove_dir_all(&directory).map_err(|error| LabError::io("remove a directory", error))
}

/// A directory whose name is short enough for a socket in it.
fn tempdir() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("rstblame-notify-{}", std::process::id()));
    fs::create_dir_all(&path).map_err(|error| LabError::io("make a directory", error))?;
    Ok(path)
}
