//! Processes of this machine, and made-up ones in a directory laid out as procfs is.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// `stat` as the kernel writes it, with a comm and a start time.
fn stat_line(comm: &str, start: u64) -> String {
    format!("42 ({comm}) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 31 0 {start} 1000 200 18446744073709551615 1 1\n")
}

struct Fixture {
    root: tempfile::TempDir,
}

impl Fixture {
    /// A broker, process 42, of user 999, with every file that is read.
    fn broker() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("42");
        fs::create_dir_all(dir.join("ns")).unwrap();
        fs::create_dir_all(root.path().join("self/ns")).unwrap();
        symlink("user:[4026531837]", root.path().join("self/ns/user")).unwrap();
        symlink("user:[4026531837]", dir.join("ns/user")).unwrap();
        symlink("net:[4026532008]", dir.join("ns/net")).unwrap();
        symlink("/usr/lib/erlang/erts-13/bin/beam.smp (deleted)", dir.join("exe")).unwrap();
        let fixture = Self { root };
        fixture.write("42/stat", &stat_line("1_scheduler", 123_456));
        fixture.write("42/status", "Name:\t1_scheduler\nNSpid:\t42\t7\t1\nUid:\t0\t999\t0\t0\n");
        fixture.write("42/cmdline", "beam.smp\0-setcookie\0ABCDEF\0-noinput\0\0\0");
        fixture.write("42/cgroup", "0::/system.slice/rabbitmq-server.service\n");
        fixture.write("passwd", "hosty:x:999:999::/:/bin/false\n");
        fixture
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root.path().join(name), text).unwrap();
    }

    fn processes(&self) -> Processes {
        Processes::new(self.root.path(), self.root.path().join("passwd")).showing(Detail::Redacted)
    }
}

#[test]
fn every_fact_is_read() {
    let facts = Fixture::broker().processes().read(42).unwrap();
    assert_eq!(
        facts,
        ProcessFacts {
            pid: 42,
            start_time_ticks: 123_456,
            comm: "1_scheduler".to_owned(),
            executable_name: "beam.smp".to_owned(),
            executable_path: Some("/usr/lib/erlang/erts-13/bin/beam.smp".to_owned()),
            command_line: Some("beam.smp -setcookie *** -noinput".to_owned()),
            uid: Some(999),
            user_name: Some("hosty".to_owned()),
            cgroup: cgroup::parse("0::/system.slice/rabbitmq-server.service\n"),
            namespace_pid: Some(1),
            net_namespace: Some(4_026_532_008),
        }
    );
}

#[test]
fn what_is_not_there_is_absent() {
    let fixture = Fixture::broker();
    for name in ["status", "cmdline", "cgroup", "exe", "ns/net"] {
        fs::remove_file(fixture.root.path().join("42").join(name)).unwrap();
    }
    let facts = fixture.processes().read(42).unwrap();
    assert_eq!(facts.executable_name, "1_scheduler");
    assert_eq!((facts.executable_path, facts.command_line), (None, None));
    assert_eq!((facts.uid, facts.user_name, facts.namespace_pid), (None, None, None));
    assert_eq!((facts.cgroup, facts.net_namespace), (None, None));
}

#[test]
fn user_of_a_container_is_named_by_its_own_file() {
    let fixture = Fixture::broker();
    fixture.write("42/cgroup", &format!("0::/system.slice/docker-{CONTAINER}.scope\n"));
    fs::create_dir_all(fixture.root.path().join("42/root/etc")).unwrap();
    fixture.write("42/root/etc/passwd", "rabbitmq:x:999:999::/:/bin/false\n");
    let user = || fixture.processes().read(42).unwrap().user_name;
    assert_eq!(user().as_deref(), Some("rabbitmq"));

    // A scratch image has no such file, and the host's 999 is someone else.
    fs::remove_file(fixture.root.path().join("42/root/etc/passwd")).unwrap();
    assert_eq!(user(), None);

    // With user ids of its own, the number that is seen is the host's.
    fs::remove_file(fixture.root.path().join("42/ns/user")).unwrap();
    symlink("user:[4026532999]", fixture.root.path().join("42/ns/user")).unwrap();
    assert_eq!(user().as_deref(), Some("hosty"));
}

#[test]
fn another_start_time_is_another_process() {
    let fixture = Fixture::broker();
    let again = || fixture.write("42/stat", &stat_line("1_scheduler", 123_457));
    let result = fixture.processes().read_with(42, again);
    assert!(matches!(result, Err(ProcessError::Reused { pid: 42 })), "{result:?}");
}

