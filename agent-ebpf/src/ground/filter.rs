//! What is watched: ports first, since they cost least to read, then the network namespace.

use rstblame_abi::{
    config_flag,
    port_filter::{PORT_WORDS, Watch, bit, summary_bit, word},
};

use super::maps::{CONFIG, NETNS};

/// In the object's data, in a section and so in a map of its own; written by user space while the
/// programs run.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.watch")]
static mut WATCH: Watch = Watch::NOTHING;

/// Whether either port (host byte order) is watched. Of most packets one word tells that none is,
/// without a branch for each port.
#[inline(always)]
pub fn ports_watched(local: u16, peer: u16) -> bool {
    let summary = summary();
    summary & (summary_bit(local) | summary_bit(peer)) != 0 && (among(summary, local) || among(summary, peer))
}

/// Whether this port (host byte order) is watched.
#[inline(always)]
pub fn port_watched(port: u16) -> bool {
    among(summary(), port)
}

#[inline(always)]
fn summary() -> u64 {
    // SAFETY: a valid, aligned static of a plain integer; volatile, since user space writes it.
    unsafe { core::ptr::read_volatile(&raw const WATCH.summary) }
}

#[inline(always)]
fn among(summary: u64, port: u16) -> bool {
    const { assert!(PORT_WORDS == word(u16::MAX) + 1) };
    if summary & summary_bit(port) == 0 {
        return false;
    }
    // SAFETY: no port has a word beyond the last, and otherwise as in `summary`.
    let word = unsafe { core::ptr::read_volatile((&raw const WATCH.ports).cast::<u64>().add(word(port))) };
    word & bit(port) != 0
}

/// The namespace that all packets are from, or 0 where there are several.
#[inline(always)]
pub fn only_netns() -> u32 {
    // SAFETY: as in `summary`.
    unsafe { core::ptr::read_volatile(&raw const WATCH.netns) }
}

/// Whether the namespace is watched. One that could not be read (0) passes only when all are
/// watched.
#[inline(always)]
pub fn netns_watched(netns: u32) -> bool {
    let chosen = CONFIG.get(0).is_some_and(|config| config.flags & config_flag::NETNS_FILTER != 0);
    if !chosen {
        return true;
    }
    // SAFETY: the value is copied out at once; a concurrent update of one byte cannot tear.
    unsafe { NETNS.get(netns) }.is_some()
}
