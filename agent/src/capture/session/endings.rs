//! Ends of connections: remembered for the RSTs that follow, and told where none does.

use std::{sync::Arc, time::Duration};

use super::Session;
use crate::{
    amqp::{Conversation, Side},
    clock,
    event::{Event, build},
    flow::{
        Act, FirstAct, Reset,
        flood::Kind,
        idle::{Destination, Learnt},
        wire::Silence,
    },
    join::endings::Held,
};

impl Session {
    /// Takes in the first act of an end.
    pub(super) fn take_ending(&mut self, mut reset: Box<Reset>, jiffies: u32) {
        self.tally.endings.taken += 1;
        // As for resets: a process that ends may be gone in a moment.
        self.owners.name(&mut reset);
        self.name_netns(&mut reset);
        // Of a connection without a byte there is nothing to look up: most are health checks.
        if reset.tcp.as_ref().is_none_or(|tcp| tcp.bytes_received > 0 || tcp.bytes_sent > 0) {
            reset.amqp = self.armed.conversation(&reset, jiffies).map(Box::new);
        }
        let Some(act) = reset.act() else { return };
        if matches!(act, Act::TimedOut(_) | Act::ConnectTimedOut(_)) {
            // Its owner is just being told, and will close the socket.
            self.owners.glance(std::slice::from_mut(&mut *reset));
            if matches!(act, Act::ConnectTimedOut(_)) {
                self.owners.name_connector(&mut reset);
            }
        }
        let mut first = reset.first_act_as(act);
        first.learnt_idle = self.learn_idle_of(&reset, &first);
        let told = self.plan.endings && is_told(&reset, &first);
        if !told {
            self.tally.endings.ordinary += 1;
        }
        reset.first_act = Some(Arc::new(first));
        self.endings.note(reset.key(), reset, jiffies, told);
    }

    /// A peer that closes after silence gives an idle timeout away as a RST does.
    fn learn_idle_of(&mut self, reset: &Reset, first: &FirstAct) -> Option<Box<Learnt>> {
        if first.act != Act::PeerClose || !reset.amqp.as_deref()?.left_open_by(Side::Peer) {
            return None;
        }
        let silence = Silence { length: first.silence?, broken_by_receiver: false };
        let destination = Destination::new(reset.tuple.peer, reset.service_port());
        self.idle.learn(destination, Some(silence), Duration::ZERO).map(Box::new)
    }

    /// Lets the ends whose window is over go on, those for which a RST came aside.
    pub(super) fn release_endings(&mut self) {
        let now_ns = self.behind.unwrap_or_else(clock::boottime_ns);
        while let Some(held) = self.endings.pop_due(now_ns) {
            self.release_ending(held);
        }
    }

    /// Lets all ends go on, at the end of a capture.
    pub(super) fn finish_endings(&mut self) {
        while self.endings.held() > 0 {
            if let Some(held) = self.endings.pop() {
                self.release_ending(held);
            }
        }
    }

    /// What was still on its way to the wire when the connection was closed has been seen by now:
    /// it may have been a farewell. What comes for the connection later is explained by what is
    /// known now.
    fn release_ending(&mut self, held: Held) {
        let Held { mut reset, jiffies, .. } = held;
        let Some(first) = reset.first_act.clone() else { return };
        let mut first = FirstAct::clone(&first);
        if let Some(conversation) = self.armed.conversation(&reset, jiffies) {
            first.amqp = Some(Box::new(conversation));
            reset.amqp.clone_from(&first.amqp);
        }
        first.told = is_told(&reset, &first);
        let first = Arc::new(first);
        self.endings.replace(reset.key(), Arc::clone(&first));
        if !first.told {
            self.tally.endings.ordinary += 1;
            return;
        }
        reset.first_act = Some(first);
        self.pass_on(*reset);
    }

    /// Joins a reset with what was remembered of the end of its connection, and of its process's
    /// other connections.
    pub(super) fn join_endings(&mut self, reset: &mut Reset) {
        let place = reset.key();
        if !reset.ended {
            reset.first_act = self.endings.first_act(place, reset);
            if let Some(first) = &reset.first_act {
                // What ended it is what was said until then.
                reset.amqp = first.amqp.clone().or_else(|| reset.amqp.take());
                if let Some((facts, from)) = &first.process {
                    reset.process = Some((Arc::clone(facts), *from));
                }
            }
        }
        let at_ns = reset.first_act.as_ref().map_or(reset.boottime_ns, |first| first.at_ns);
        let silence = reset.quiet();
        let pid = reset.holder().map(|task| task.pid).or_else(|| Some(reset.process.as_ref()?.0.pid));
        reset.other_leg = pid.and_then(|pid| self.endings.other_leg(pid, place, reset.role, at_ns, silence)).map(Box::new);
    }

    /// Writes the line of an end, or folds it.
    pub(super) fn emit_ending(&mut self, mut reset: Reset) {
        let verdict = self.memory.attribute(&mut reset);
        let event = Box::new(build::event(&reset, verdict, &self.plan.host));
        let Some(event) = self.fold(&reset, event, Kind::Ending) else { return };
        self.tally.endings.emitted += 1;
        if let Some(attended) = &self.attended {
            attended.observer.ended(&event);
        }
        self.queue(Event::ConnectionEnded(event));
    }
}

/// Whether an end is told where no RST tells it: AMQP was open, and nobody had taken leave; or the
/// kernel gave the peer up; or the process was killed or crashed with a connection on which
/// something had been said.
fn is_told(reset: &Reset, first: &FirstAct) -> bool {
    let conversation = reset.amqp.as_deref();
    let spoke = reset.tcp.as_ref().is_some_and(|tcp| tcp.bytes_received > 0 || tcp.bytes_sent > 0);
    match first.act {
        Act::TimedOut(_) | Act::ConnectTimedOut(_) => true,
        Act::PeerClose => conversation.is_some_and(|it| it.left_open_by(Side::Peer)),
        Act::LocalClose { .. } => {
            let killed = first.actor.as_ref().and_then(|task| task.end.as_ref()).is_some_and(|end| end.signal.is_some());
            let in_order = conversation.is_some_and(Conversation::was_closed);
            conversation.is_some_and(|it| it.left_open_by(Side::Local)) || killed && spoke && !in_order
        }
    }
}
