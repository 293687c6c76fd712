//! What a run can and cannot see.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::token::tokens;

tokens! {
    /// Whether something can be seen in this run.
    pub enum CoverageState {
        /// Works in full.
        Active = "active",
        /// Works in part; the reason says what is missing.
        Degraded = "degraded",
        /// Does not work; the reason says why.
        Unavailable = "unavailable",
    }
}

/// What this run can and cannot see of one hook or source of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    pub state: CoverageState,
    /// Something an operator can act on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
