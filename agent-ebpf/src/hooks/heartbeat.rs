//! A record that goes the way of every other, for user space to see that the way is open. Attached
//! to nothing: it runs when user space runs it (`BPF_PROG_TEST_RUN`).

use aya_ebpf::{macros::socket_filter, programs::SkBuffContext};
use rstblame_abi::{Heartbeat, kind};

use crate::{ground::maps::EVENTS, record::submit::header};

/// `BPF_RB_AVAIL_DATA` (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>).
const AVAILABLE_DATA: u64 = 0;

/// Returns 1, or 0 where the ring buffer has no room.
#[socket_filter]
pub fn heartbeat(_ctx: SkBuffContext) -> i64 {
    let unread = EVENTS.query(AVAILABLE_DATA);
    let Some(mut entry) = EVENTS.reserve::<Heartbeat>(0) else {
        return 0;
    };
    entry.write(Heartbeat { header: header(kind::HEARTBEAT), unread });
    entry.submit(0);
    1
}
