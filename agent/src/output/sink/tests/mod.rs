//! Sinks against receivers that this test plays: gone, back, slow, never reading, beside each
//! other.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod receivers;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixDatagram, UnixListener},
    path::Path,
    time::{Duration, Instant},
};

use super::{Body, Facility, Fsync, Opened, SinkSpec, Sinks, SyslogAddress, Target, WhenFull};
use crate::{
    event::{Event, SinkTotals},
    output::{Format, OutputError},
};
use receivers::{ids, numbered, started, stopped};

const PATIENCE: Duration = Duration::from_secs(20);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn file(path: &Path) -> SinkSpec {
    SinkSpec::new(Target::File { path: path.to_owned(), format: Format::Json, fsync: Fsync::Never })
}

fn tcp(listener: &TcpListener) -> SinkSpec {
    SinkSpec::new(Target::Tcp { address: listener.local_addr().unwrap().to_string() })
}

/// Waits for a fact.
fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn of(sinks: &Sinks, name: &str) -> SinkTotals {
    sinks.totals().get(name).copied().unwrap_or_default()
}

/// Ends a run as a session does, and gives back what became of the resets.
fn finish(sinks: Sinks, limit: Duration) -> BTreeMap<String, SinkTotals> {
    runtime().block_on(async {
        sinks.settle(limit).await;
        let totals = sinks.totals();
        sinks.push(stopped());
        sinks.finish(limit).await.unwrap();
        totals
    })
}

#[test]
fn every_sink_gets_every_event_in_order_and_the_last_line() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(directory.path().join("stream")).unwrap();
    let path = directory.path().join("events");
    let specs = [file(&path), tcp(&listener), SinkSpec::new(Target::UnixStream { path: directory.path().join("stream") })];
    let sinks = Sinks::daemon(&specs).unwrap();
    sinks.push(started());
    (0..500).for_each(|number| sinks.push(numbered(number)));
    let over_tcp = std::thread::spawn(move || BufReader::new(listener.accept().unwrap().0).lines().map(Result::unwrap).collect::<Vec<_>>());
    let over_unix = std::thread::spawn(move || BufReader::new(unix.accept().unwrap().0).lines().map(Result::unwrap).collect::<Vec<_>>());
    let totals = finish(sinks, PATIENCE);
    let kept: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(ToOwned::to_owned).collect();
    for lines in [kept, over_tcp.join().unwrap(), over_unix.join().unwrap()] {
        assert_eq!(lines.len(), 502);
        assert!(lines[0].contains("agent_started") && lines[501].contains("agent_stopped"));
        assert_eq!(ids(&lines), (0..500).collect::<Vec<_>>());
    }
    assert!(totals.values().all(|totals| *totals == SinkTotals { written: 500, lost: 0, ..SinkTotals::default() }), "{totals:?}");
}

#[test]
fn a_sink_that_nobody_reads_loses_by_the_numbers_and_disturbs_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = directory.path().join("events");
    let deaf = SinkSpec { queue: 16, ..tcp(&listener) };
    // Larger than what the two kernels buffer on loopback.
    let events = 6_000;
    let sinks = Sinks::daemon(&[SinkSpec { queue: 10_000, ..file(&path) }, deaf.clone()]).unwrap();
    let (peer, _) = {
        sinks.push(started());
        listener.accept().unwrap()
    };
    (0..events).for_each(|number| sinks.push(numbered(number)));
    until("the file has everything", || of(&sinks, &format!("file:{}", path.display())).written == events);
    until("something is lost", || of(&sinks, &deaf.name).lost > 0);
    // Now it reads: all that is not lost comes, and nothing else.
    let reader = std::thread::spawn(move || BufReader::new(peer).lines().map(Result::unwrap).collect::<Vec<_>>());
    let totals = finish(sinks, PATIENCE);
    let got = ids(&reader.join().unwrap());
    let books = totals[&deaf.name];
    assert_eq!((got.len() as u64, books.written + books.lost), (books.written, events), "{books:?}");
    assert_eq!(got.last(), Some(&(events - 1)), "the oldest are dropped");
    assert!(got.is_sorted());
    assert_eq!(ids(&fs::read_to_string(&path).unwrap().lines().map(ToOwned::to_owned).collect::<Vec<_>>()).len() as u64, events);
}

