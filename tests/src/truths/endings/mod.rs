//! How connections end, and what each host has to say about it, with whichever line: `rst` or
//! `connection_ended`.
//!
//! One death is told once. A host may see a FIN first and a RST seconds later, or only one of the
//! two; a truth ([`Truth`]) says who ended the connection and why, and [`Said`] says which lines
//! may carry it. [`Watch`] starts the agents, collects the truths, and compares.

mod pairs;
mod said;
pub mod through_a_proxy;
mod watch;

pub use pairs::{After, Case, Pair, Pairs, Wire};
pub use said::{Said, Truth, by_process};
pub use watch::{Scenario, Watch, start_all};
