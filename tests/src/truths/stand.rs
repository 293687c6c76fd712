//! A test stand: one broker, an agent on its host and one on the clients' host, and many scenarios,
//! each with its own connections.
//!
//! A broker takes seconds to start, so that scenarios share one. What belongs to which scenario is
//! told by the connection.

use std::{
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use serde_json::Value;

use super::{expect, table};
use crate::{
    Result,
    agents::agent::Agent,
    brokers::broker::Broker,
    hosts::{
        flow::Flow,
        net::{Host, Routed, TwoHosts},
    },
};

/// Names the one scenario to play, by a part of its name, where somebody wants no other.
const SCENARIO: &str = "RSTBLAME_LAB_SCENARIO";

/// How many scenarios go on at a time: most of their time they wait for one another's processes to
/// start.
const AT_A_TIME: usize = 5;

/// Where the connections of all scenarios are watched: AMQP, with and without TLS.
const PORTS: [&str; 2] = ["--port", "5671-5672"];

/// Scenarios take turns on the processors: an end that goes on talking may do so late.
const SETTLE: &str = "500ms";

/// The hosts of a stand.
#[derive(Debug)]
pub enum Ground {
    /// Client and broker on one wire.
    Direct(TwoHosts),
    /// A router between them.
    Routed(Routed),
}

/// Whose agent is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// That of the clients' host.
    Client,
    /// That of the broker's host.
    Broker,
}

/// What a host has to say about one connection.
#[derive(Debug, Clone)]
pub enum Said {
    /// These resets in this order, and no other.
    These(Vec<Value>),
    /// Who is first to end the socket is a race: any number of resets, each of which says this.
    Any(Value),
    /// The same, but one connection at least of the scenario has a reset.
    Some(Value),
}

/// One scenario, by its name.
pub type Scenario = (&'static str, fn(&Scene<'_>) -> Result<()>);

