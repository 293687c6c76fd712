//! One event on its way to every sink.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::{event::Event, output, story::Paragraph};

/// An event, shared by the sinks. Its JSON line is made once, by the first of them that wants it.
pub struct Item {
    event: Event,
    json: OnceLock<Bytes>,
    /// Routine resets before it, for a reader who has them counted instead of listed.
    pub routine: u64,
    /// With the last line: what the whole came to, for a reader who is a person.
    pub story: Vec<Paragraph>,
}

impl Item {
    pub const fn new(event: Event) -> Self {
        Self { event, json: OnceLock::new(), routine: 0, story: Vec::new() }
    }

    pub const fn event(&self) -> &Event {
        &self.event
    }

    /// The line of the contract, with its newline.
    pub fn json(&self) -> &Bytes {
        self.json.get_or_init(|| output::json_line(&self.event))
    }

    /// Whether it needs room in the queue. The other events are few, and found room for.
    pub const fn is_bounded(&self) -> bool {
        matches!(self.event, Event::Rst(_) | Event::RstSuppressed(_) | Event::ConnectionEnded(_) | Event::EndingsSuppressed(_))
    }

    /// Whether it tells of folded resets, or folded ends.
    pub const fn is_folded(&self) -> bool {
        matches!(self.event, Event::RstSuppressed(_) | Event::EndingsSuppressed(_))
    }

    /// How many resets it tells of.
    pub const fn resets(&self) -> u64 {
        match &self.event {
            Event::Rst(_) => 1,
            Event::RstSuppressed(suppressed) => suppressed.count,
            _ => 0,
        }
    }

    /// How many ends of connections without a RST it tells of.
    pub const fn endings(&self) -> u64 {
        match &self.event {
            Event::ConnectionEnded(_) => 1,
            Event::EndingsSuppressed(suppressed) => suppressed.count,
            _ => 0,
        }
    }

    /// Whether `self`, as the newer one, says all that `older` does.
    pub fn supersedes(&self, older: &Self) -> bool {
        matches!(
            (&self.event, &older.event),
            (Event::EventsLost(_), Event::EventsLost(_)) | (Event::AgentReloaded(_), Event::AgentReloaded(_))
        )
    }
}
