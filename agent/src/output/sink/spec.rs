//! What a sink is asked to be.

use std::{path::PathBuf, time::Duration};

use crate::output::{Format, pretty::Style};

/// Resets that may wait for a sink, unless the configuration says otherwise.
pub const QUEUE: usize = 4096;

/// One sink: where events go, and what happens when they come faster than it takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSpec {
    /// What its losses are listed under; unique.
    pub name: String,
    /// Resets that may wait for it.
    pub queue: usize,
    pub when_full: WhenFull,
    pub target: Target,
}

/// What happens to a reset that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The one that has waited longest is lost.
    DropOldest,
    /// It is lost itself.
    DropNewest,
    /// It waits this long for room, and is lost then. As many as the queue holds may wait so.
    BlockUntil(Duration),
}

/// Where the events of a sink go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout { format: Format, style: Style },
    File { path: PathBuf, format: Format, fsync: Fsync },
    UnixDatagram { path: PathBuf },
    UnixStream { path: PathBuf },
    Tcp { address: String },
    Syslog { address: SyslogAddress, facility: Facility, body: Body },
    Journald { path: PathBuf },
}

impl Target {
    /// Whether a person reads it as it comes.
    pub const fn is_for_a_person(&self) -> bool {
        matches!(self, Self::Stdout { format: Format::Pretty, .. })
    }
}

/// When a file is told to the disk: fsync(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the kernel sees fit.
    Never,
    /// When so much time has passed since the last time, and something was written.
    Interval(Duration),
    /// After every write, before it counts as written.
    Each,
}

/// How a syslog receiver is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A unix datagram socket.
    Unix(PathBuf),
    /// RFC 5426: one message a datagram. HOST:PORT.
    Udp(String),
    /// RFC 6587: octet counting. HOST:PORT.
    Tcp(String),
}

/// What is in the MSG part of a syslog message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The whole event.
    Json,
    /// The sentence of it that is for people.
    Text,
}

/// A syslog facility: RFC 5424, section 6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

/// The names and numbers of syslog(3), by RFC 5424, section 6.2.1. Facilities 12 to 15 have a
/// number there and no name.
const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl Facility {
    /// `daemon`.
    pub const DAEMON: Self = Self(3);

    /// The facility of a name.
    pub fn named(name: &str) -> Option<Self> {
        FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, number)| Self(*number))
    }

    /// Its number, 0 to 23.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        FACILITIES.iter().find(|(_, number)| *number == self.0).map_or("daemon", |(name, _)| name)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FACILITIES.iter().map(|(name, _)| *name)
    }
}

impl Target {
    /// What a sink is called that was given no name.
    pub fn default_name(&self) -> String {
        match self {
            Self::Stdout { .. } => "stdout".to_owned(),
            Self::File { path, .. } => format!("file:{}", path.display()),
            Self::UnixDatagram { path } => format!("unix_datagram:{}", path.display()),
            Self::UnixStream { path } => format!("unix_stream:{}", path.display()),
            Self::Tcp { address } => format!("tcp://{address}"),
            Self::Syslog { address, .. } => format!("syslog:{address}"),
            Self::Journald { .. } => "journald".to_owned(),
        }
    }

    /// Whether two sinks with these would write over each other.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stdout { .. }, Self::Stdout { .. }) => true,
            (Self::File { path, .. }, Self::File { path: other, .. }) => path == other,
            _ => self == other,
        }
    }
}

impl std::fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl SinkSpec {
    /// A sink with the default queue.
    pub fn new(target: Target) -> Self {
        Self { name: target.default_name(), queue: QUEUE, when_full: WhenFull::DropOldest, target }
    }
}
