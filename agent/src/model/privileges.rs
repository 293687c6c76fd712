//! What the agent may still do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an armed daemon may still do, and how it is confined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Privileges {
    /// Effective user id.
    pub uid: u32,
    /// The capabilities in effect, of those that the agent has a use for.
    pub capabilities: Vec<String>,
    /// Whether no program that it might start can have more (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// Whether system calls are filtered, by the agent or by who started it.
    pub seccomp: bool,
    /// What was to be given up and could not be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}