#[test]
fn what_was_not_acknowledged_is_sent_again_on_the_next_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = tcp(&listener);
    let sinks = Sinks::daemon(std::slice::from_ref(&spec)).unwrap();
    (0..10).for_each(|number| sinks.push(numbered(number)));
    // The first reader takes a little and is gone; closing with unread data is a RST.
    let (mut first, _) = listener.accept().unwrap();
    let mut some = [0_u8; 5000];
    first.read_exact(&mut some).unwrap();
    until("the first ten are acknowledged", || of(&sinks, &spec.name).written == 10);
    drop(first);
    (10..110).for_each(|number| sinks.push(numbered(number)));
    let (second, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || BufReader::new(second).lines().map(Result::unwrap).collect::<Vec<_>>());
    let totals = finish(sinks, PATIENCE);
    assert_eq!(totals[&spec.name], SinkTotals { written: 110, lost: 0, ..SinkTotals::default() });
    assert_eq!(ids(&reader.join().unwrap()), (10..110).collect::<Vec<_>>());
}

#[test]
fn a_receiver_that_is_not_there_yet_is_found_when_it_comes() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let spec = SinkSpec::new(Target::Tcp { address: free.to_string() });
    let sinks = Sinks::daemon(std::slice::from_ref(&spec)).unwrap();
    (0..10).for_each(|number| sinks.push(numbered(number)));
    // Refused at least once.
    assert!(TcpStream::connect(free).is_err());
    let listener = TcpListener::bind(free).unwrap();
    let reader = std::thread::spawn(move || BufReader::new(listener.accept().unwrap().0).lines().map(Result::unwrap).collect::<Vec<_>>());
    until("all are written", || of(&sinks, &spec.name).written == 10);
    finish(sinks, PATIENCE);
    assert_eq!(ids(&reader.join().unwrap()), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_dead_sink_does_not_hold_up_the_end_and_loses_what_it_held() {
    let directory = tempfile::tempdir().unwrap();
    let spec = SinkSpec::new(Target::UnixStream { path: directory.path().join("nobody") });
    let sinks = Sinks::daemon(std::slice::from_ref(&spec)).unwrap();
    (0..10).for_each(|number| sinks.push(numbered(number)));
    let began = Instant::now();
    let totals = finish(sinks, PATIENCE);
    assert!(began.elapsed() < PATIENCE / 2);
    assert_eq!(totals[&spec.name], SinkTotals { written: 0, lost: 10, ..SinkTotals::default() });
}

#[test]
fn a_sink_that_hangs_at_the_end_takes_no_other_the_last_line() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = directory.path().join("events");
    let deaf = tcp(&listener);
    let sinks = Sinks::daemon(&[file(&path), deaf.clone()]).unwrap();
    let (_peer, _) = {
        sinks.push(started());
        listener.accept().unwrap()
    };
    // More than what the two kernels buffer on loopback.
    (0..6_000).for_each(|number| sinks.push(numbered(number)));
    until("the file has everything", || of(&sinks, &format!("file:{}", path.display())).written == 6_000);
    let totals = finish(sinks, Duration::from_millis(300));
    assert!(totals[&deaf.name].lost > 0, "{totals:?}");
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept.lines().last().unwrap().contains("agent_stopped"));
}

#[test]
fn a_unix_receiver_may_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datagrams");
    let spec = SinkSpec::new(Target::UnixDatagram { path: path.clone() });
    let first = UnixDatagram::bind(&path).unwrap();
    let sinks = Sinks::daemon(std::slice::from_ref(&spec)).unwrap();
    let mut buffer = vec![0_u8; 1 << 16];
    let mut receive = |socket: &UnixDatagram| {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        assert!(!text.ends_with('\n'));
        ids(&[text])
    };
    sinks.push(numbered(0));
    assert_eq!(receive(&first), [0]);
    drop(first);
    fs::remove_file(&path).unwrap();
    sinks.push(numbered(1));
    let second = UnixDatagram::bind(&path).unwrap();
    assert_eq!(receive(&second), [1]);
    let totals = finish(sinks, PATIENCE);
    assert_eq!(totals[&spec.name], SinkTotals { written: 2, lost: 0, ..SinkTotals::default() });
}

