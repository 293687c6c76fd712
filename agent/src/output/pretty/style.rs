//! What the reader can show, and has asked for.

use std::io;

use rustix::termios;

/// Columns where there is no terminal to ask.
const COLUMNS: usize = 100;

/// A terminal that says it has fewer is not believed.
const NARROWEST: usize = 20;

/// How lines for people are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colour and bold may be used. Neither says anything that a word does not.
    pub colour: bool,
    /// A line can be written over: the count of what is not listed stands in one that changes.
    pub live: bool,
    /// Longest line, columns.
    pub columns: usize,
    /// 0: the verdict; 1: its evidence; 2: the packet and the socket as well.
    pub detail: u8,
    /// Routine resets have lines, too.
    pub all: bool,
}

impl Style {
    /// For whatever is no terminal: plain, every reset listed.
    pub const PLAIN: Self = Self { colour: false, live: false, columns: COLUMNS, detail: 0, all: true };

    /// For standard output, by what the environment says of it: `NO_COLOR` (<https://no-color.org>)
    /// and `TERM=dumb` are respected.
    pub fn of_stdout(detail: u8, all: bool) -> Self {
        let terminal = termios::isatty(io::stdout());
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let able = terminal && named("TERM").is_some_and(|term| term != "dumb");
        Self { colour: able && named("NO_COLOR").is_none(), live: able, columns: COLUMNS, detail, all }.as_wide_as_stdout()
    }

    /// The same, as wide as standard output is now.
    #[must_use]
    pub fn as_wide_as_stdout(self) -> Self {
        let columns = termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        Self { columns: if columns == 0 { COLUMNS } else { columns.max(NARROWEST) }, ..self }
    }

    /// `text` in bold and a colour, where those may be used.
    pub fn paint(self, text: &str, paint: Paint) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", paint.codes()) } else { text.to_owned() }
    }
}

/// What a text is painted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Error,
    Warning,
    Quiet,
    Strong,
}

impl Paint {
    /// ECMA-48, section 8.3.117.
    const fn codes(self) -> &'static str {
        match self {
            Self::Error => "1;31",
            Self::Warning => "1;33",
            Self::Quiet => "2",
            Self::Strong => "1",
        }
    }
}
