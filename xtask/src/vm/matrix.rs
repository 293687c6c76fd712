//! What came of the virtual machines, as tables: each kernel, and each verdict on each of them.

use super::{
    kernels::Kernel,
    qemu::{Report, Verdict},
};
use crate::figures::Table;

/// What stands where the agent said nothing of a reset: this kernel does not trace it.
const UNSEEN: &str = "not traced";

/// A reset of a scenario, the same on all kernels: the scenario, the host, and the how manieth
/// there it is.
type Key<'a> = (&'a str, &'a str, usize);

/// The two tables of these kernels.
pub fn tables(reports: &[(&Kernel, Report)]) -> [Table<'static>; 2] {
    [kernels(reports), verdicts(reports)]
}

fn kernels(reports: &[(&Kernel, Report)]) -> Table<'static> {
    let row = |(kernel, report): &(&Kernel, Report)| {
        let verdict = if report.problems.is_empty() { "passed" } else { "failed" };
        let lacking = report.lacking.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
        let seconds = report.took.as_secs().to_string();
        vec![kernel.release.clone(), verdict.to_owned(), report.passed.join(", "), lacking, seconds, report.problems.join(", ")]
    };
    Table {
        title: "the agent on the kernels of Debian, in virtual machines",
        columns: vec!["kernel", "verdict", "passed", "not active by its coverage", "seconds", "problems"],
        rows: reports.iter().map(row).collect(),
        notes: Vec::new(),
    }
}

/// What the agent said of each reset on each kernel.
fn verdicts(reports: &[(&Kernel, Report)]) -> Table<'static> {
    let said: Vec<_> = reports.iter().map(|(_, report)| numbered(&report.verdicts)).collect();
    // A kernel that traces all of them has them all, in their order.
    let all = said.iter().max_by_key(|verdicts| verdicts.len()).map(Vec::as_slice).unwrap_or_default();
    let row = |(key, verdict): &(Key<'_>, &Verdict)| {
        let scenario = verdict.scenario.replace('_', " ");
        let cells = said.iter().map(|here| {
            let here = here.iter().find(|(other, _)| other == key);
            here.map_or_else(|| UNSEEN.to_owned(), |(_, here)| format!("{}{}", if here.right { "" } else { "✗ " }, here.got))
        });
        [scenario, verdict.view.clone()].into_iter().chain(cells).collect()
    };
    Table {
        title: "who sent each reset and why, as the agent said on each kernel; ✗ is not the truth",
        columns: ["scenario", "host"].into_iter().chain(reports.iter().map(|(kernel, _)| kernel.name)).collect(),
        rows: all.iter().map(row).collect(),
        notes: Vec::new(),
    }
}

fn numbered(verdicts: &[Verdict]) -> Vec<(Key<'_>, &Verdict)> {
    let mut found: Vec<(Key<'_>, &Verdict)> = Vec::new();
    for verdict in verdicts {
        let (scenario, view) = (verdict.scenario.as_str(), verdict.view.as_str());
        let before = found.iter().filter(|((of, by, _), _)| (*of, *by) == (scenario, view)).count();
        found.push(((scenario, view, before), verdict));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{super::kernels::Kernel, *};

    fn verdict(scenario: &str, got: &str) -> Verdict {
        Verdict { scenario: scenario.to_owned(), view: "server".to_owned(), got: got.to_owned(), right: got != "wrong" }
    }

    #[test]
    fn what_an_old_kernel_does_not_trace_has_a_row_all_the_same() {
        let kernel = |name| Kernel { name, release: name.to_owned(), lacks: &[], image: PathBuf::new(), modules: PathBuf::new() };
        let (old, new) = (kernel("old"), kernel("new"));
        let report = |verdicts| Report { verdicts, ..Report::default() };
        let reports = [
            (&old, report(vec![verdict("a_b", "one"), verdict("c", "wrong")])),
            (&new, report(vec![verdict("a_b", "one"), verdict("a_b", "two"), verdict("c", "three")])),
        ];
        let [_, verdicts] = tables(&reports);
        assert_eq!(verdicts.columns, ["scenario", "host", "old", "new"]);
        assert_eq!(
            verdicts.rows,
            [["a b", "server", "one", "one"], ["a b", "server", "not traced", "two"], ["c", "server", "✗ wrong", "three"]]
        );
    }
}
