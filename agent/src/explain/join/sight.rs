//! What can be said of a report of which no event tells.

use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};

use super::{
    AFTER, Agent, Answer, Joiner,
    near::{before, settle_time, slack},
};
use crate::{
    event::{Suppressed, SuppressedKey},
    explain::{coverage::Sight, log::Report},
    model::Tuple,
};

impl Joiner {
    pub(super) fn without(&self, report: &mut Report) -> Answer {
        let not_seen = |why: String, class| Answer::NotSeen { why, class };
        if !self.any {
            return not_seen("there are no events".to_owned(), "no events");
        }
        let Some(connection) = report.connection else {
            let why = match report.ports {
                Some((client, broker)) => format!(
                    "the log has host names for addresses here, and the events have no connection, or more than one, from port {client} to port {broker} at that time"
                ),
                None => "the log names no addresses here, and no line before it says whose process this is, so that no event can be told to be that of this connection".to_owned(),
            };
            return not_seen(why, "no addresses in the log");
        };
        let times: Vec<Timestamp> = report.times().collect();
        if times.is_empty() {
            return not_seen("the log has no time here, and the events have no end of this connection".to_owned(), "no time in the log");
        }
        let mut blind = None;
        for at in &times {
            let earliest = at.saturating_sub(before(&report.reason)).unwrap_or(Timestamp::MIN);
            match self.sight(earliest, *at, slack(report), connection) {
                answer @ Answer::NoReset { .. } => {
                    settle_time(report, *at);
                    return answer;
                }
                other => blind = blind.or(Some(other)),
            }
        }
        blind.unwrap_or_else(|| not_seen("there are no events".to_owned(), "no events"))
    }

    /// What the agents could know of a moment.
    fn sight(&self, earliest: Timestamp, at: Timestamp, slack: SignedDuration, connection: Tuple) -> Answer {
        let not_seen = |why: String, class| Answer::NotSeen { why, class };
        if let Some(forgotten) = self.forgotten.filter(|forgotten| earliest <= *forgotten) {
            return not_seen(
                format!("events up to {} were too many to be kept; give the log as a file", forgotten.strftime("%FT%TZ")),
                "too many events",
            );
        }
        if let Some(folded) = self.folded_about(earliest, at, connection) {
            return not_seen(folded, "folded");
        }
        let ends = [connection.local.ip(), connection.peer.ip()];
        let is_end = |agent: &Agent| ends.iter().any(|end| agent.addresses.contains(end));
        let (mut blind, mut strangers): (Option<(bool, String)>, Vec<&str>) = (None, Vec::new());
        let mut unsure = None;
        for (host, agent) in &self.agents {
            match agent.coverage.sight(earliest, at, slack, connection) {
                Sight::Blind(why) => {
                    let is_better = blind.as_ref().is_none_or(|(known, _)| !known && is_end(agent));
                    if is_better {
                        blind = Some((is_end(agent), why));
                    }
                }
                Sight::Watching(doubts) if is_end(agent) => {
                    let broker = agent.addresses.contains(&connection.local.ip());
                    return Answer::NoReset { host: Some(host.clone()), doubts, broker };
                }
                Sight::Watching(doubts) if agent.addresses.is_empty() => unsure = unsure.or(Some((host, doubts))),
                Sight::Watching(_) => strangers.push(host),
            }
        }
        if let Some((host, doubts)) = unsure {
            let unknown = format!("nothing in the events shows that {host} has either address");
            let doubts = doubts.map_or_else(|| unknown.clone(), |doubts| format!("{doubts}; {unknown}"));
            return Answer::NoReset { host: None, doubts: Some(doubts), broker: false };
        }
        if let (false, None | Some((false, _))) = (strangers.is_empty(), &blind) {
            return not_seen(stranger(&strangers, connection), "neither end is the agent's host");
        }
        match blind {
            Some((_, why)) => not_seen(why, "the agent did not watch"),
            None => not_seen("there are no events".to_owned(), "no events"),
        }
    }

    /// The folded resets that one of this connection may be among: the latest line that fits, those
    /// of its own peer first.
    fn folded_about(&self, earliest: Timestamp, at: Timestamp, connection: Tuple) -> Option<String> {
        let latest = at.saturating_add(AFTER).unwrap_or(Timestamp::MAX);
        let fits = |ends: [SocketAddr; 2], key: &SuppressedKey| match (&key.peer, &key.local) {
            (Some(peer), Some(local)) => {
                let [other, own] = ends;
                other.ip() == peer.address && own.port() == local.port
            }
            (Some(peer), None) => ends.iter().any(|end| end.ip() == peer.address && Some(end.port()) == peer.port),
            (None, _) => true,
        };
        let Tuple { local, peer } = connection;
        let of_it = |folded: &&Suppressed| {
            let near = folded.first <= latest && folded.last >= earliest;
            near && [[local, peer], [peer, local]].into_iter().any(|ends| fits(ends, &folded.key))
        };
        let found = self.folded.iter().filter(of_it).max_by_key(|folded| (folded.key.peer.is_some(), folded.last))?;
        Some(format!(
            "it may be among those that were too many to be written one by one at {}: {}",
            found.first.strftime("%FT%TZ"),
            found.message
        ))
    }
}

/// Why nothing is known of a connection of which no watched host is an end.
fn stranger(hosts: &[&str], connection: Tuple) -> String {
    let names = hosts.iter().map(|host| if host.is_empty() { "the agent's host" } else { host }).collect::<Vec<_>>().join(", ");
    format!(
        "no event shows {names} as an end of this connection ({} -> {}): these may be the addresses that a proxy announces (PROXY protocol) or that NAT \
         translates elsewhere, and the agent's host has another connection, of which the log does not speak; run the agent on {} as well",
        connection.peer,
        connection.local,
        connection.local.ip()
    )
}
