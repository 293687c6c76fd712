//! Records of the packet tap into values of the wire.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use rstblame_abi::{
    AF_INET, AF_INET6,
    flow::{FlowKey, FlowState, Handshake, Packet, WireRst, packet_bit, seen},
};

use super::jiffies::Jiffies;
use crate::{
    flow::wire::{OptionKinds, OtherSyn, Segment, Side, Silence, Timestamps, VendorText, Wire, options},
    model::{Flags, Tuple},
};

/// A pause after which a packet counts as the first after a silence.
const PAUSE: Duration = Duration::from_secs(1);

/// This host's and the peer's end.
pub fn tuple(key: &FlowKey) -> Option<Tuple> {
    let address = |bytes: [u8; 16]| -> Option<IpAddr> {
        match key.family {
            AF_INET => {
                let [a, b, c, d, ..] = bytes;
                Some(Ipv4Addr::new(a, b, c, d).into())
            }
            AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
            _ => None,
        }
    };
    Some(Tuple::new(SocketAddr::new(address(key.local)?, key.local_port), SocketAddr::new(address(key.peer)?, key.peer_port)))
}

/// Under which key the kernel side keeps one direction of a connection.
pub fn key(tuple: Tuple, direction: u16, netns: u32) -> FlowKey {
    let widen = |address: IpAddr| match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (AF_INET, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(address) => (AF_INET6, address.octets()),
    };
    let (family, local) = widen(tuple.local.ip());
    let (_, peer) = widen(tuple.peer.ip());
    FlowKey { local, peer, local_port: tuple.local.port(), peer_port: tuple.peer.port(), family, direction, netns, reserved: 0 }
}

/// The header facts of one packet.
pub fn segment(packet: &Packet) -> Segment {
    let has = |bit: u8| packet.bits & bit != 0;
    let ipv6 = has(packet_bit::IPV6);
    Segment {
        time_ns: packet.boottime_ns,
        ttl: packet.ttl,
        tos: packet.tos,
        ip_id: (!ipv6).then_some(packet.ip_id),
        dont_fragment: (!ipv6).then_some(has(packet_bit::DONT_FRAGMENT)),
        flow_label: ipv6.then_some(packet.flow_label),
        seq: packet.seq,
        ack: packet.ack,
        flags: Flags(packet.flags),
        window: packet.window,
        options: OptionKinds::default(),
        timestamps: has(packet_bit::TIMESTAMPS).then_some(Timestamps { value: packet.ts_value, echo: packet.ts_echo }),
        payload: packet.payload,
        source_mac: has(packet_bit::SOURCE_MAC).then_some(packet.source_mac),
        interface: Some(packet.ifindex),
        vlan: has(packet_bit::VLAN).then_some(packet.vlan & 0xfff),
        outer_source: None,
    }
}

/// A RST and what the packets before it had in common. `jiffy` is the length of one.
pub fn wire(record: &WireRst, jiffy: Duration) -> Wire {
    let mut rst = segment(&record.packet);
    (rst.options, rst.timestamps) = options(record.options.as_flattened());
    let text = record.text.as_flattened().split(|byte| *byte == 0).next().unwrap_or_default();
    let clock = Jiffies { now_ns: rst.time_ns, now: record.now, length: jiffy };
    let ipv4 = record.key.family == AF_INET;
    let (silence, longest_survived) = silence(&record.flow, &record.answered, &clock);
    Wire {
        rst,
        text: VendorText::recognise(text),
        readable: false,
        sender: side(&record.flow, ipv4, &clock),
        receiver: side(&record.answered, ipv4, &clock),
        others: crate::flow::wire::Ring::default(),
        silence,
        longest_survived,
        other_syn: other_syn(record).map(|syn| OtherSyn { time_ns: clock.time_ns(syn.at), ttl: syn.ttl }),
        one_machine: None,
        strangers: false,
        after: crate::flow::wire::After::default(),
        way: None,
    }
}

/// A SYN of another connection on the same addresses and ports.
fn other_syn(record: &WireRst) -> Option<Handshake> {
    let (handshake, flow) = (record.handshake, &record.flow);
    if handshake.at == 0 || flow.packets == 0 {
        return None;
    }
    let other = if flow.seen & seen::HANDSHAKE != 0 {
        handshake.seq != flow.initial_seq
    } else {
        handshake.at.wrapping_sub(flow.first).cast_signed() > 0
    };
    other.then_some(handshake)
}

