//! RabbitMQ's log: reports are printable and short, and pieces of lines do not matter.

use jiff::tz::TimeZone;
use rstblame::explain::{Decoder, LogReader, Report};

/// Bytes of a line that is repeated.
const LONGEST: usize = 2_000;

/// Lines of one report: those of its reason, and those that were wrapped.
const MOST: usize = 40;

fn read(data: &[u8], piece: usize) -> Vec<Report> {
    let mut decoder = Decoder::default();
    let mut reader = LogReader::new(TimeZone::UTC);
    let mut reports = Vec::new();
    for piece in data.chunks(piece) {
        decoder.feed(piece, |line| reports.append(&mut reader.line(&String::from_utf8_lossy(line))));
    }
    decoder.finish(|line| reports.append(&mut reader.line(&String::from_utf8_lossy(line))));
    reports.append(&mut reader.finish());
    assert!(!reader.is_waiting());
    reports
}

pub fn holds(data: &[u8]) {
    let whole = read(data, usize::MAX);
    assert_eq!(whole, read(data, 1 + data.len() % 7));
    for report in &whole {
        assert!(!report.lines.is_empty() && report.lines.len() <= MOST, "{report:?}");
        for line in &report.lines {
            assert!(!line.contains(char::is_control) && line.len() <= LONGEST, "{line:?}");
        }
        assert!(!report.source.contains(char::is_control), "{report:?}");
        assert!(report.connection.is_none_or(|connection| report.ports == Some((connection.peer.port(), connection.local.port()))));
    }
}
