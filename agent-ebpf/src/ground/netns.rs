//! The network namespace of a packet or a socket.

use super::probe_read::{offset_of_member, read_or_zero};

/// Network namespace of the device a packet came in by, for packets no socket wanted.
#[inline(always)]
pub fn of_packet(skb: u64) -> Option<u32> {
    let device = read_or_zero(skb, offset_of_member!(skb_dev));
    let netns = read_or_zero(read_or_zero(device, offset_of_member!(dev_net)), offset_of_member!(net_inum));
    (netns != 0).then_some(netns)
}

/// Network namespace, 0 where it cannot be read; every kind of socket has it, `struct sock_common`
/// comes first in all of them.
#[inline(always)]
pub fn of_socket(sock: u64) -> u32 {
    read_or_zero(read_or_zero(sock, offset_of_member!(skc_net)), offset_of_member!(net_inum))
}
