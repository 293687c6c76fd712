//! RabbitMQ's log: reports are printable and short, and pieces of lines do not matter.

use jiff::tz::TimeZone;
use rstblame::explain::{Lines, LogReader, Report};

/// Bytes of a line that is repeated; a character may straddle the limit.
const LONGEST: usize = 2_000 + 4;

fn read(data: &[u8], piece: usize) -> Vec<Report> {
    let mut lines = Lines::default();
    let mut reader = LogReader::new(TimeZone::UTC);
    let mut reports = Vec::new();
    let mut line = |line: &[u8]| {
        let before = reports.len();
        reports.extend(reader.line(&String::from_utf8_lossy(line)));
        assert!(reports.len() <= before + 2, "one line completed more than two reports");
    };
    for piece in data.chunks(piece) {
        lines.feed(piece, &mut line);
    }
    lines.finish(&mut line);
    reports.extend(reader.finish());
    assert!(!reader.is_waiting());
    reports
}

pub fn holds(data: &[u8]) {
    let whole = read(data, usize::MAX);
    assert_eq!(whole, read(data, 1 + data.len() % 7));
    for report in &whole {
        assert!(!report.lines.is_empty() && report.lines.len() <= 2, "{report:?}");
        for line in &report.lines {
            assert!(!line.contains(char::is_control) && line.len() <= LONGEST, "{line:?}");
        }
    }
}
