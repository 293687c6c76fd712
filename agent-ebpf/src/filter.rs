//! What is watched: ports first, since they cost least to read, then the network namespace.

use rstblame_ebpf::{PORT_SUMMARY, config, port_summary, port_word};

use crate::maps::{CONFIG, NETNS, PORTS};

/// Whether either port (host byte order) is watched.
#[inline(always)]
pub fn ports_watched(local: u16, peer: u16) -> bool {
    let Some(&summary) = PORTS.get(PORT_SUMMARY) else {
        return false;
    };
    among(summary, local) || among(summary, peer)
}

/// Whether this port (host byte order) is watched.
#[inline(always)]
pub fn port_watched(port: u16) -> bool {
    PORTS.get(PORT_SUMMARY).is_some_and(|summary| among(*summary, port))
}

#[inline(always)]
fn among(summary: u64, port: u16) -> bool {
    let (index, mask) = port_word(port);
    summary & port_summary(port) != 0 && PORTS.get(index).is_some_and(|word| word & mask != 0)
}

/// Whether the namespace is watched. One that could not be read (0) passes only when all are watched.
#[inline(always)]
pub fn netns_watched(netns: u32) -> bool {
    let chosen = CONFIG.get(0).is_some_and(|config| config.flags & config::NETNS_FILTER != 0);
    if !chosen {
        return true;
    }
    // SAFETY: the value is copied out at once; a concurrent update of one byte cannot tear.
    unsafe { NETNS.get(netns) }.is_some()
}