#[test]
fn a_process_that_ends_meanwhile_keeps_its_facts() {
    let fixture = Fixture::broker();
    let end = || fs::remove_file(fixture.root.path().join("42/stat")).unwrap();
    let facts = fixture.processes().read_with(42, end).unwrap();
    assert_eq!(facts.executable_name, "beam.smp");
}

#[test]
fn errors_tell_gone_from_malformed() {
    let fixture = Fixture::broker();
    assert!(matches!(fixture.processes().read(43), Err(ProcessError::Gone { pid: 43 })));
    for text in ["", "42", "42 (x", "42 (x) S 1", &stat_line("x", 1).replace(" 1 1000", " soon 1000")] {
        fixture.write("42/stat", text);
        assert!(matches!(fixture.processes().read(42), Err(ProcessError::Malformed { .. })), "{text:?}");
    }
}

#[test]
fn an_argument_cut_off_is_left_out() {
    let uri = format!("amqp://user:{}@host", "p".repeat(MAX_CMDLINE_READ));
    let mut bytes = format!("x\0-v\0{uri}").into_bytes();
    bytes.truncate(MAX_CMDLINE_READ);
    assert_eq!(command_line(Detail::Redacted, &bytes).as_deref(), Some("x -v"));
}

#[test]
fn own_process_is_read() {
    let pid = std::process::id();
    let processes = Processes::new("/proc", "/etc/passwd");
    let facts = processes.read(pid).unwrap();
    let own = std::env::current_exe().unwrap();
    assert_eq!(facts.executable_path.as_deref(), own.to_str());
    assert_eq!(facts.uid, Some(rustix::process::geteuid().as_raw()));
    assert_eq!(facts.net_namespace, Some(netns::self_inode().unwrap()));
    assert_eq!(facts.start_time_ticks, processes.start_time_ticks(pid).unwrap());
    assert!(facts.cgroup.is_some_and(|facts| facts.path.starts_with('/')));
}

#[test]
fn a_process_that_ended_is_gone_and_a_zombie_has_a_name() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let processes = Processes::new("/proc", "/etc/passwd");
    let alive = processes.start_time_ticks(pid).unwrap();
    child.kill().unwrap();
    // WNOWAIT leaves the zombie: it has ended, and nobody has reaped it.
    let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(id, options).unwrap();
    let zombie = processes.read(pid).unwrap();
    assert_eq!((zombie.start_time_ticks, zombie.command_line), (alive, None));
    assert_eq!(zombie.executable_name, zombie.comm);

    // The open directory stays with the process, even if the number were used again.
    let dir = open_dir(&PathBuf::from(format!("/proc/{pid}"))).unwrap();
    child.wait().unwrap();
    let gone = read_at(dir.as_fd(), "stat", MAX_STAT_READ).unwrap_err();
    assert!(matches!(error(pid, Path::new("stat"), gone), ProcessError::Gone { .. }));
}

#[test]
fn ticks_are_those_of_the_kernel() {
    assert_eq!(ticks_from_boottime_ns(12_345_678_901, 100), 1234);
    assert_eq!(ticks_from_boottime_ns(9_999_999, 100), 0);
    assert_eq!(ticks_from_boottime_ns(10_000_000, 100), 1);
    assert_eq!(ticks_from_boottime_ns(u64::MAX, 1024), u64::MAX / 976_562);
    assert_eq!(ticks_from_boottime_ns(1, 0), 0);
    assert_eq!(ticks_from_boottime_ns(1, u64::MAX), 0);
}

proptest! {
    #[test]
    fn comm_may_hold_anything(comm in "[ -~]{0,15}", start: u64) {
        let stat = parse_stat(stat_line(&comm, start).as_bytes()).unwrap();
        prop_assert_eq!((stat.comm, stat.start_time_ticks), (comm, start));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_stat(&bytes);
        let _ = command_line(Detail::Redacted, &bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = (effective_uid(&text), namespace_pid(&text));
    }

    #[test]
    fn innermost_pid_is_the_last(pids in prop::collection::vec(1_u32..4_194_304, 1..6)) {
        let line = pids.iter().map(u32::to_string).collect::<Vec<_>>().join("\t");
        let (first, last) = (pids.first().copied(), pids.last().copied());
        prop_assert_eq!(namespace_pid(&format!("Pid:\t1\nNSpid:\t{line}\n")), last.filter(|_| first != last));
    }
}
