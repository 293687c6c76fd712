//! Where the RSTs of this host go to. Sockets that sent one, for the connections of this host that
//! receive it in another's name: a redirect to a proxy, or any other translation, stands between.
//! They are looked up in user space: over the loopback interface a RST has arrived before its
//! tracepoint fires (`tcp_send_active_reset()`,
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_output.c>).

use rstblame_abi::{AF_INET, Receiver, Sender};

use super::{socket, task};
use crate::ground::{
    clock::boottime_ns,
    endpoints::Ends,
    maps::{ANSWERED, SENDERS},
    probe_read::{offset_of_member, read_or_zero},
};

/// The key of an end: addresses of both families in one form.
#[inline(always)]
fn receiver(address: &[u8; 16], port: u16, family: u16) -> Receiver {
    // SAFETY: as many bytes; every bit pattern is a value.
    let words: [u32; 4] = unsafe { core::mem::transmute(*address) };
    let mapped = if family == AF_INET { [0, 0, 0xffff_u32.to_be(), words[0]] } else { words };
    Receiver { address: mapped, port, reserved: 0 }
}

/// Remembers that this kernel answers a segment with a RST.
#[inline(always)]
pub fn answers(ends: &Ends) {
    // As below.
    let _not_known = ANSWERED.insert(receiver(&ends.peer, ends.peer_port, ends.family), boottime_ns(), 0);
}

/// Remembers that a socket sends a RST of its own accord, and who closes it, if that is certain.
#[inline(always)]
pub fn remember(sock: u64, ends: &Ends, netns: u32) {
    let receiver = receiver(&ends.peer, ends.peer_port, ends.family);
    // The least recently used makes room; one that is not stored is not known of.
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied to the stack")]
    let _not_known = SENDERS.insert(&receiver, &NOBODY, 0);
    let Some(sender) = SENDERS.get_ptr_mut(receiver) else { return };
    // SAFETY: the value stays valid while the program runs.
    let sender = unsafe { &mut *sender };
    sender.address = ends.local;
    sender.netns = netns;
    sender.port = ends.local_port;
    sender.family = ends.family;
    sender.seq = read_or_zero(sock, offset_of_member!(snd_nxt));
    if socket::is_being_closed(sock) && !task::is_kernel_thread() {
        task::fill_current(&mut sender.task);
    }
    // Last: without it the rest does not count.
    sender.at_ns = boottime_ns();
}

/// No sender.
static NOBODY: Sender =
    Sender { at_ns: 0, task: socket::NOTHING_KNOWN.task, address: [0; 16], netns: 0, port: 0, family: 0, seq: 0, reserved: 0 };
