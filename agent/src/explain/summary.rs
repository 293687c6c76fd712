//! What all answers of a run come to.

use std::{collections::BTreeMap, fmt};

use super::{join::Answer, log::Report};
use crate::reader::record::{Found, Kind};

/// Causes and reasons that are counted apart.
const KINDS: usize = 200;

/// Counts.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    reports: u64,
    /// By cause, with and without a reset.
    causes: BTreeMap<String, u64>,
    /// By why there is none.
    without: BTreeMap<String, u64>,
}

impl Summary {
    /// Whether anything was counted.
    pub const fn any(&self) -> bool {
        self.reports > 0
    }

    /// Counts one answer.
    pub fn count(&mut self, report: &Report, answer: &Answer) {
        self.reports += 1;
        let (counts, name) = match answer {
            Answer::Found { best, .. } => {
                let cause = Found::text(&best.cause, "id");
                let cause = if cause.is_empty() { "unknown" } else { cause };
                let name: String = cause.chars().filter(|c| !c.is_control()).take(60).collect();
                (&mut self.causes, if best.kind == Kind::Ending { format!("{name} (no RST)") } else { name })
            }
            Answer::NoReset { .. } => (&mut self.without, format!("no RST seen ({})", report.reason.token())),
            Answer::NotSeen { class, .. } => (&mut self.without, (*class).to_owned()),
        };
        if counts.len() < KINDS || counts.contains_key(&name) {
            *counts.entry(name).or_default() += 1;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| {
            let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
            counts.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
            counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
        };
        let ends = if self.reports == 1 { "end" } else { "ends" };
        let found: u64 = self.causes.values().sum();
        let without: u64 = self.without.values().sum();
        write!(f, "{} {ends} of connections in the log", self.reports)?;
        if found > 0 {
            write!(f, "; {found} with a verdict: {}", list(&self.causes))?;
        }
        if without > 0 {
            write!(f, "; {without} without: {}", list(&self.without))?;
        }
        Ok(())
    }
}
