//! The agent's own log: what it has to say about itself while it runs, on standard error. Events
//! are no part of it.
//!
//! Messages are `tracing` events; a subscriber of our own gives them one of three forms, folds
//! those that come too often, and never waits for a reader. What ends the program is no log message
//! but one plain line ([`failed`]).

mod limit;
mod line;
mod outlet;
#[cfg(test)]
mod tests;

use std::{
    collections::hash_map::DefaultHasher,
    env,
    fmt::{self, Debug, Display},
    hash::{Hash as _, Hasher as _},
    io::{IsTerminal as _, Write as _},
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Instant,
};

use clap::ValueEnum;
use jiff::Timestamp;
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use line::{Line, Value};
use outlet::{Outlet, Stderr, Writer};

/// The environment variable that sets the level where no flag does.
pub const VARIABLE: &str = "RSTBLAME_LOG";

/// The least urgent message that is written. Numbered as aya-log numbers its levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[repr(u8)]
pub enum Level {
    /// Something does not work.
    Error = 1,
    /// Something works less well, or soon will not.
    Warn,
    /// What an operator wants to know of a run.
    #[default]
    Info,
    /// What helps to find a fault, the kernel programs' own diagnostics among it.
    Debug,
    /// Each step.
    Trace,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum LogFormat {
    /// `human` where standard error is a terminal, `logfmt` elsewhere.
    #[default]
    Auto,
    /// Time, level, text.
    Human,
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// What is to be logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub level: Level,
    pub format: LogFormat,
}

/// What the command line says of it. Either is also a key of `[log]` in the configuration, which a
/// flag or [`VARIABLE`] overrules.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct LogArgs {
    /// Write log messages of this level and above to standard error [default: $RSTBLAME_LOG, else
    /// info].
    #[arg(long, value_name = "LEVEL", value_enum, global = true)]
    pub log_level: Option<Level>,
    /// How to write them; human on a terminal, logfmt otherwise.
    #[arg(long, value_name = "FORMAT", value_enum, global = true)]
    pub log_format: Option<LogFormat>,
}

/// What the command line and the environment have settled for good.
static FIXED: OnceLock<LogArgs> = OnceLock::new();

static LOGGER: LazyLock<Arc<Logger<Stderr>>> = LazyLock::new(|| Arc::new(Logger::new(Stderr)));

/// Starts the log. To be called once, before anything is logged.
///
/// # Errors
///
/// One line, when [`VARIABLE`] holds no level.
pub fn init(args: LogArgs) -> Result<(), String> {
    let from_environment = match env::var_os(VARIABLE) {
        None => None,
        Some(text) if text.is_empty() => None,
        Some(text) => Some(
            text.to_str()
                .and_then(|text| Level::from_str(text, true).ok())
                .ok_or_else(|| format!("{VARIABLE}={} is no level; give error, warn, info, debug or trace", text.display()))?,
        ),
    };
    let fixed = LogArgs { log_level: args.log_level.or(from_environment), ..args };
    // Who comes second has nothing to add: there is one command line.
    let _only_once = FIXED.set(fixed);
    configure(Settings::default());
    let _only_once = tracing::dispatcher::set_global_default(Dispatch::new(Arc::clone(&LOGGER)));
    Ok(())
}

/// Goes by the configuration from now on, as far as the command line and the environment have not
/// said otherwise.
pub fn configure(settings: Settings) {
    let fixed = FIXED.get().copied().unwrap_or_default();
    LOGGER.set(Settings { level: fixed.log_level.unwrap_or(settings.level), format: fixed.log_format.unwrap_or(settings.format) });
    tracing::callsite::rebuild_interest_cache();
}

/// Whether messages of this level are written.
pub fn is_on(level: Level) -> bool {
    LOGGER.level.load(Ordering::Relaxed) >= level as u8
}

/// Tells what was folded since the last time and is due. To be called about once a second.
pub fn tick() {
    LOGGER.tell(Instant::now(), false);
}

