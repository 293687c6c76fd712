//! What the kernel programs have to say about themselves, for the agent's own log at level debug
//! (aya-log).
//!
//! The level is a frozen global, so that the verifier takes all of this out of the programs unless
//! it is asked for. Before that it adds up the stacks of programs and subprograms that call each
//! other, called or not, and aya-log's macro makes two subprograms in a row: at least 64 of 512
//! bytes are theirs (`check_max_stack_depth()`,
//! <https://github.com/torvalds/linux/blob/v6.1/kernel/bpf/verifier.c>).

use aya_log_ebpf::{
    debug,
    macro_support::{Level, level_enabled},
};
use rstblame_abi::counter;

use super::maps::count;

/// Says something, if that is asked for, and counts it, so that user space knows what it missed.
macro_rules! diagnose {
    ($($name:ident($($argument:ident: $kind:ty),*) $text:literal;)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            #[inline(always)]
            pub fn $name($($argument: $kind),*) {
                if level_enabled(Level::Debug) {
                    count(counter::DIAGNOSED);
                    debug!(&(), $text, $($argument),*);
                }
            }
        )*
    };
}

diagnose! {
    no_room_for_reset(kind: u32) "the ring buffer has no room for a reset, record kind {}";
    no_room_for_task(kind: u32) "the ring buffer has no room for a process, record kind {}";
    no_tuple(kind: u32, family: u32) "the addresses of a reset cannot be read, record kind {}, address family {}";
    no_tcp_facts(state: u32) "the TCP counters of a socket cannot be read, state {}";
    connection_not_stored(state: u32, error: i32) "a connection cannot be remembered, state {}, error {}";
    signal_not_stored(pid: u32, error: i32) "a signal to process {} cannot be remembered, error {}";
    process_not_stored(pid: u32, error: i32) "process {} cannot be remembered, error {}";
}
