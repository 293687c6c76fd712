//! Which connections of this host's making are open, by their own end.

use rstblame_abi::{LiveConnection, LocalEnd, tcp::state};

use super::socket;
use crate::ground::{clock::boottime_ns, endpoints::Ends, maps::LIVE, netns, verifier::unknown};

/// Follows a change of state: a connection that was opened is open, or is open no more.
#[inline(always)]
pub fn follow(sock: u64, old: u8, new: u8) {
    let opened = old == state::SYN_SENT && new == state::ESTABLISHED;
    if !opened && old != state::ESTABLISHED {
        return;
    }
    let mut ends = Ends::none();
    socket::read_ends(sock, &mut ends);
    if !unknown(ends.present) {
        return;
    }
    let end = LocalEnd { address: ends.local, netns: netns::of_socket(sock), port: ends.local_port, family: ends.family };
    if opened {
        let live = LiveConnection { sock, since_ns: boottime_ns(), peer: ends.peer, peer_port: ends.peer_port, reserved: [0; 3] };
        // One that is not stored is not known of.
        let _not_known = LIVE.insert(end, live, 0);
        return;
    }
    // SAFETY: the value stays valid while the program runs.
    if LIVE.get_ptr(end).is_some_and(|live| unsafe { (*live).sock } == sock) {
        let _gone_already = LIVE.remove(end);
    }
}
