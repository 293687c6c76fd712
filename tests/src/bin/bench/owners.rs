//! How many owners are named, and how many of them are right, beside what the task on the processor would have been.

use rstblame_lab::{
    Result,
    crowd::{self, Score},
};

/// A port that no test uses.
const PORT: u16 = 20_010;

/// Owners that have to be named, of a thousand. None may be wrong.
const NAMED: usize = 995;

/// Prints the figures; whether the limits are kept.
pub fn bench() -> Result<bool> {
    let outcome = crowd::run(&super::actor()?, PORT)?;
    let Score { ends, right, wrong } = outcome.agent;
    let kept = wrong == 0 && right * 1000 >= ends * NAMED;
    println!("{} connections of 200 processes, {ends} resets:", outcome.connections);
    line("named by the agent", outcome.agent);
    match outcome.current {
        Some(current) => line("`current` at the tracepoint", current),
        None => println!("  {:<30} not measured: this kernel has no tracefs", "`current` at the tracepoint"),
    }
    println!("  limit: none wrong, {NAMED} of 1000 named: {}", if kept { "kept" } else { "BROKEN" });
    Ok(kept)
}

fn line(what: &str, Score { ends, right, wrong }: Score) {
    println!("  {what:<30} right {right:>6}, wrong {wrong:>6}, not named {:>6}", ends.saturating_sub(right + wrong));
}