#[test]
fn a_datagram_receiver_that_is_slow_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("datagrams");
    let socket = UnixDatagram::bind(&path).unwrap();
    let spec = SinkSpec::new(Target::UnixDatagram { path });
    let sinks = Sinks::daemon(std::slice::from_ref(&spec)).unwrap();
    // More than net.unix.max_dgram_qlen lets queue.
    (0..2000).for_each(|number| sinks.push(numbered(number)));
    until("some are taken", || of(&sinks, &spec.name).written > 0);
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0_u8; 1 << 16];
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let lines =
            (0..2000).map(|_| socket.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()).unwrap());
        let lines: Vec<String> = lines.collect();
        // The last line.
        socket.recv(&mut buffer).unwrap();
        lines
    });
    let totals = finish(sinks, PATIENCE);
    assert_eq!(totals[&spec.name], SinkTotals { written: 2000, lost: 0, ..SinkTotals::default() });
    assert_eq!(ids(&reader.join().unwrap()), (0..2000).collect::<Vec<_>>());
}

#[test]
fn syslog_over_tcp_counts_octets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = SyslogAddress::Tcp(listener.local_addr().unwrap().to_string());
    let spec = SinkSpec::new(Target::Syslog { address, facility: Facility::DAEMON, body: Body::Json });
    let sinks = Sinks::daemon(std::slice::from_ref(&spec)).unwrap();
    (0..5).for_each(|number| sinks.push(numbered(number)));
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
        all
    });
    finish(sinks, PATIENCE);
    let all = reader.join().unwrap();
    let mut rest = all.as_slice();
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let space = rest.iter().position(|byte| *byte == b' ').unwrap();
        let length: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
        messages.push(String::from_utf8(rest[space + 1..=space + length].to_vec()).unwrap());
        rest = &rest[space + 1 + length..];
    }
    assert_eq!(messages.len(), 6);
    let bodies: Vec<String> = messages.iter().map(|message| message[message.find('{').unwrap()..].to_owned()).collect();
    assert_eq!(ids(&bodies), [0, 1, 2, 3, 4]);
}

#[test]
fn syslog_over_udp_and_unix() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let unix = UnixDatagram::bind(&path).unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let syslog = |address| SinkSpec::new(Target::Syslog { address, facility: Facility::DAEMON, body: Body::Text });
    let specs = [syslog(SyslogAddress::Unix(path)), syslog(SyslogAddress::Udp(udp.local_addr().unwrap().to_string()))];
    let sinks = Sinks::daemon(&specs).unwrap();
    sinks.push(numbered(7));
    let mut buffer = vec![0_u8; 1 << 16];
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    unix.set_read_timeout(Some(PATIENCE)).unwrap();
    let from_udp = udp.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap();
    let from_unix = unix.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap();
    assert_eq!(from_udp, from_unix);
    assert!(from_udp.starts_with(b"<28>1 "), "daemon.warning: 3 * 8 + 4");
    finish(sinks, PATIENCE);
}

#[test]
fn a_reload_keeps_what_stays_and_ends_what_goes() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["stays", "goes", "comes"].map(|name| directory.path().join(name));
    let [stays, goes, comes] = paths.each_ref().map(|path| file(path));
    let mut sinks = Sinks::daemon(&[stays.clone(), goes.clone()]).unwrap();
    (0..10).for_each(|number| sinks.push(numbered(number)));
    until("the first are written", || of(&sinks, &stays.name).written == 10);
    // Moved away as logrotate does before it sends SIGHUP.
    fs::rename(&paths[0], directory.path().join("stays.1")).unwrap();
    sinks.reload(&[SinkSpec { queue: 99, when_full: WhenFull::DropNewest, ..stays.clone() }, comes.clone()], &started()).unwrap();
    (10..20).for_each(|number| sinks.push(numbered(number)));
    let totals = finish(sinks, PATIENCE);
    let numbers = |path: &Path| ids(&fs::read_to_string(path).unwrap().lines().map(ToOwned::to_owned).collect::<Vec<_>>());
    assert_eq!(numbers(&directory.path().join("stays.1")), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(&paths[0]), (10..20).collect::<Vec<_>>());
    assert_eq!(numbers(&paths[1]), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(&paths[2]), (10..20).collect::<Vec<_>>());
    assert!(fs::read_to_string(&paths[2]).unwrap().starts_with("{\"event\":\"agent_started\""));
    let written = [&stays, &goes, &comes].map(|spec| totals[&spec.name].written);
    assert_eq!(written, [20, 10, 10]);
}

