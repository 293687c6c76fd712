#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    Level, LogFormat, Logger, Settings,
    limit::{BURST, PERIOD},
    line::{LONGEST, Line, Value},
    outlet::{Outlet, Writer},
};

/// Keeps what is written, unless it is told to take nothing.
#[derive(Clone, Default)]
struct Kept {
    text: Arc<Mutex<String>>,
    refuses: Arc<AtomicBool>,
}

impl Kept {
    fn lines(&self) -> Vec<String> {
        self.text.lock().unwrap().lines().map(str::to_owned).collect()
    }
}

impl Writer for Kept {
    fn write(&self, line: &str) -> bool {
        let takes = !self.refuses.load(Ordering::Relaxed);
        if takes {
            self.text.lock().unwrap().push_str(line);
        }
        takes
    }
}

/// What is logged in these settings.
fn logged(level: Level, format: LogFormat, log: impl FnOnce()) -> Vec<String> {
    let kept = Kept::default();
    let logger = Logger::new(kept.clone());
    logger.set(Settings { level, format });
    tracing::subscriber::with_default(logger, log);
    kept.lines()
}

fn sample(message: &str, value: &str) -> Line<'static> {
    Line {
        time: "2026-06-29T09:41:55.118204311Z".parse::<Timestamp>().unwrap(),
        level: Level::Warn,
        message: message.to_owned(),
        fields: vec![("name", Value::Text(value.to_owned())), ("count", Value::Bare("7".to_owned()))],
    }
}

#[test]
fn each_form_says_the_same() {
    let line = sample("it \"works\" again", "beam smp");
    assert_eq!(line.render(LogFormat::Human), "2026-06-29T09:41:55Z WARN  it \"works\" again name=\"beam smp\" count=7\n");
    assert_eq!(
        line.render(LogFormat::Logfmt),
        "ts=2026-06-29T09:41:55.118204Z level=warn msg=\"it \\\"works\\\" again\" name=\"beam smp\" count=7\n"
    );
    assert_eq!(
        line.render(LogFormat::Json),
        "{\"timestamp\":\"2026-06-29T09:41:55.118204Z\",\"level\":\"warn\",\"message\":\"it \\\"works\\\" again\",\"name\":\"beam smp\",\"count\":7}\n"
    );
}

#[test]
fn the_level_decides_what_is_written() {
    let log = || {
        tracing::debug!("step");
        tracing::info!(size = 3_u64, "fact");
        tracing::error!(error = %"broken", "fault");
    };
    let at = |level| logged(level, LogFormat::Human, log).iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>();
    assert_eq!(at(Level::Error), ["ERROR fault error=broken"]);
    assert_eq!(at(Level::Info), ["INFO  fact size=3", "ERROR fault error=broken"]);
    assert_eq!(at(Level::Trace).len(), 3);
}

#[test]
fn nothing_from_outside_moves_a_cursor_or_ends_a_line() {
    let hostile = "a\u{1b}[2J\r\nlevel=error msg=\"x\u{9b}31m\u{202e}\u{2028}\u{7f}\\";
    for format in [LogFormat::Human, LogFormat::Logfmt, LogFormat::Json] {
        let line = sample(hostile, hostile).render(format);
        let (text, end) = line.split_at(line.len() - 1);
        assert_eq!(end, "\n");
        assert!(!text.chars().any(|c| c.is_control() || matches!(c, '\u{202e}' | '\u{2028}')), "{text:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&sample(hostile, hostile).render(LogFormat::Json)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"timestamp": "2026-06-29T09:41:55.118204Z", "level": "warn", "message": hostile, "name": hostile, "count": 7})
    );
}

#[test]
fn what_comes_too_often_is_folded_and_its_count_told() {
    const SENT: u64 = 1000;
    let (kept, mut outlet, began) = (Kept::default(), Outlet::default(), Instant::now());
    let mut say = |place, number: u64, at: Duration| {
        outlet.take(place, &sample(&format!("message {number}"), "x"), LogFormat::Human, began + at, &kept);
    };
    for number in 0..SENT {
        say(1, number, Duration::from_millis(number));
    }
    // Another place has a share of its own.
    say(2, 0, Duration::from_secs(2));
    assert_eq!(kept.lines().len(), BURST as usize + 1);
    // The next message after the period brings the count with it, and the place speaks again.
    say(1, SENT, PERIOD);
    let lines = kept.lines();
    let [.., told, next] = lines.as_slice() else { unreachable!("{lines:?}") };
    let folded = SENT - u64::from(BURST);
    assert!(told.ends_with(&format!("WARN  more of the same within 10 s, left out count={folded} last=\"message 999\"")), "{told}");
    assert!(next.contains("message 1000"), "{next}");
}

#[test]
fn a_count_is_told_though_nothing_more_comes() {
    let (kept, mut outlet, now) = (Kept::default(), Outlet::default(), Instant::now());
    for _ in 0..=BURST {
        outlet.take(1, &sample("again", "x"), LogFormat::Human, now, &kept);
    }
    outlet.tell(LogFormat::Human, now + PERIOD / 2, false, &kept);
    assert_eq!(kept.lines().len(), BURST as usize);
    outlet.tell(LogFormat::Human, now + PERIOD / 2, true, &kept);
    assert!(kept.lines().last().unwrap().contains("count=1 last=again"));
    outlet.tell(LogFormat::Human, now + PERIOD, true, &kept);
    assert_eq!(kept.lines().len(), BURST as usize + 1, "told once");
}

#[test]
fn a_reader_that_takes_nothing_costs_lines_that_are_counted() {
    let (kept, mut outlet, now) = (Kept::default(), Outlet::default(), Instant::now());
    kept.refuses.store(true, Ordering::Relaxed);
    for place in 0..5 {
        outlet.take(place, &sample("lost", "x"), LogFormat::Human, now, &kept);
    }
    kept.refuses.store(false, Ordering::Relaxed);
    outlet.take(9, &sample("heard", "x"), LogFormat::Human, now, &kept);
    let lines = kept.lines();
    let [told, next] = lines.as_slice() else { unreachable!("{lines:?}") };
    assert!(told.ends_with("log lines are lost count=5") && next.contains("heard"), "{lines:?}");
}

proptest! {
    #[test]
    fn a_line_is_one_line_that_a_pipe_takes_whole(message in "(\\PC|\\pC){0,800}", value in "(\\PC|\\pC){0,800}") {
        for format in [LogFormat::Human, LogFormat::Logfmt, LogFormat::Json] {
            let line = sample(&message, &value).render(format);
            prop_assert!(line.len() <= LONGEST);
            prop_assert_eq!(line.matches('\n').count(), 1);
            if format == LogFormat::Json {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{}", line);
            }
        }
    }
}
