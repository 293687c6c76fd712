#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use super::{FileSink, cut_off, length};
use crate::output::sink::{destination::Destination as _, item::Item, spec::Fsync};

fn item() -> Arc<Item> {
    Arc::new(Item::new(serde_json::from_str(include_str!("../../../../testdata/events/rst-minimal.json")).unwrap()))
}

fn sink(path: &Path, fsync: Fsync) -> FileSink {
    FileSink::new(path, Box::new(|item| item.json().clone()), fsync)
}

fn write(sink: &mut FileSink, count: usize) {
    let outcome = sink.write(&vec![item(); count]);
    assert!(outcome.error.is_none(), "{outcome:?}");
    assert_eq!(outcome.fates.len(), count);
}

fn lines(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    text.lines().count()
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("events"), directory.path().join("events.1"));
    let mut sink = sink(&path, Fsync::Each);
    write(&mut sink, 3);
    fs::rename(&path, &moved).unwrap();
    write(&mut sink, 2);
    assert_eq!((lines(&moved), lines(&path)), (3, 2));
    // `copytruncate`.
    OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    write(&mut sink, 1);
    assert_eq!(lines(&path), 1);
    // Moved away and another made in its place, as `create` does.
    fs::rename(&path, &moved).unwrap();
    fs::write(&path, b"").unwrap();
    write(&mut sink, 4);
    assert_eq!((lines(&moved), lines(&path)), (1, 4));
}

#[test]
fn a_directory_that_is_gone_is_an_error_and_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("below/events");
    let mut sink = sink(&path, Fsync::Never);
    assert!(sink.write(&[item()]).error.is_some());
    fs::create_dir(directory.path().join("below")).unwrap();
    write(&mut sink, 1);
    assert_eq!(lines(&path), 1);
}

#[test]
fn half_a_line_that_a_killed_agent_left_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    for (left, expected) in [
        ("", ""),
        ("{\"a\":1}\n", "{\"a\":1}\n"),
        ("{\"a\":1}\n{\"event\":\"rst\",\"schema\":\"rstblame/1\",\"id", "{\"a\":1}\n"),
        ("{\"event\":\"agent_started\",\"schema\":\"rstblame/", ""),
        // All of a line, but for its end.
        ("{\"event\":\"rst\",\"schema\":\"rstblame/1\"}", "{\"event\":\"rst\",\"schema\":\"rstblame/1\"}\n"),
        // Others write JSON, too.
        ("{\"ev", "{\"ev\n"),
        ("{\"event\":\"login\",\"user\":\"x", "{\"event\":\"login\",\"user\":\"x\n"),
        // Not a line of ours: it is ended, and nothing of it is lost.
        ("somebody's note", "somebody's note\n"),
    ] {
        let path = directory.path().join("events");
        fs::write(&path, left).unwrap();
        sink(&path, Fsync::Never).open().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{left:?}");
    }
}

#[test]
fn the_beginning_of_a_line_is_cut_off_only_where_nobody_else_appends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    file.write_all(b"whole\nwho").unwrap();
    assert!(cut_off(&file, Some(0), 9, 3));
    assert_eq!(fs::read(&path).unwrap(), b"whole\n");
    let before = length(&file);
    file.write_all(b"who").unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"other\n").unwrap();
    assert!(!cut_off(&file, before, 3, 3));
    assert_eq!(fs::read(&path).unwrap(), b"whole\nwhoother\n");
    // What is no regular file has no length to go by.
    let null = OpenOptions::new().write(true).open("/dev/null").unwrap();
    assert_eq!(length(&null), None);
}

#[test]
fn nothing_is_cut_off_while_another_agent_has_the_file_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let half = "{\"event\":\"rst\",\"schema\":\"rstblame/1\",\"id";
    let mut first = sink(&path, Fsync::Never);
    write(&mut first, 1);
    // As the first would stand there in the midst of a line.
    OpenOptions::new().append(true).open(&path).unwrap().write_all(half.as_bytes()).unwrap();
    let mut second = sink(&path, Fsync::Never);
    second.open().unwrap();
    assert!(fs::read_to_string(&path).unwrap().ends_with(half));
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    assert!(!cut_off(&file, Some(0), length(&file).unwrap(), 3), "there are two others");
    drop((first, second, file));
    sink(&path, Fsync::Never).open().unwrap();
    assert_eq!(lines(&path), 1);
}

#[test]
fn two_agents_on_one_file_lose_no_line_of_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    let mut sink = sink(&path, Fsync::Never);
                    sink.open().unwrap();
                    write(&mut sink, 2);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(lines(&path), 800);
}

#[test]
fn a_file_that_may_only_be_appended_to_is_appended_to() {
    const FS_IOC_GETFLAGS: libc::c_ulong = 0x8008_6601;
    const FS_IOC_SETFLAGS: libc::c_ulong = 0x4008_6602;
    const FS_APPEND_FL: libc::c_long = 0x20;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let half = "{\"event\":\"rst\",\"schema\":\"rstblame/1\",\"id";
    fs::write(&path, half).unwrap();
    let file = OpenOptions::new().read(true).open(&path).unwrap();
    let change = |on: bool| {
        use std::os::fd::AsRawFd as _;
        let mut flags: libc::c_long = 0;
        // SAFETY: the descriptor is open, and both requests go by the number the pointer leads to.
        unsafe {
            if libc::ioctl(file.as_raw_fd(), FS_IOC_GETFLAGS as _, &raw mut flags) != 0 {
                return false;
            }
            flags = if on { flags | FS_APPEND_FL } else { flags & !FS_APPEND_FL };
            libc::ioctl(file.as_raw_fd(), FS_IOC_SETFLAGS as _, &raw const flags) == 0
        }
    };
    if !change(true) {
        eprintln!("no file here can be made append-only by this user");
        return;
    }
    let mut sink = sink(&path, Fsync::Never);
    let opened = sink.open();
    if opened.is_ok() {
        write(&mut sink, 1);
    }
    assert!(change(false));
    opened.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with(&format!("{half}\n")) && text.lines().count() == 2, "{text:?}");
}

#[test]
fn what_is_full_takes_nothing_and_keeps_nothing() {
    let mut sink = sink(Path::new("/dev/full"), Fsync::Never);
    let outcome = sink.write(&[item(), item()]);
    assert_eq!(outcome.error.and_then(|error| error.raw_os_error()), Some(libc::ENOSPC));
    assert_eq!((outcome.fates.len(), outcome.keep), (0, 0));
}

#[test]
fn an_interval_asks_to_be_called_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(&directory.path().join("events"), Fsync::Interval(Duration::from_mins(1)));
    let again = sink.write(&[item()]).again.unwrap();
    assert!(again <= Duration::from_mins(1) && again > Duration::from_secs(1), "{again:?}");
    assert!(sink.sync_at.is_some());
    sink.close();
    assert!(sink.sync_at.is_none());
}
