//! Looking up what was said on a connection that was reset.

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use rstblame_abi::{
    conversation::{ChannelError, Spoken, method},
    flow::{FlowKey, FlowState, HANDSHAKE_TAKEN, Handshake, direction, seen},
    flow_table::Table,
};

use super::{
    decode::{
        conversation::{Direction, Jiffies, conversation},
        key,
    },
    error::KernelError,
    flows::Flows,
    maps::take,
};
use crate::{
    amqp::Conversation,
    flow::{Reset, SocketKind},
    model::{ConnectionKey, Tuple},
};

/// Resets without a connection of their own, a second, for which it is looked up: a flood of
/// refused connections has nothing to tell.
const STRAY_LOOKUPS: u32 = 1000;

/// By how much the first byte may seem to come before the handshake was finished: the end of a
/// handshake is noted by another program.
const SLACK_NS: u64 = 1_000_000_000;

/// The maps of the kernel side that tell.
pub struct Talk {
    spoken: HashMap<MapData, FlowKey, Spoken>,
    channel_errors: HashMap<MapData, FlowKey, ChannelError>,
    flows: Flows,
    handshakes: HashMap<MapData, FlowKey, Handshake>,
    /// The second of the last stray lookup, and how many there were in it.
    strays: (u64, u32),
}

impl Talk {
    /// Takes the maps, of which that of flows is a table of this form.
    ///
    /// # Errors
    ///
    /// When the object has none such.
    pub fn new(ebpf: &mut Ebpf, table: Table) -> Result<Self, KernelError> {
        Ok(Self {
            spoken: HashMap::try_from(take(ebpf, "SPOKEN")?).map_err(|error| KernelError::map("SPOKEN", error))?,
            channel_errors: HashMap::try_from(take(ebpf, "CHANNEL_ERRORS")?).map_err(|error| KernelError::map("CHANNEL_ERRORS", error))?,
            flows: Flows::new(ebpf, table)?,
            handshakes: HashMap::try_from(take(ebpf, "HANDSHAKES")?).map_err(|error| KernelError::map("HANDSHAKES", error))?,
            strays: (0, 0),
        })
    }

    /// What was said on the connection of a reset.
    pub fn of(&mut self, reset: &Reset, clock: &Jiffies) -> Option<Conversation> {
        if reset.socket_kind != SocketKind::Connection && !self.may_stray(reset.boottime_ns) {
            return None;
        }
        let [peer, local] = self.directions(reset.tuple, reset.netns.unwrap_or(0));
        // Not that of an earlier connection with the same addresses and ports, nor of a later one.
        let age_ns = reset.connection.as_ref().and_then(|connection| connection.age).map_or(u128::MAX, |age| age.as_nanos());
        let since = reset.boottime_ns.saturating_sub(u64::try_from(age_ns).unwrap_or(u64::MAX)).saturating_sub(SLACK_NS);
        let lifetime = since..=reset.boottime_ns;
        conversation(&local.within(&lifetime), &peer.within(&lifetime), reset.role, clock)
    }

    /// What arrived of a connection, and what left; nothing where nothing was said.
    pub fn directions(&self, tuple: Tuple, netns: u32) -> [Direction; 2] {
        let said = [direction::IN, direction::OUT].map(|direction| {
            let key = key(tuple, direction, netns);
            (key, self.spoken.get(&key, 0).ok())
        });
        if said.iter().all(|(_, said)| said.is_none()) {
            return [Direction::default(); 2];
        }
        said.map(|(key, said)| self.direction(key, said))
    }

    /// What arrived of a connection.
    pub fn arriving(&self, tuple: Tuple, netns: u32) -> Direction {
        let key = key(tuple, direction::IN, netns);
        self.direction(key, self.spoken.get(&key, 0).ok())
    }

    fn direction(&self, key: FlowKey, said: Option<Spoken>) -> Direction {
        let failed = said.is_some_and(|said| said.methods & method::CHANNEL_CLOSE != 0);
        let channel_error = failed.then(|| self.channel_errors.get(&key, 0).ok()).flatten();
        Direction { flow: self.flows.get(&key), said, channel_error }
    }

    /// What arrived of a connection: its packets, or its handshake alone.
    pub fn arrived(&self, ConnectionKey { tuple, netns }: ConnectionKey) -> Option<FlowState> {
        let key = key(tuple, direction::IN, netns);
        self.flows.get(&key).or_else(|| {
            let handshake = self.handshakes.get(&key, 0).ok()?;
            Some(FlowState { packets: 1, initial_seq: handshake.seq, seen: seen::HANDSHAKE, ..FlowState::default() })
        })
    }

    /// Whether anything of a connection is known to have left.
    pub fn has_left(&self, ConnectionKey { tuple, netns }: ConnectionKey) -> bool {
        let key = key(tuple, direction::OUT, netns);
        self.flows.get(&key).is_some() || self.handshakes.get(&key, 0).is_ok()
    }

    /// Handshakes that the tap remembers and of which no connection was begun yet.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn waiting_handshakes(&self) -> Result<u64, KernelError> {
        let mut waiting = 0;
        for entry in &self.handshakes {
            let (_, handshake) = entry.map_err(|error| KernelError::map("HANDSHAKES", error))?;
            waiting += u64::from(handshake.bits & HANDSHAKE_TAKEN == 0);
        }
        Ok(waiting)
    }

    fn may_stray(&mut self, now_ns: u64) -> bool {
        let second = now_ns / 1_000_000_000;
        if self.strays.0 != second {
            self.strays = (second, 0);
        }
        self.strays.1 += 1;
        self.strays.1 <= STRAY_LOOKUPS
    }
}