/// Tells all that was folded: nothing more comes.
pub fn finish() {
    LOGGER.tell(Instant::now(), true);
}

/// Takes in a message of the kernel programs.
pub fn from_kernel(message: &str) {
    let mut line = Line::new(Timestamp::now(), Level::Debug);
    line.fields = vec![("from", Value::Text("kernel".to_owned()))];
    message.clone_into(&mut line.message);
    // aya-log's own file and line are those of a macro. The words before the first number tell
    // messages apart.
    let mut place = DefaultHasher::new();
    message.split(|c: char| c.is_ascii_digit()).next().hash(&mut place);
    LOGGER.take(place.finish(), &line, Instant::now());
}

/// Says what ended the program, in one line. A closed standard error is no reason to end otherwise.
pub fn failed(error: impl Display) {
    let mut text = String::from("rstblame: ");
    line::escape(&mut text, &error.to_string(), false);
    text.push('\n');
    let _nobody_listens = std::io::stderr().write_all(text.as_bytes());
}

/// Where messages come together.
struct Logger<W> {
    level: AtomicU8,
    format: AtomicU8,
    terminal: AtomicBool,
    outlet: Mutex<Outlet>,
    writer: W,
}

impl<W: Writer> Logger<W> {
    fn new(writer: W) -> Self {
        Self {
            level: AtomicU8::new(Level::Info as u8),
            format: AtomicU8::new(LogFormat::Logfmt as u8),
            terminal: AtomicBool::new(false),
            outlet: Mutex::default(),
            writer,
        }
    }

    fn set(&self, settings: Settings) {
        self.level.store(settings.level as u8, Ordering::Relaxed);
        self.format.store(settings.format as u8, Ordering::Relaxed);
        self.terminal.store(std::io::stderr().is_terminal(), Ordering::Relaxed);
    }

    fn format(&self) -> LogFormat {
        let format = self.format.load(Ordering::Relaxed);
        match format {
            _ if format == LogFormat::Human as u8 => LogFormat::Human,
            _ if format == LogFormat::Json as u8 => LogFormat::Json,
            _ if format == LogFormat::Auto as u8 && self.terminal.load(Ordering::Relaxed) => LogFormat::Human,
            _ => LogFormat::Logfmt,
        }
    }

    /// Writes a message, unless its place has had its share.
    fn take(&self, place: u64, line: &Line<'_>, now: Instant) {
        self.with_outlet(|outlet, format| outlet.take(place, line, format, now, &self.writer));
    }

    fn tell(&self, now: Instant, all: bool) {
        self.with_outlet(|outlet, format| outlet.tell(format, now, all, &self.writer));
    }

    fn with_outlet(&self, act: impl FnOnce(&mut Outlet, LogFormat)) {
        let format = self.format();
        // A thread that panicked in here left counts behind, and they are whole.
        let mut outlet = self.outlet.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut outlet, format);
    }
}

impl<W: Writer + 'static> Subscriber for Logger<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.level.load(Ordering::Relaxed) >= level_of(metadata) as u8
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line::new(Timestamp::now(), level_of(metadata));
        event.record(&mut Fields(&mut line));
        let mut place = DefaultHasher::new();
        metadata.callsite().hash(&mut place);
        self.take(place.finish(), &line, Instant::now());
    }

    // The agent has no spans.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn level_of(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

/// Takes the fields of an event into a line.
struct Fields<'a, 'b>(&'b mut Line<'a>);

impl Fields<'_, '_> {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text)) => self.0.message = text,
            (name, value) => self.0.fields.push((name, value)),
        }
    }
}

impl Visit for Fields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bare(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for the rest.
        self.put(field, if value.is_finite() { Value::Bare(value.to_string()) } else { Value::Text(value.to_string()) });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, Value::Text(format!("{value:?}")));
    }
}

impl Level {
    /// As it stands in a line.
    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
