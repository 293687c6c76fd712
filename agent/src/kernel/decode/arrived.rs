//! Records of the packet tap into values of the wire.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use rstblame_ebpf::wire::{ArrivedRst, FlowKey, FlowState, Packet, packet_bit, seen};

use crate::flow::{
    Tuple,
    wire::{Flags, OptionKinds, Segment, Side, Silence, Timestamps, VendorText, Wire},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

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
pub fn wire(record: &ArrivedRst, jiffy: Duration) -> Wire {
    let mut rst = segment(&record.packet);
    (rst.options, rst.timestamps) = options(record.options.as_flattened());
    let text = record.text.as_flattened().split(|byte| *byte == 0).next().unwrap_or_default();
    let clock = Clock { now_ns: rst.time_ns, now: record.now, jiffy };
    let silent = clock.since(record.flow.last);
    Wire {
        rst,
        text: VendorText::recognise(text),
        sender: side(&record.flow, &clock),
        receiver: Side::default(),
        others: crate::flow::wire::Ring::default(),
        // What this host sent is not seen here: whether it broke the silence is for the socket to say.
        silence: (record.flow.packets > 0 && silent >= PAUSE).then_some(Silence { length: silent, broken_by_receiver: false }),
        longest_survived: jiffy.saturating_mul(record.flow.longest_pause),
        after: crate::flow::wire::After::default(),
        way: None,
    }
}

/// The kinds of the TCP options, and the timestamps among them (RFC 9293, section 3.2; RFC 7323, section 3.2).
fn options(bytes: &[u8]) -> (OptionKinds, Option<Timestamps>) {
    let mut kinds = OptionKinds::default();
    let mut timestamps = None;
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] | [0, ..] => return (kinds, timestamps),
            [1, after @ ..] => after,
            [kind, length, ..] => {
                kinds.push(*kind);
                if let [8, 10, a, b, c, d, e, f, g, h, ..] = *rest {
                    timestamps = Some(Timestamps { value: u32::from_be_bytes([a, b, c, d]), echo: u32::from_be_bytes([e, f, g, h]) });
                }
                match rest.get(usize::from(*length).max(2)..) {
                    Some(after) => after,
                    None => return (kinds, timestamps),
                }
            }
            [kind] => {
                kinds.push(*kind);
                return (kinds, timestamps);
            }
        };
    }
}

/// Turns the kernel side's jiffies into times of the segment's clock.
struct Clock {
    now_ns: u64,
    now: u32,
    jiffy: Duration,
}

impl Clock {
    fn since(&self, stamp: u32) -> Duration {
        self.jiffy.saturating_mul(self.now.wrapping_sub(stamp))
    }

    fn time_ns(&self, stamp: u32) -> u64 {
        self.now_ns.saturating_sub(u64::try_from(self.since(stamp).as_nanos()).unwrap_or(u64::MAX))
    }
}

fn side(flow: &FlowState, clock: &Clock) -> Side {
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
        side.ttl.count = u64::from(flow.ttl_count);
    }
    let ipv4 = has(seen::IP_ID);
    if has(seen::HANDSHAKE) {
        side.handshake_ttl = Some(flow.handshake_ttl);
        side.initial_seq = Some(flow.initial_seq);
        if ipv4 {
            side.handshake_dont_fragment = Some(has(seen::HANDSHAKE_DONT_FRAGMENT));
            side.handshake_ip_id = Some(flow.handshake_ip_id);
        }
    }
    if ipv4 {
        side.ip_ids.last = Some(flow.id_last);
        side.ip_ids.by_one = flow.id_by_one;
        side.ip_ids.zeros = flow.id_zeros;
        side.ip_ids.forward = flow.id_forward;
        side.ip_ids.other = flow.id_other;
        side.ip_ids.recent.push(flow.id_last);
    } else if has(seen::ESTABLISHED) {
        side.flow_label = Some(flow.flow_label);
    }
    side.dont_fragment = (u64::from(flow.dont_fragment_set), u64::from(flow.dont_fragment_clear));
    side.timestamped = (u64::from(flow.with_timestamps), u64::from(flow.without_timestamps));
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
