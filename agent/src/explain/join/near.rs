//! Which event is that of a report: how near it is, and what it says.

use jiff::{SignedDuration, Timestamp};

use super::{AFTER, BEFORE, Indexed, Pending, VIEWS, key};
use crate::{
    explain::log::{Reason, Report},
    reader::record::{Found, Kind},
};

impl Pending {
    /// Forgets the reset that `revised` tells anew: that one holds.
    pub(super) fn take_back(&mut self, revised: &Found) {
        let old = |indexed: &Indexed| is_same(&indexed.found, revised);
        self.all.retain(|indexed| !old(indexed));
        if self.best.as_ref().is_some_and(old) {
            self.best = None;
            for indexed in std::mem::take(&mut self.all) {
                self.consider(&indexed);
            }
        }
    }

    /// Takes an event of the same connection if it is near enough, and better than the one before.
    pub(super) fn consider(&mut self, indexed: &Indexed) {
        let Some(distance) = distance(&self.report, indexed.found.timestamp) else { return };
        if self.all.len() < VIEWS {
            self.all.push(indexed.clone());
        }
        let place = |indexed: &Indexed, distance: SignedDuration| (rank(&indexed.found), distance, indexed.how);
        let before =
            self.best.as_ref().map(|best| place(best, self::distance(&self.report, best.found.timestamp).unwrap_or(SignedDuration::MAX)));
        if before.is_none_or(|before| place(indexed, distance) < before) {
            self.best = Some(indexed.clone());
        }
    }
}

/// Whether `revised` is another telling of the same reset. An `id` is unique on one host.
pub fn is_same(found: &Found, revised: &Found) -> bool {
    !revised.id.is_empty() && found.kind == Kind::Reset && found.id == revised.id && found.host == revised.host
}

/// What ended the connection by a reset goes first, then what ended it without one, then what the
/// kernel did not act on.
fn rank(found: &Found) -> (bool, Kind) {
    (!found.ended(), found.kind)
}

/// Whether ports alone say what happened: no other connection had them, or all that had them ended
/// alike.
pub fn is_settled(best: &Found, all: &[Indexed]) -> bool {
    let verdict = |found: &Found| (Found::text(&found.origin, "kind").to_owned(), Found::text(&found.cause, "id").to_owned(), found.kind);
    let others = all.iter().filter(|view| key(view.found.tuple()) != key(best.tuple()));
    all.len() < VIEWS && others.into_iter().all(|view| view.found.ended() && verdict(&view.found) == verdict(best))
}

/// How far an event is from a report, by the instant that fits best; `None` if it is too far. A
/// report without a time has no distance.
fn distance(report: &Report, at: Timestamp) -> Option<SignedDuration> {
    if report.time.is_none() {
        return Some(SignedDuration::ZERO);
    }
    let slack = slack(report);
    let before = before(&report.reason);
    let late = |time: Timestamp| {
        let later = at.duration_since(time);
        if later.is_positive() { (later - slack).max(SignedDuration::ZERO) } else { later }
    };
    let near = report.times().map(late).filter(|later| -*later <= before && *later <= AFTER);
    near.map(SignedDuration::abs).min()
}

/// How much later than the log's time a report may have been.
pub fn slack(report: &Report) -> SignedDuration {
    if report.whole_seconds { SignedDuration::from_millis(999) } else { SignedDuration::ZERO }
}

/// Of the instants that a report's time may mean, the one that `at` says.
pub fn settle_time(report: &mut Report, at: Timestamp) {
    let nearest = report.times().min_by_key(|time| at.duration_since(*time).abs());
    report.time = nearest;
    report.or.clear();
}

pub fn near(one: Timestamp, other: Timestamp, within: SignedDuration) -> bool {
    one.duration_since(other).abs() <= within
}

/// How long before the report an event may have happened.
pub fn before(reason: &Reason) -> SignedDuration {
    match reason {
        Reason::MissedHeartbeats { interval } => BEFORE + SignedDuration::try_from(3 * *interval).unwrap_or_default(),
        _ => BEFORE,
    }
}
