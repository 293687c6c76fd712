//! The vocabulary: what the other rooms say to each other, each word in one place. An enum of the
//! contract is declared with its words ([`token`]).
//!
//! It knows nothing of everything else.

use std::borrow::Cow;

mod cause;
mod connection_key;
mod coverage;
mod evidence;
mod flags;
pub mod ports;
mod privileges;
mod role;
mod route;
mod sequence;
mod task;
pub mod tcp_state;
mod token;
mod tuple;

pub use cause::{CauseId, Direction, Effect, OriginKind, Severity};
pub use connection_key::ConnectionKey;
pub use coverage::{Coverage, CoverageState};
pub use evidence::{Evidence, KnownFrom, Pattern, PatternId, Strength};
pub use flags::Flags;
pub use privileges::Privileges;
pub use role::Role;
pub use route::Route;
pub use sequence::{seq_after, seq_at_or_after};
pub use task::{ProcessEnd, Task};
pub use tcp_state::TcpState;
pub use tuple::{Tuple, octets};

/// Text of a line. Much of it is the same in every one, and is not copied for each.
pub type Text = Cow<'static, str>;
