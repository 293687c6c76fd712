//! Reads what tracefs says about a tracepoint: its number, where its record keeps each field, and
//! the names it prints for the values of a field.
//!
//! This is the way on kernels without BTF. The text is written by `f_show` of
//! [`kernel/trace/trace_events.c`](https://github.com/torvalds/linux/blob/v6.12/kernel/trace/trace_events.c).
//! Fields move between kernels, so nothing about a record is taken for granted.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

/// Why the format of a tracepoint could not be read.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The `format` file could not be read.
    #[error(
        "cannot read {path}: {source}; reading tracefs needs root or CAP_DAC_READ_SEARCH, and a kernel with this \
         tracepoint"
    )]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no line `ID: <number>`.
    #[error("the tracepoint's format has no `ID:` line; give the whole contents of its `format` file")]
    NoId,
    /// A `field:` line could not be understood.
    #[error("line {line} of the tracepoint's format is not a field as this release knows it: {text}")]
    Field {
        /// Number of the line, from 1.
        line: usize,
        /// The line.
        text: String,
    },
}

/// One field of a tracepoint's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name, without the dimensions of an array.
    pub name: String,
    /// C type as printed, without the dimensions of an array.
    pub ctype: String,
    /// Bytes from the start of the record, the common fields included.
    pub offset: u32,
    /// Bytes, of the whole array for an array.
    pub size: u32,
    /// Whether an integer is signed.
    pub signed: bool,
    /// Whether the declaration has dimensions.
    pub is_array: bool,
}

/// What a `format` file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Number of the tracepoint, as `perf_event_open(2)` wants it in `config`. Differs from boot to
    /// boot.
    pub id: u32,
    /// All fields in the order of the record, those common to all tracepoints first.
    pub fields: Vec<Field>,
    print_fmt: String,
}

impl Format {
    /// Reads the contents of a `format` file.
    ///
    /// # Errors
    /// If the `ID:` line is missing or a field cannot be understood.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut id = None;
        let mut fields = Vec::new();
        let mut print_fmt = String::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(number) = line.strip_prefix("ID:") {
                id = number.trim().parse().ok();
            } else if let Some(field) = line.strip_prefix("field:") {
                fields.push(parse_field(field).ok_or_else(|| FormatError::Field { line: index + 1, text: line.to_owned() })?);
            } else if let Some(fmt) = line.strip_prefix("print fmt:") {
                fmt.trim().clone_into(&mut print_fmt);
            }
        }
        Ok(Self { id: id.ok_or(FormatError::NoId)?, fields, print_fmt })
    }

    /// Reads `events/<category>/<name>/format` below `root`, which [`tracefs_root`] finds.
    ///
    /// # Errors
    /// Those of [`Format::parse`], and if the file cannot be read.
    pub fn read(root: &Path, category: &str, name: &str) -> Result<Self, FormatError> {
        let mut path = root.join("events");
        path.extend([category, name, "format"]);
        let text = fs::read_to_string(&path).map_err(|source| FormatError::Read { path, source })?;
        Self::parse(&text)
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The names the tracepoint prints for the values of a field: the table of its
    /// `__print_symbolic(REC->field, ...)`.
    ///
    /// Empty if it prints none. Entries whose value is not a number are left out: the kernel leaves
    /// the names of enumerators there that the tracepoint did not export.
    pub fn symbols(&self, field: &str) -> Vec<(i64, &str)> {
        let mut calls = self.print_fmt.split("__print_symbolic(").skip(1);
        let table = calls.find_map(|call| {
            let (subject, table) = call.split_once(',')?;
            (subject.trim().strip_prefix("REC->") == Some(field)).then_some(table)
        });
        let mut symbols = Vec::new();
        let mut rest = table.unwrap_or_default();
        while let Some((value, name, tail)) = split_symbol(rest) {
            if let Some(value) = parse_number(value) {
                symbols.push((value, name));
            }
            rest = tail.trim_start().strip_prefix(',').unwrap_or_default();
        }
        symbols
    }
}

