//! Values that several keys have in common.

use std::path::PathBuf;

use super::{ConfigError, table::Value};

/// A string with something in it.
pub(super) fn nonempty<'a>(value: &Value<'a>, hint: &str) -> Result<&'a str, ConfigError> {
    match value.text(hint)? {
        text if text.trim().is_empty() => Err(value.error(format!("an empty string; {hint}"))),
        text => Ok(text),
    }
}

/// A path that means the same wherever the daemon is started.
pub(super) fn absolute(value: &Value<'_>) -> Result<PathBuf, ConfigError> {
    value.text_as("give an absolute path", |text| {
        let path = PathBuf::from(text);
        if path.is_absolute() && !text.contains('\0') { Ok(path) } else { Err("give an absolute path") }
    })
}
