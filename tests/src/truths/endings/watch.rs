//! Agents that each see one host, what each of them has to say, and the comparison at the end.

use std::{
    cell::RefCell,
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::Value;

use super::{Said, Truth};
use crate::{
    LabError, Result,
    agents::{
        agent::{Agent, Options},
        record::{Record, is_kind},
    },
    hosts::flow::Flow,
    truths::table,
};

/// How many scenarios go on at a time: most of their time they wait for a proxy to lose patience.
const AT_A_TIME: usize = 8;

/// Scenarios take turns on the processors: an end that goes on may do so late.
const SETTLE: &str = "500ms";

/// Names the scenarios to play, by parts of their names with commas between them, where somebody
/// wants no other.
const SCENARIO: &str = "RSTBLAME_LAB_SCENARIO";

/// A scenario on a stage, by its name.
pub type Scenario<S> = (&'static str, fn(&S) -> Result<()>);

/// Agents by the names of their views, and the truths they are held against.
#[derive(Debug)]
pub struct Watch {
    name: &'static str,
    agents: Vec<(&'static str, Agent)>,
    claims: Mutex<Vec<Claim>>,
    failures: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Claim {
    scenario: String,
    view: &'static str,
    flow: Flow,
    said: Said,
}

/// Starts agents side by side, and waits until all are armed.
///
/// # Errors
///
/// As [`Options::start`].
pub fn start_all<N: Send>(agents: Vec<(N, Options)>) -> Result<Vec<(N, Agent)>> {
    std::thread::scope(|scope| {
        let starting = agents.into_iter().map(|(view, options)| {
            // What an agent leaves behind goes by the name of its thread, which is that of the
            // test.
            let thread = std::thread::Builder::new().name(table::scenario());
            let started = thread.spawn_scoped(scope, || Ok((view, options.settle(SETTLE).start()?)));
            started.map_err(LabError::during("start a thread"))
        });
        let starting = starting.collect::<Result<Vec<_>>>()?;
        starting.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

impl Watch {
    /// Starts an agent for each view.
    ///
    /// # Errors
    ///
    /// As [`start_all`].
    pub fn start(name: &'static str, views: Vec<(&'static str, Options)>) -> Result<Self> {
        Ok(Self { name, agents: start_all(views)?, claims: Mutex::default(), failures: Mutex::default() })
    }

    /// What a view has to say about one connection, as its own host sees it. Nobody waits for it
    /// before [`Watch::finish`].
    pub fn told(&self, scenario: &str, view: &'static str, flow: Flow, said: Said) {
        lock(&self.claims).push(Claim { scenario: scenario.to_owned(), view, flow, said });
    }

    /// Waits until a view has told of a connection, with whichever line.
    ///
    /// # Errors
    ///
    /// As [`Agent::wait_for`].
    pub fn wait_for(&self, view: &str, flow: Flow) -> Result<()> {
        let mut agents = self.agents.iter().filter(|(name, _)| *name == view);
        let what = format!("a line about {} -> {}", flow.local, flow.peer);
        agents.try_for_each(|(_, agent)| agent.wait_for(&what, |event| is_of_ending(event) && flow.is_of(event)).map(drop))
    }

    /// The same for a `rst`, where another line may come before it.
    ///
    /// # Errors
    ///
    /// As [`Agent::wait_for`].
    pub fn wait_for_reset(&self, view: &str, flow: Flow) -> Result<()> {
        let mut agents = self.agents.iter().filter(|(name, _)| *name == view);
        agents.try_for_each(|(_, agent)| agent.wait_for_resets(flow, 1))
    }

    /// Plays scenarios, some of them at a time. One that fails stops no other; [`Watch::finish`]
    /// tells.
    pub fn play<S: Sync + ?Sized>(&self, stage: &S, scenarios: &[Scenario<S>]) {
        let wanted = std::env::var(SCENARIO).unwrap_or_default();
        let scenarios: Vec<_> = scenarios.iter().filter(|(name, _)| wanted.split(',').any(|part| name.contains(part))).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..AT_A_TIME.min(scenarios.len()) {
                scope.spawn(|| {
                    while let Some((name, scenario)) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = scenario(stage) {
                            lock(&self.failures).push(format!("{name}: {error}"));
                        }
                    }
                });
            }
        });
    }

    /// Waits for what the agents still have to say, ends them, checks their books, and compares all
    /// they said with the truth.
    ///
    /// # Errors
    ///
    /// As [`Agent::stop`].
    ///
    /// # Panics
    ///
    /// When a scenario failed, when any view was not the truth, or when an agent complained about a
    /// connection of which nobody said anything.
    #[track_caller]
    pub fn finish(self) -> Result<()> {
        let Self { name, agents, claims, failures } = self;
        let claims = claims.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut wrong = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut right = 0;
        for (view, agent) in agents {
            let claims: Vec<&Claim> = claims.iter().filter(|claim| claim.view == view).collect();
            wait_for_all(&agent, &claims);
            let record = agent.stop()?;
            let found = compare(view, &record, &claims)?;
            right += claims.len() - found.iter().filter(|(is_claim, _)| *is_claim).count();
            wrong.extend(found.into_iter().map(|(_, text)| text));
        }
        println!("truth\t{name}\t{right} right\t{} wrong", wrong.len());
        assert!(wrong.is_empty(), "{name}: {right} right, {} findings\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    }
}

/// Waits until an agent has written a line about each connection of which it has to, or has not for
/// 10 s.
fn wait_for_all(agent: &Agent, claims: &[&Claim]) {
    let awaited = claims.iter().filter(|claim| claim.said.is_awaited()).map(|claim| claim.flow);
    let left: RefCell<HashSet<Flow>> = RefCell::new(awaited.collect());
    if left.borrow().is_empty() {
        return;
    }
    // What is missing is found by the comparison.
    let _ = agent.wait_for("a line about each connection", |event| {
        if is_of_ending(event)
            && let Some(flow) = Flow::of(event)
        {
            left.borrow_mut().remove(&flow);
        }
        left.borrow().is_empty()
    });
}

/// What is wrong, and whether it is about a connection of a scenario.
fn compare(view: &str, record: &Record, claims: &[&Claim]) -> Result<Vec<(bool, String)>> {
    let lines: Vec<(Flow, Value)> = record.events().filter_map(ending).collect();
    let mut wrong = Vec::new();
    for Claim { scenario, flow, said, .. } in claims {
        let of_it: Vec<Value> = lines.iter().filter(|(other, _)| other == flow).map(|(_, line)| line.clone()).collect();
        let mut found = said.findings(&of_it);
        if let Some(other) = said.truth().and_then(Truth::other)
            && !are_tied(&lines, *flow, other)
        {
            found.push(format!("related: no line ties it to {} -> {}", other.local, other.peer));
        }
        let expected = said.truth().map_or_else(|| "nothing".to_owned(), |truth| table::said(truth.says()));
        table::record(scenario, view, &expected, of_it.first(), found.is_empty())?;
        if !found.is_empty() {
            found.push(format!("of {flow:?}"));
            found.extend(of_it.iter().map(|line| format!("  {line}")));
            wrong.push((true, format!("{scenario}, {view}:\n  {}", found.join("\n  "))));
        }
    }
    let unclaimed = lines.iter().filter(|(flow, line)| {
        claims.iter().all(|claim| claim.flow != *flow) && !Said::Nothing.findings(std::slice::from_ref(line)).is_empty()
    });
    wrong.extend(unclaimed.map(|(_, line)| (false, format!("{view}: no scenario lost {line}"))));
    Ok(wrong)
}

/// Whether a line about one of two connections names the other: by the id of one of its lines, or
/// by its peer.
fn are_tied(lines: &[(Flow, Value)], one: Flow, other: Flow) -> bool {
    let names = |from: Flow, to: Flow| {
        let ids = lines.iter().filter(|(flow, _)| *flow == to).filter_map(|(_, line)| line.get("id")?.as_str());
        let [local, peer] = [to.local, to.peer].map(|end| end.to_string());
        let words: Vec<&str> = ids.chain([local.as_str(), peer.as_str()]).collect();
        let related = lines.iter().filter(|(flow, _)| *flow == from).filter_map(|(_, line)| line.get("related"));
        related.map(Value::to_string).any(|text| words.iter().any(|word| text.contains(word)))
    };
    names(one, other) || names(other, one)
}

/// A line about how a connection ended, by the connection: also the sample of those that were
/// folded into one.
fn ending(mut event: Value) -> Option<(Flow, Value)> {
    if is_kind(&event, "rst_suppressed") {
        event = event.get_mut("sample")?.take();
    }
    let flow = is_of_ending(&event).then(|| Flow::of(&event)).flatten()?;
    Some((flow, event))
}

fn is_of_ending(event: &Value) -> bool {
    is_kind(event, "rst") || is_kind(event, "connection_ended")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
