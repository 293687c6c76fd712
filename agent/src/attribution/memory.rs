//! What is remembered from one reset to the next: connections that just ended, and what repeats.

use super::{Verdict, attribute};
use crate::{
    flow::{
        Reset,
        idle::Destination,
        patterns::{Patterns, Sighting},
        recent::Recent,
        wire::Silence,
    },
    model::{CauseId, Effect, OriginKind, Role, Severity},
};

/// `reply-code`s by which a broker turns a client away before the connection is open:
/// access-refused and not-allowed (AMQP 0-9-1, section 1.3).
const TURNED_AWAY: [u16; 2] = [403, 530];

/// The memory of one stream of resets, in the order in which they happened.
#[derive(Debug, Default)]
pub struct Memory {
    recent: Recent,
    patterns: Patterns,
}

impl Memory {
    /// Decides one reset in the light of those before it.
    pub fn attribute(&mut self, reset: &mut Reset) -> Verdict {
        reset.earlier = self.recent.before(reset).map(Box::new);
        let verdict = attribute(reset);
        if verdict.effect == Effect::ConnectionReset {
            self.recent.note(reset, verdict.severity == Severity::Info);
        }
        let patterns = sighting(reset, &verdict).map(|sighting| self.patterns.see(&sighting)).unwrap_or_default();
        verdict.repeating(patterns)
    }

    /// Peers whose resets had to be forgotten.
    pub const fn evicted(&self) -> u64 {
        self.patterns.evicted()
    }
}

/// A reset as the patterns take it; `None` for what belongs to normal operation, ended nothing, or
/// was seen at its other end.
fn sighting(reset: &Reset, verdict: &Verdict) -> Option<Sighting> {
    let ended = matches!(
        verdict.effect,
        Effect::ConnectionReset
            | Effect::ConnectionRefused
            | Effect::HandshakeAborted
            | Effect::ClosedWithoutAmqpClose
            | Effect::TimedOut
            | Effect::ConnectTimedOut
    );
    // A RST whose connection had a line of its own counts once.
    let told = !reset.ended && reset.first_act.as_ref().is_some_and(|first| first.told);
    let twice = reset.pair.is_some() && reset.role == Role::Client;
    if verdict.severity == Severity::Info || !ended || twice || told {
        return None;
    }
    let silence = match &reset.first_act {
        Some(first) => first.silence.map(|length| Silence { length, broken_by_receiver: false }),
        None => reset.wire.as_deref().and_then(|wire| wire.silence),
    };
    let middlebox = verdict.origin.kind == OriginKind::Middlebox;
    let known = reset.first_act.as_ref().map_or(&reset.learnt_idle, |first| &first.learnt_idle);
    let learnt = silence.and_then(|silence| known.as_deref().filter(|learnt| learnt.explains(silence)).copied());
    Some(Sighting {
        time_ns: reset.timestamp.as_nanosecond(),
        peer: Destination::new(reset.tuple.peer, reset.service_port()),
        unopened: unopened(reset, verdict),
        middlebox: middlebox.then_some(verdict.origin.address),
        idle: silence.map(|silence| silence.length),
        learnt: learnt.filter(|_| verdict.cause.id == CauseId::IdleTimeout),
    })
}

fn unopened(reset: &Reset, verdict: &Verdict) -> bool {
    let refused = verdict.effect != Effect::ConnectionReset || verdict.cause.id == CauseId::HandshakeAborted;
    let code = reset.amqp.as_deref().and_then(|conversation| conversation.close.as_ref()).map(|close| close.code);
    refused || verdict.cause.id == CauseId::ForcedClose && code.is_some_and(|code| TURNED_AWAY.contains(&code))
}