/// Scenarios under the names of their functions.
#[macro_export]
macro_rules! scenarios {
    ($($function:path),* $(,)?) => { [$((stringify!($function), $function as fn(&$crate::truths::stand::Scene<'_>) -> $crate::Result<()>)),*] };
}

/// One scenario being played.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Where.
    pub stand: &'a Stand,
    name: &'static str,
}

/// One broker with two views of it.
#[derive(Debug)]
pub struct Stand {
    name: &'static str,
    client: Agent,
    server: Agent,
    claims: Mutex<Vec<Claim>>,
    /// What failed before anything could be compared.
    failures: Mutex<Vec<String>>,
    /// The broker, on the server's host.
    pub broker: Broker,
    /// The hosts. Last, so that everything ends before they do.
    ground: Ground,
}

#[derive(Debug)]
struct Claim {
    scenario: &'static str,
    view: View,
    flow: Flow,
    said: Said,
}

/// What the verdicts of one stand come to.
#[derive(Debug, Default)]
struct Tally {
    right: usize,
    wrong: Vec<String>,
}

impl Ground {
    /// The clients' host.
    pub const fn client(&self) -> &Host {
        match self {
            Self::Direct(hosts) => &hosts.client,
            Self::Routed(hosts) => &hosts.client,
        }
    }

    /// The broker's host.
    pub const fn server(&self) -> &Host {
        match self {
            Self::Direct(hosts) => &hosts.server,
            Self::Routed(hosts) => &hosts.server,
        }
    }
}

impl Stand {
    /// Starts a broker with everything scenarios ask for, and an agent with each view, which get
    /// more `arguments`.
    ///
    /// # Errors
    ///
    /// As [`Broker::start_furnished`] and [`crate::agents::agent::Options::start`].
    pub fn new(name: &'static str, ground: Ground, arguments: &[&str]) -> Result<Self> {
        let broker = Broker::start_furnished(ground.server())?;
        let agent = |host| Agent::on(host).args(&PORTS).args(arguments).settle(SETTLE).start();
        let (client, server) = (agent(ground.client())?, agent(ground.server())?);
        Ok(Self { name, client, server, claims: Mutex::default(), failures: Mutex::default(), broker, ground })
    }

    /// The clients' host.
    pub const fn client(&self) -> &Host {
        self.ground.client()
    }

    /// The broker's host.
    pub const fn server(&self) -> &Host {
        self.ground.server()
    }

    /// The router between them, where there is one.
    pub const fn routed(&self) -> Option<&Routed> {
        match &self.ground {
            Ground::Direct(_) => None,
            Ground::Routed(hosts) => Some(hosts),
        }
    }

    /// Runs `rabbitmqctl`.
    ///
    /// # Errors
    ///
    /// As [`Broker::control`].
    pub fn control(&self, words: &[&str]) -> Result<String> {
        self.broker.control(self.server(), words)
    }

    /// Plays scenarios, some of them at a time. One that fails stops no other; [`Stand::finish`]
    /// tells. Whether there were any to play: only those may be that were asked for by name.
    pub fn play(&self, scenarios: &[Scenario]) -> bool {
        let wanted = std::env::var(SCENARIO).unwrap_or_default();
        let scenarios: Vec<&Scenario> = scenarios.iter().filter(|(name, _)| name.contains(&wanted)).collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..AT_A_TIME.min(scenarios.len()) {
                scope.spawn(|| {
                    while let Some((name, scenario)) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let began = Instant::now();
                        if let Err(error) = scenario(&Scene { stand: self, name }) {
                            lock(&self.failures).push(format!("{name}: {error}"));
                        }
                        println!("played\t{name}\t{:.1} s", began.elapsed().as_secs_f64());
                    }
                });
            }
        });
        !scenarios.is_empty()
    }

    /// Ends the agents, checks their books, and compares all they said with the truth. None of
    /// `secrets` is in it, nor in what they logged.
    ///
    /// # Errors
    ///
    /// As [`Agent::stop`].
    ///
    /// # Panics
    ///
    /// When a scenario failed, when any view was not the truth, or when an agent told of a
    /// connection that no scenario made.
    #[track_caller]
    pub fn finish(self, secrets: &[&str]) -> Result<()> {
        let Self { name, client, server, claims, failures, broker, ground } = self;
        let claims = claims.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut tally = Tally { wrong: failures.into_inner().unwrap_or_else(PoisonError::into_inner), ..Tally::default() };
        for (view, agent) in [(View::Client, client), (View::Broker, server)] {
            let record = agent.stop()?;
            for secret in secrets {
                let said = record.lines().iter().find(|line| line.contains(secret));
                tally.wrong.extend(said.map(|line| format!("{view:?} tells a secret: {line}")));
                if record.log().contains(secret) {
                    tally.wrong.push(format!("{view:?} logs a secret:\n{}", record.log()));
                }
            }
            let claims: Vec<&Claim> = claims.iter().filter(|claim| claim.view == view).collect();
            let events: Vec<(Flow, Value)> = record.resets().filter_map(|event| Some((Flow::of(&event)?, event))).collect();
            for (flow, event) in &events {
                if claims.iter().all(|claim| claim.flow != *flow) {
                    tally.wrong.push(format!("{view:?}: no scenario made {event}"));
                }
            }
            for claim in &claims {
                let of_flow = events.iter().filter(|(flow, _)| *flow == claim.flow).map(|(_, event)| event);
                // A port that is free again may be that of another scenario's connection.
                let again = |event: &Value| claims.iter().any(|other| other.shares(claim) && other.said.fits(event));
                let of_it: Vec<&Value> = of_flow.filter(|event| claim.said.fits(event) || !again(event)).collect();
                tally.compare(claim, &of_it);
                let told = |other: &&&Claim| other.scenario == claim.scenario && events.iter().any(|(flow, _)| *flow == other.flow);
                if matches!(claim.said, Said::Some(_)) && claims.iter().find(told).is_none() {
                    tally.wrong.push(format!("{}, {view:?}: no connection of it has a reset", claim.scenario));
                }
            }
        }
        drop((broker, ground));
        let Tally { right, wrong } = tally;
        println!("truth\t{name}\t{right} right\t{} wrong", wrong.len());
        assert!(wrong.is_empty(), "{name}: {} findings\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    }
}

impl Claim {
    /// Whether it is about another scenario's connection with the same ends.
    fn shares(&self, other: &Self) -> bool {
        self.scenario != other.scenario && self.flow == other.flow
    }
}

impl Said {
    /// Whether an event is one of these.
    fn fits(&self, event: &Value) -> bool {
        let truths = match self {
            Self::These(truths) => truths.as_slice(),
            Self::Any(truth) | Self::Some(truth) => std::slice::from_ref(truth),
        };
        truths.iter().any(|truth| expect::differences(event, truth).iter().all(|one| expect::raised(event, truth, one)))
    }
}

impl Tally {
    fn compare(&mut self, claim: &Claim, events: &[&Value]) {
        let Claim { scenario, view, flow, said } = claim;
        match said {
            Said::These(truths) => {
                if truths.len() != events.len() {
                    let count = truths.len();
                    self.wrong.push(format!("{scenario}, {view:?}: {} resets of {flow:?}, and not {count}", events.len()));
                }
                truths.iter().zip(events).for_each(|(truth, event)| self.judge(claim, truth, event));
                // What came besides is shown.
                events.iter().skip(truths.len()).for_each(|event| self.wrong.push(format!("{scenario}, {view:?}: also {event}")));
            }
            Said::Any(truth) | Said::Some(truth) => events.iter().for_each(|event| self.judge(claim, truth, event)),
        }
    }

    /// One line of the table that `cargo test -- --nocapture` shows, and the finding, if it is one.
    fn judge(&mut self, claim: &Claim, truth: &Value, event: &Value) {
        let Claim { scenario, view, .. } = claim;
        let found: Vec<String> = expect::differences(event, truth).into_iter().filter(|one| !expect::raised(event, truth, one)).collect();
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
        println!(
            "truth\t{scenario}\t{view:?}\t{}\t{}\t{}\t{}\t{}",
            text("/direction"),
            truth.pointer("/cause/id").unwrap_or(&Value::Null),
            text("/cause/id"),
            text("/origin/kind"),
            if found.is_empty() { "right" } else { "WRONG" }
        );
        let view = format!("{view:?}").to_lowercase();
        if let Err(error) = table::record(scenario, &view, &table::said(truth), Some(event), found.is_empty()) {
            self.wrong.push(error.to_string());
        }
        if found.is_empty() {
            self.right += 1;
        } else {
            self.wrong.push(format!("{scenario}, {view:?}:\n  {}\n{event}", found.join("\n  ")));
        }
    }
}

impl Scene<'_> {
    /// The broker's IPv4 address.
    pub fn v4(&self) -> IpAddr {
        self.stand.server().v4()
    }

    /// The broker's IPv6 address.
    pub fn v6(&self) -> IpAddr {
        self.stand.server().v6()
    }

    /// Both views of one connection, as the client sees it.
    pub fn told(&self, flow: Flow, client: Said, broker: Said) {
        self.told_by(View::Client, flow, client);
        self.told_by(View::Broker, flow.reversed(), broker);
    }

    /// Waits until a view has told of a reset of one of these connections, as this host sees them.
    ///
    /// # Errors
    ///
    /// As [`Agent::wait_for`].
    pub fn wait_for_any(&self, view: View, flows: impl Iterator<Item = Flow>) -> Result<()> {
        let flows: Vec<Flow> = flows.collect();
        self.agent(view).wait_for("a reset of one of many connections", |event| flows.iter().any(|flow| flow.is_of(event))).map(drop)
    }

    /// What one view has to say about a connection, as this host sees it; returns once it has said
    /// so much.
    pub fn told_by(&self, view: View, flow: Flow, said: Said) {
        if let Said::These(truths) = &said {
            // If there are fewer, the comparison tells.
            let _ = self.agent(view).wait_for_resets(flow, truths.len());
        }
        lock(&self.stand.claims).push(Claim { scenario: self.name, view, flow, said });
    }

    /// The agent with this view.
    pub const fn agent(&self, view: View) -> &Agent {
        match view {
            View::Client => &self.stand.client,
            View::Broker => &self.stand.server,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
