//! What can be wrong with a capture.

use std::io;

use thiserror::Error;

/// Why a capture could not be read, or not to its end.
#[derive(Debug, Error)]
pub enum PcapError {
    #[error("cannot open {file}: {source}")]
    Open {
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("{file} is not a capture: it starts with neither a pcap nor a pcapng header; write one with tcpdump -w FILE")]
    NotACapture { file: String },
    #[error("{file} cannot be read beyond byte {offset} ({frames} frames): {source}")]
    Read {
        file: String,
        offset: u64,
        frames: u64,
        #[source]
        source: io::Error,
    },
    #[error("{file} is damaged at byte {offset}, after {frames} frames: {what}; what came before was read")]
    Damaged { file: String, offset: u64, frames: u64, what: &'static str },
    #[error("{file} breaks off in the middle of frame {frame}; what came before was read")]
    Truncated { file: String, frame: u64 },
    #[error("{file} has link type {0}, which is not known here; capture on Ethernet, Linux cooked, raw IP or loopback", .linktype)]
    LinkType { file: String, linktype: u32 },
    /// A capture was not read to its end, for a reason that was said.
    #[error("not every capture was read to its end")]
    Incomplete,
    #[error("cannot write: {0}")]
    Write(#[source] io::Error),
}