/// The silence that the RST ended, and the longest that the connection survived.
fn silence(flow: &FlowState, sent: &FlowState, clock: &Jiffies) -> (Option<Silence>, Duration) {
    let broken = |length: Duration, broken_by_receiver| (length >= PAUSE).then_some(Silence { length, broken_by_receiver });
    match (flow.packets, sent.packets) {
        (0, 0) => (None, Duration::ZERO),
        // What this host sent is not seen: whether it broke the silence is for the socket to say.
        (_, 0) => (broken(clock.since(flow.last), false), clock.times(flow.longest_pause)),
        (0, _) => (broken(clock.since(sent.last), false), Duration::ZERO),
        _ => {
            let survived = clock.times(flow.survived.max(sent.survived));
            let unanswered = (sent.asked != 0).then(|| broken(clock.times(sent.asked_pause), true)).flatten();
            (unanswered.or_else(|| broken(clock.since(flow.last).min(clock.since(sent.last)), false)), survived)
        }
    }
}

/// What the packets of one direction had in common.
pub fn side(flow: &FlowState, ipv4: bool, clock: &Jiffies) -> Side {
    let has = |bit: u8| flow.seen & bit != 0;
    let mut side = Side::default();
    if flow.packets == 0 {
        return side;
    }
    side.packets = flow.packets;
    side.bytes = flow.bytes;
    if has(seen::ESTABLISHED) {
        side.ttl.mode = flow.ttl_mode;
        side.ttl.last = flow.ttl_last;
        side.ttl.lowest = flow.ttl_lowest;
        side.ttl.highest = flow.ttl_highest;
        side.ttl.count = flow.established();
    }
    if has(seen::HANDSHAKE) {
        side.handshake_ttl = Some(flow.handshake_ttl);
        side.initial_seq = Some(flow.initial_seq);
        if ipv4 {
            side.handshake_dont_fragment = Some(has(seen::HANDSHAKE_DONT_FRAGMENT));
            side.handshake_ip_id = Some(flow.handshake_ip_id);
        }
    }
    if has(seen::IP_ID) {
        side.ip_ids.last = Some(flow.id_last);
        side.ip_ids.by_one = flow.id_by_one;
        side.ip_ids.zeros = flow.id_zeros;
        side.ip_ids.forward = flow.id_forward;
        side.ip_ids.other = flow.id_other;
        side.ip_ids.recent.push(flow.id_last);
    } else if !ipv4 && has(seen::ESTABLISHED) {
        side.flow_label = Some(flow.flow_label);
    }
    let others = |those: u32| (flow.established().saturating_sub(u64::from(those)), u64::from(those));
    if ipv4 {
        side.dont_fragment = others(flow.dont_fragment_clear);
    }
    side.timestamped = others(flow.without_timestamps);
    if has(seen::TIMESTAMP) {
        side.first_timestamp = Some((Timestamps { value: flow.first_ts_value, echo: 0 }, clock.time_ns(flow.first_ts)));
        let last = Timestamps { value: flow.last_ts_value, echo: flow.last_ts_echo };
        side.last_timestamp = Some((last, clock.time_ns(flow.last_ts)));
    }
    side.window = Some(flow.window);
    side.tos = Some(flow.tos);
    side.end_seq = Some(flow.end_seq);
    if has(seen::ACK) {
        side.last_ack = Some(flow.last_ack);
        side.acks.push(flow.last_ack);
    }
    side.fin = has(seen::FIN);
    side.source_mac = has(seen::SOURCE_MAC).then_some(flow.source_mac);
    side.other_macs = u64::from(flow.other_macs);
    side.interface = Some(flow.ifindex);
    side.other_interfaces = u64::from(flow.other_interfaces);
    side.times.first_ns = Some(clock.time_ns(flow.first));
    side.times.last_ns = Some(clock.time_ns(flow.last));
    side.times.last_payload_ns = (flow.bytes > 0).then(|| clock.time_ns(flow.last_payload));
    side
}