#[test]
fn the_output_of_a_capture_fails_at_once_and_for_good() {
    let error = Opened::new(Target::File { path: "/nonexistent/x".into(), format: Format::Json, fsync: Fsync::Never }).err();
    assert!(matches!(error, Some(OutputError::Open { .. })));
    let sinks =
        Sinks::capture(Opened::new(Target::File { path: "/dev/full".into(), format: Format::Json, fsync: Fsync::Never }).unwrap()).unwrap();
    sinks.push(started());
    let failure = runtime().block_on(async {
        sinks.flush(PATIENCE).await;
        sinks.failure()
    });
    assert!(matches!(&failure, Err(OutputError::Write { target, .. }) if target == "/dev/full"), "{failure:?}");
}

#[test]
fn a_capture_leaves_the_ring_alone_while_its_reader_is_slow() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0).unwrap();
    let reading = {
        let path = path.clone();
        std::thread::spawn(move || fs::File::open(path).unwrap())
    };
    let sinks = Sinks::capture(Opened::new(Target::File { path, format: Format::Json, fsync: Fsync::Never }).unwrap()).unwrap();
    let reader = reading.join().unwrap();
    let mut pushed = 0;
    while !sinks.holds_ring() {
        sinks.push(numbered(pushed));
        pushed += 1;
        assert!(pushed < 100_000);
    }
    let read = std::thread::spawn(move || BufReader::new(reader).lines().map(Result::unwrap).collect::<Vec<_>>());
    until("there is room again", || !sinks.holds_ring());
    let unwritten = runtime().block_on(async {
        let unwritten = sinks.settle(PATIENCE).await;
        sinks.push(stopped());
        sinks.finish(PATIENCE).await.unwrap();
        unwritten
    });
    assert_eq!(unwritten.lost, 0);
    let lines = read.join().unwrap();
    assert_eq!(ids(&lines), (0..pushed).collect::<Vec<_>>());
    assert!(matches!(serde_json::from_str(lines.last().unwrap()).unwrap(), Event::AgentStopped(_)));
}

/// A destination with a defect.
struct Defect;

impl super::Destination for Defect {
    fn write(&mut self, _items: &[std::sync::Arc<super::Item>]) -> super::destination::Outcome {
        unreachable!("this is the defect")
    }
}

#[test]
fn a_thread_that_ended_and_a_sink_that_fails_are_told_from_one_that_works() {
    let directory = tempfile::tempdir().unwrap();
    let (good, bad) = (directory.path().join("events.jsonl"), directory.path().join("none/events.jsonl"));
    let mut sinks = Sinks::daemon(&[file(&good), file(&bad)]).unwrap();
    let spec = SinkSpec {
        name: "defect".to_owned(),
        ..SinkSpec::new(Target::Stdout { format: Format::Json, style: crate::output::pretty::Style::PLAIN })
    };
    sinks.start(spec, 16, super::Overflow::Lose(WhenFull::DropOldest), Box::new(Defect)).unwrap();
    sinks.push(numbered(1));
    let live = |name: &str| sinks.status().into_iter().find(|sink| sink.name == name).and_then(|sink| sink.live).unwrap();
    until("the thread has ended", || live("defect").ended);
    until("the file cannot be opened", || live(&format!("file:{}", bad.display())).failing);
    let works = live(&format!("file:{}", good.display()));
    assert!(works.is_up() && !live(&format!("file:{}", bad.display())).ended && !live("defect").is_up());
    until("it is written", || live(&format!("file:{}", good.display())).waiting == 0);
}
