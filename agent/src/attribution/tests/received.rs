use super::{TcpState::*, *};
use crate::model::Direction;

fn received(state: Option<TcpState>) -> Reset {
    Reset { direction: Direction::Received, active: false, role: Role::Client, state, ..testing::reset() }
}

#[test]
fn a_received_rst_is_told_by_the_state_it_ended() {
    check([
        ("refused", received(Some(SynSent)), "connection_refused unknown refused warning"),
        ("in the handshake", received(Some(SynRecv)), "handshake_aborted unknown handshake_aborted info"),
        ("in the handshake, no socket yet", received(Some(NewSynRecv)), "handshake_aborted unknown handshake_aborted info"),
        ("open", received(Some(Established)), "connection_reset unknown unknown warning"),
        ("after the peer's FIN", received(Some(CloseWait)), "connection_reset unknown peer_gone warning"),
        ("FIN_WAIT1", received(Some(FinWait1)), "connection_reset unknown routine_close info"),
        ("FIN_WAIT2", received(Some(FinWait2)), "connection_reset unknown routine_close info"),
        ("CLOSING", received(Some(Closing)), "connection_reset unknown routine_close info"),
        ("LAST_ACK", received(Some(LastAck)), "connection_reset unknown routine_close info"),
        ("CLOSE", received(Some(Close)), "connection_reset unknown unknown warning"),
        ("state not recorded", received(None), "connection_reset unknown unknown warning"),
    ]);
}

#[test]
fn neither_the_peer_nor_a_middlebox_is_ever_excluded() {
    for number in 0..=u8::MAX {
        let verdict = attribute(&received(TcpState::from_kernel(number)));
        assert_eq!(verdict.origin.possible, [OriginKind::RemotePeer, OriginKind::Middlebox], "state {number}");
    }
}

#[test]
fn long_silence_is_noted_and_proves_nothing() {
    for (seconds, noted) in [(29, false), (30, true), (350, true)] {
        let tcp = TcpFacts { since_heard: Some(Duration::from_secs(seconds)), ..TcpFacts::default() };
        let verdict = attribute(&Reset { tcp: Some(tcp), ..received(Some(Established)) });
        assert_eq!(verdict.evidence.iter().any(|evidence| evidence.signal == "silence"), noted, "{seconds} s");
        assert_eq!(verdict.cause.id, CauseId::Unknown, "{seconds} s");
    }
}

#[test]
fn the_fins_that_were_seen_are_in_the_evidence() {
    let socket = SocketFacts { fin_received: true, ..owned() };
    let verdict = attribute(&Reset { socket: Some(socket), ..received(Some(LastAck)) });
    let signals: Vec<&str> = verdict.evidence.iter().map(|evidence| &*evidence.signal).collect();
    assert_eq!(signals, ["fin_received", "fin_sent", "accepted_rst"]);
}