/// Splits `{ value, "name" }` off the front.
fn split_symbol(text: &str) -> Option<(&str, &str, &str)> {
    let (value, rest) = text.trim_start().strip_prefix('{')?.split_once(',')?;
    let (name, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
    let rest = rest.trim_start().strip_prefix('}')?;
    Some((value.trim(), name, rest))
}

/// A C integer literal: decimal or hexadecimal, with or without a sign, brackets and a suffix.
fn parse_number(text: &str) -> Option<i64> {
    let bare = text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
    let bare = bare.unwrap_or(text).trim();
    let bare = bare.trim_end_matches(['u', 'U', 'l', 'L']);
    match bare.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => bare.parse().ok(),
    }
}

/// What follows `field:` on its line: a declaration, then `offset`, `size` and `signed`, each ended
/// by a semicolon.
fn parse_field(text: &str) -> Option<Field> {
    let mut parts = text.split(';').map(str::trim);
    let (ctype, name, is_array) = split_declaration(parts.next()?)?;
    let (mut offset, mut size, mut signed) = (None, None, false);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", value)) => offset = Some(value.parse().ok()?),
            Some(("size", value)) => size = Some(value.parse().ok()?),
            Some(("signed", value)) => signed = value != "0",
            _ => {} // Later kernels may add to the line.
        }
    }
    Some(Field { name: name.to_owned(), ctype: ctype.to_owned(), offset: offset?, size: size?, signed, is_array })
}

/// Splits a C declaration into type and name, and tells whether it had dimensions.
///
/// Those of an array follow the name (`__u8 saddr[28]`); those of a dynamic array follow the type
/// (`__data_loc char[] name`).
fn split_declaration(text: &str) -> Option<(&str, &str, bool)> {
    let (declarator, dimensions) = match text.strip_suffix(']') {
        Some(_) => text.split_once('[')?,
        None => (text, ""),
    };
    let declarator = declarator.trim_end();
    let start = declarator.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
    let (ctype, name) = declarator.split_at_checked(start)?;
    let ctype = ctype.trim_end();
    let (bare_type, is_dynamic) = match ctype.strip_suffix("[]") {
        Some(bare) => (bare, true),
        None => (ctype, false),
    };
    let named = !name.is_empty() && !bare_type.is_empty();
    named.then_some((bare_type, name, is_dynamic || !dimensions.is_empty()))
}

/// Where tracefs is mounted, whether this process may read it or not.
///
/// Without a mount, the two places the kernel itself offers count if there are `events` in them:
/// `/sys/kernel/tracing`, and before Linux 4.1 `/sys/kernel/debug/tracing`.
pub fn tracefs_root() -> Option<PathBuf> {
    let mounts = fs::read("/proc/self/mounts").unwrap_or_default();
    mounted_at(&mounts, b"tracefs").or_else(|| {
        ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].map(PathBuf::from).into_iter().find(|root| root.join("events").is_dir())
    })
}

/// The first mount point of a file system type in the text of `/proc/self/mounts`.
fn mounted_at(mounts: &[u8], fs_type: &[u8]) -> Option<PathBuf> {
    mounts.split(|&byte| byte == b'\n').find_map(|line| {
        let mut columns = line.split(|&byte| byte == b' ').skip(1);
        let mount_point = columns.next()?;
        let is_wanted = columns.next()? == fs_type;
        is_wanted.then(|| PathBuf::from(OsString::from_vec(unescape(mount_point))))
    })
}

/// Undoes the `\040` form in which `/proc/self/mounts` writes blanks, line ends and backslashes;
/// see `mangle_path` of
/// [`fs/seq_file.c`](https://github.com/torvalds/linux/blob/v6.12/fs/seq_file.c).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), tail)
            }
            _ => (first, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    bytes
}
