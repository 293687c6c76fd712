//! NetScaler (Citrix ADC): the reason as a number in the window of the RST, which nobody else needs
//! there (Citrix CTX200852, "Citrix ADC (NetScaler) Reset Codes reference").
//!
//! The number alone is no proof: a host has some window, and this may be it. A RST without ACK has
//! none, though, on any stack but those that repeat their latest; and on one with ACK it has to be
//! far from the connection's own, and the RST to come from such a device otherwise: from an initial
//! TTL of 255, or with the handshake's window that NetScaler always has.

use super::{Meaning, Said};
use crate::{
    attribution::{shape::answers_syn, signals::ttl},
    flow::wire::Wire,
    model::CauseId,
};

/// The window of its SYNs and SYN-ACKs.
const HANDSHAKE: u16 = 8190;

/// A window moves by this much from segment to segment without anything happening.
const NEAR: u16 = 256;

/// With a handshake of its own; without ACK; by the initial TTL and the number.
const OWN_HANDSHAKE: f64 = 300.0;
const BARE: f64 = 200.0;
const BY_TTL: f64 = 40.0;

const TIMEOUT: &str = "keep the connection busy (heartbeat below half the idle timeout), or raise cltTimeout and \
                       svrTimeout of the virtual server and its services";
const STRAY: &str = "look for what ended the connection on the NetScaler before: a failover, an idle timeout, a \
                     service that went down";
const SERVICE: &str = "look at the service behind the NetScaler";
const HELLO: &str = "look at how the client opens the connection, and at the TLS settings of the virtual server";
const POLICY: &str = "look at the NetScaler's policies and limits for this virtual server";
const CHANGE: &str = "look for a change of configuration or a failover on the NetScaler at that time";

/// The codes in ranges: (first, last, what they mean).
const CODES: [(u16, u16, Meaning); 26] = [
    (8196, 8196, Meaning::of(CauseId::HandshakeAborted, "it could not read a TLS record", HELLO)),
    (8201, 8202, Meaning::of(CauseId::StateLost, "it knows no such connection", STRAY)),
    (8204, 8207, Meaning::of(CauseId::HandshakeAborted, "the handshake's numbers were wrong for it", HELLO)),
    (8208, 8208, Meaning::of(CauseId::PeerGone, "it retransmitted too often", SERVICE)),
    (8209, 8209, Meaning::of(CauseId::FirewallReject, "it had no memory left", POLICY)),
    (8210, 8210, Meaning::of(CauseId::FirewallReject, "it took the client for an attacker", POLICY)),
    (8211, 8211, Meaning::of(CauseId::IdleTimeout, "it gave up the connection as idle", TIMEOUT)),
    (8212, 8212, Meaning::of(CauseId::StateLost, "it knows no such connection, or nothing is served there", STRAY)),
    (8213, 8214, Meaning::of(CauseId::HandshakeAborted, "it could not serve the connection as it was opened", HELLO)),
    (9100, 9100, Meaning::of(CauseId::IdleTimeout, "it gave up a connection that had stopped half way", TIMEOUT)),
    (9201, 9222, Meaning::of(CauseId::PeerAborted, "it could not make sense of what the service sent", SERVICE)),
    (9300, 9303, Meaning::of(CauseId::IdleTimeout, "it gave up the connection as idle, or its service as down", TIMEOUT)),
    (9304, 9304, Meaning::of(CauseId::PeerGone, "the other side took nothing more", SERVICE)),
    (9305, 9305, Meaning::of(CauseId::HandshakeAborted, "the service answered its SYN wrongly", SERVICE)),
    (9306, 9309, Meaning::of(CauseId::FirewallReject, "its protection against small windows reset the connection", POLICY)),
    (9310, 9310, Meaning::of(CauseId::KeepaliveTimeout, "its keepalive probes got no answer", SERVICE)),
    (9311, 9311, Meaning::of(CauseId::StateLost, "it could not look the connection up", STRAY)),
    (9400, 9401, Meaning::of(CauseId::StateLost, "it flushed connections", CHANGE)),
    (9450, 9460, Meaning::of(CauseId::PeerAborted, "it could not make sense of what the service sent", SERVICE)),
    (9600, 9602, Meaning::of(CauseId::StateLost, "the connection's numbers no longer fitted", STRAY)),
    (9700, 9701, Meaning::of(CauseId::PeerAborted, "it passes on a RST of the other side", SERVICE)),
    (9702, 9704, Meaning::of(CauseId::PeerAborted, "what came did not fit the connection's state", SERVICE)),
    (9800, 9800, Meaning::of(CauseId::PeerGone, "its monitor of the service timed out", SERVICE)),
    (9811, 9811, Meaning::of(CauseId::HandshakeAborted, "TLS with it failed, and it had sent a fatal alert", HELLO)),
    (9812, 9813, Meaning::of(CauseId::StateLost, "it flushed connections when its configuration changed", CHANGE)),
    (9814, 9862, OTHER),
];

/// TLS, policies and features, many to a reason.
const OTHER: Meaning = Meaning { cause: None, what: "a policy, TLS or a feature of it ended the connection", advice: POLICY };

/// Of those, the ones that say what the device meant.
const POLICIES: [u16; 5] = [9814, 9830, 9845, 9855, 9856];
const TLS: [u16; 10] = [9816, 9817, 9818, 9819, 9820, 9821, 9822, 9833, 9838, 9841];

fn meaning(code: u16) -> Option<Meaning> {
    if POLICIES.contains(&code) {
        return Some(Meaning::of(CauseId::FirewallReject, "a policy of it resets such connections", POLICY));
    }
    if TLS.contains(&code) {
        return Some(Meaning::of(CauseId::HandshakeAborted, "TLS with it failed", HELLO));
    }
    CODES.iter().find(|(first, last, _)| (*first..=*last).contains(&code)).map(|(.., meaning)| *meaning)
}

pub fn said(wire: &Wire) -> Option<Said> {
    let (rst, sender) = (&wire.rst, &wire.sender);
    let meaning = meaning(rst.window)?;
    if !rst.options.is_empty() || rst.payload > 0 || answers_syn(rst) {
        return None;
    }
    let strange = sender.window.is_none_or(|window| window.abs_diff(rst.window) > NEAR);
    let initial_255 = ttl::hops(rst.ttl).0 == u8::MAX;
    let ratio = match (sender.handshake_window == Some(HANDSHAKE), rst.flags.ack()) {
        (true, false) => OWN_HANDSHAKE,
        // The handshake's own is no baseline.
        (true, true) if strange || sender.ttl.count == 0 => OWN_HANDSHAKE,
        (false, false) if strange && initial_255 => BARE,
        (false, true) if strange && initial_255 && !sender.uses_timestamps() && sender.ttl.count > 0 => BY_TTL,
        _ => return None,
    };
    let literal = format!("window {} of the RST, a reset code", rst.window);
    Some(Said { vendor: "NetScaler (Citrix ADC)", meaning, literal, ratio })
}
