//! The sockets of this host that sent a RST of late, whatever their ports: one of them may stand,
//! by a translation of addresses, for the peer of a watched connection.

use std::{net::IpAddr, net::SocketAddr, time::Duration};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use rstblame_abi::{Receiver, Sender, Signal};

use super::{
    decode::{address, task},
    error::KernelError,
    maps::take,
};
use crate::{
    flow::{LocalSender, Reset, wire::near},
    model::{Direction, Role, Tuple},
    units::nanoseconds,
};

/// Longest time between a RST that is sent by one socket of this host and received by another: it
/// waits for as long as whoever holds the receiving socket works on it. Over the loopback interface
/// it is received first, and its sender's tracepoint fires a few microseconds after that.
const ON_ONE_HOST: Duration = Duration::from_millis(20);

/// Longest time between a RST that this host's TCP makes and the packet that leaves: it may wait
/// for a neighbour, or in a queue.
const HELD_BACK: Duration = Duration::from_mins(1);

/// Where the RSTs of this host went.
pub struct Senders {
    /// Those of sockets.
    sent: HashMap<MapData, Receiver, Sender>,
    /// Answers.
    answered: HashMap<MapData, Receiver, u64>,
}

impl Senders {
    /// Takes the maps out of the object.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoMap`] and the like.
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let sent = HashMap::try_from(take(ebpf, "SENDERS")?).map_err(|error| KernelError::map("SENDERS", error))?;
        let answered = HashMap::try_from(take(ebpf, "ANSWERED")?).map_err(|error| KernelError::map("ANSWERED", error))?;
        Ok(Self { sent, answered })
    }

    /// Whether the TCP of this host made a RST that went to this end at this time
    /// (`CLOCK_BOOTTIME`, ns), under whatever address.
    pub fn made(&self, end: SocketAddr, at_ns: u64) -> bool {
        let end = receiver(end);
        let sent = self.sent.get(&end, 0).map(|sender| sender.at_ns);
        let times = [self.answered.get(&end, 0), sent];
        times.into_iter().flatten().any(|made_ns| made_ns.abs_diff(at_ns) <= nanoseconds(HELD_BACK))
    }

    /// The socket of this host that sent the RST which a connection received, where it did so under
    /// another address than the peer of the connection has.
    pub fn of(&self, reset: &Reset) -> Option<LocalSender> {
        // Of a client: a port that one connection has for itself. What goes to a broker's may be
        // any of its connections.
        if reset.direction != Direction::Received || reset.role != Role::Client || reset.ended || reset.pair.is_some() {
            return None;
        }
        let Tuple { local, peer } = reset.tuple;
        let sender = self.sent.get(&receiver(local), 0).ok()?;
        let apart = Duration::from_nanos(sender.at_ns.abs_diff(reset.boottime_ns));
        // Namespaces may have the same addresses, and then the same ports: the numbers tell.
        let other = reset.tcp.as_ref().is_some_and(|tcp| sender.seq != 0 && tcp.rcv_nxt != 0 && !near(tcp.rcv_nxt, sender.seq));
        if apart > ON_ONE_HOST || other {
            return None;
        }
        let end = SocketAddr::new(address(sender.family, sender.address)?, sender.port);
        // With the peer's own address the two are one connection, which is told of as a pair.
        let end = Tuple::new(local, end).peer;
        (end != peer).then(|| LocalSender {
            end,
            netns: (sender.netns != 0).then_some(sender.netns),
            task: task(&sender.task, &Signal::default(), sender.at_ns),
            process: None,
            apart,
        })
    }
}

/// The key of an end: addresses of both families in one form.
fn receiver(end: SocketAddr) -> Receiver {
    let address = match end.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let octets = address.octets();
    let (words, _) = octets.as_chunks();
    let mut words = words.iter().map(|word| u32::from_ne_bytes(*word));
    Receiver { address: std::array::from_fn(|_| words.next().unwrap_or_default()), port: end.port(), reserved: 0 }
}

#[cfg(test)]
mod tests {
    use super::receiver;

    #[test]
    fn both_families_have_one_form() {
        let of = |end: &str| end.parse().map(receiver).unwrap_or_default();
        let word = |bytes| u32::from_ne_bytes(bytes);
        assert_eq!(of("192.0.2.1:5672").address, [0, 0, word([0, 0, 0xff, 0xff]), word([192, 0, 2, 1])]);
        assert_eq!(of("[::ffff:192.0.2.1]:5672"), of("192.0.2.1:5672"));
        assert_eq!(
            (of("[2001:db8::1]:80").address, of("[2001:db8::1]:80").port),
            ([word([0x20, 1, 0x0d, 0xb8]), 0, 0, word([0, 0, 0, 1])], 80)
        );
    }
}
