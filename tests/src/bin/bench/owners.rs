//! How many owners are named, and how many of them are right, beside what the task on the processor
//! would have been.

use rstblame_lab::{Result, agents::tracing::Score, truths::crowd};

use super::figures::Figures;

/// A port that no test uses.
const PORT: u16 = 20_010;

/// Owners that have to be named, of a thousand. None may be wrong.
const NAMED: usize = 995;

pub fn bench(figures: &mut Figures) -> Result<()> {
    let outcome = crowd::run(&super::actor()?, PORT)?;
    let Score { ends, right, wrong } = outcome.agent;
    let title = format!("{} connections of 200 processes, {ends} resets", outcome.connections);
    figures.table(title, &["owner", "right", "wrong", "not named"]);
    line(figures, "named by the agent", outcome.agent);
    match outcome.current {
        Some(current) => line(figures, "`current` at the tracepoint", current),
        None => figures.note("`current` at the tracepoint: not measured, this kernel has no tracefs"),
    }
    figures.limit(format!("none wrong, {NAMED} of 1000 named"), wrong == 0 && right * 1000 >= ends * NAMED);
    Ok(())
}

fn line(figures: &mut Figures, what: &str, Score { ends, right, wrong }: Score) {
    figures.row(what, [right, wrong, ends.saturating_sub(right + wrong)].map(|count| count.to_string()));
}
