//! Where things lie in the running kernel, resolved in user space before the programs are loaded.
//!
//! Both structures reach the programs as frozen globals, so the verifier sees constants and drops
//! the code behind members this kernel does not have. One object serves every kernel.

/// Marks a member that this kernel does not have or that could not be resolved: the part of a
/// record that needs it is left out.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets in kernel structures, from the running kernel's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `sock_common.skc_family`.
    pub skc_family: u32,
    /// `sock_common.skc_state`.
    pub skc_state: u32,
    /// `sock_common.skc_dport`.
    pub skc_dport: u32,
    /// `sock_common.skc_rcv_saddr`.
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_daddr`.
    pub skc_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`.
    pub skc_v6_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`.
    pub skc_v6_daddr: u32,
    /// `sock_common.skc_net.net`.
    pub skc_net: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// `sock.sk_protocol`, 16 bits wide since Linux 5.6.
    pub sk_protocol: u32,
    /// `sock.sk_shutdown`.
    pub sk_shutdown: u32,
    /// `sock.sk_flags`, one machine word of `enum sock_flags` bits.
    pub sk_flags: u32,
    /// `sock.sk_lingertime`.
    pub sk_lingertime: u32,
    /// `sock.sk_socket`.
    pub sk_socket: u32,
    /// `sock.sk_uid`.
    pub sk_uid: u32,
    /// `sock.sk_err`.
    pub sk_err: u32,
    /// `socket_alloc.vfs_inode.i_ino`, counted from `socket_alloc.socket`.
    pub socket_ino: u32,
    /// `inet_sock.inet_sport`; `skc_num` is no substitute: it is zero once the socket is closed and
    /// its port released.
    pub inet_sport: u32,
    /// `inet_connection_sock.icsk_ack.lrcvtime`.
    pub lrcvtime: u32,
    /// `tcp_sock.rcv_nxt`.
    pub rcv_nxt: u32,
    /// `tcp_sock.copied_seq`.
    pub copied_seq: u32,
    /// `tcp_sock.snd_una`.
    pub snd_una: u32,
    /// `tcp_sock.snd_nxt`.
    pub snd_nxt: u32,
    /// `tcp_sock.write_seq`.
    pub write_seq: u32,
    /// `tcp_sock.srtt_us`.
    pub srtt_us: u32,
    /// `tcp_sock.rtt_min.s[0].v`.
    pub rtt_min: u32,
    /// `tcp_sock.total_retrans`.
    pub total_retrans: u32,
    /// `tcp_sock.lsndtime`.
    pub lsndtime: u32,
    /// `tcp_sock.rcv_tstamp`.
    pub rcv_tstamp: u32,
    /// `tcp_sock.bytes_received`.
    pub bytes_received: u32,
    /// `tcp_sock.bytes_sent`, since Linux 4.19.
    pub bytes_sent: u32,
    /// `tcp_sock.bytes_retrans`, since Linux 4.19.
    pub bytes_retrans: u32,
    /// `sk_buff.head`.
    pub skb_head: u32,
    /// `sk_buff.network_header`.
    pub skb_network_header: u32,
    /// `sk_buff.transport_header`.
    pub skb_transport_header: u32,
    /// `sk_buff.dev`.
    pub skb_dev: u32,
    /// `net_device.nd_net.net`.
    pub dev_net: u32,
    /// `task_struct.group_leader`.
    pub task_group_leader: u32,
    /// `task_struct.start_boottime` (`real_start_time` before Linux 5.5).
    pub task_start_boottime: u32,
    /// `task_struct.comm`.
    pub task_comm: u32,
    /// `task_struct.flags`.
    pub task_flags: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.exit_code`.
    pub task_exit_code: u32,
    /// `kernel_siginfo.si_code`.
    pub siginfo_code: u32,
    /// Number of the `SOCK_DEAD` bit.
    pub sock_dead_bit: u32,
    /// Number of the `SOCK_DONE` bit.
    pub sock_done_bit: u32,
    /// Number of the `SOCK_LINGER` bit.
    pub sock_linger_bit: u32,
    /// Number of the `SOCK_KEEPOPEN` bit.
    pub sock_keepopen_bit: u32,
}

impl Layout {
    /// A layout of which nothing is known: a kernel without BTF.
    pub const UNKNOWN: Self = Self {
        skc_family: ABSENT,
        skc_state: ABSENT,
        skc_dport: ABSENT,
        skc_rcv_saddr: ABSENT,
        skc_daddr: ABSENT,
        skc_v6_rcv_saddr: ABSENT,
        skc_v6_daddr: ABSENT,
        skc_net: ABSENT,
        net_inum: ABSENT,
        sk_protocol: ABSENT,
        sk_shutdown: ABSENT,
        sk_flags: ABSENT,
        sk_lingertime: ABSENT,
        sk_socket: ABSENT,
        sk_uid: ABSENT,
        sk_err: ABSENT,
        socket_ino: ABSENT,
        inet_sport: ABSENT,
        lrcvtime: ABSENT,
        rcv_nxt: ABSENT,
        copied_seq: ABSENT,
        snd_una: ABSENT,
        snd_nxt: ABSENT,
        write_seq: ABSENT,
        srtt_us: ABSENT,
        rtt_min: ABSENT,
        total_retrans: ABSENT,
        lsndtime: ABSENT,
        rcv_tstamp: ABSENT,
        bytes_received: ABSENT,
        bytes_sent: ABSENT,
        bytes_retrans: ABSENT,
        skb_head: ABSENT,
        skb_network_header: ABSENT,
        skb_transport_header: ABSENT,
        skb_dev: ABSENT,
        dev_net: ABSENT,
        task_group_leader: ABSENT,
        task_start_boottime: ABSENT,
        task_comm: ABSENT,
        task_flags: ABSENT,
        task_tgid: ABSENT,
        task_exit_code: ABSENT,
        siginfo_code: ABSENT,
        sock_dead_bit: ABSENT,
        sock_done_bit: ABSENT,
        sock_linger_bit: ABSENT,
        sock_keepopen_bit: ABSENT,
    };
}

/// Byte offsets in a plain tracepoint's record, from its `format` file in tracefs. Members another
/// tracepoint has are [`ABSENT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFormat {
    /// `skaddr`.
    pub skaddr: u32,
    /// `skbaddr`.
    pub skbaddr: u32,
    /// `state`.
    pub state: u32,
    /// `reason`, since Linux 6.10.
    pub reason: u32,
    /// `family`, 16 bits; absent where `saddr` is a socket address that begins with it.
    pub family: u32,
    /// `sport`, host byte order; absent where `saddr` is a socket address.
    pub sport: u32,
    /// `dport`.
    pub dport: u32,
    /// `saddr`: four bytes of IPv4, or a `struct sockaddr_in6` since Linux 6.10.
    pub saddr: u32,
    /// `daddr`.
    pub daddr: u32,
    /// `saddr_v6`.
    pub saddr_v6: u32,
    /// `daddr_v6`.
    pub daddr_v6: u32,
    /// `oldstate` of `inet_sock_set_state`.
    pub oldstate: u32,
    /// `newstate` of `inet_sock_set_state`.
    pub newstate: u32,
    /// `protocol` of `inet_sock_set_state`, 16 bits wide since Linux 5.6.
    pub protocol: u32,
    /// `sig` of `signal_generate`.
    pub sig: u32,
    /// `code` of `signal_generate`.
    pub code: u32,
    /// `pid` of `signal_generate` and `mark_victim`.
    pub pid: u32,
}

impl RecordFormat {
    /// A record of which nothing is known: the tracepoint is attached through BTF, or not at all.
    pub const UNKNOWN: Self = Self {
        skaddr: ABSENT,
        skbaddr: ABSENT,
        state: ABSENT,
        reason: ABSENT,
        family: ABSENT,
        sport: ABSENT,
        dport: ABSENT,
        saddr: ABSENT,
        daddr: ABSENT,
        saddr_v6: ABSENT,
        daddr_v6: ABSENT,
        oldstate: ABSENT,
        newstate: ABSENT,
        protocol: ABSENT,
        sig: ABSENT,
        code: ABSENT,
        pid: ABSENT,
    };
}

const _: () = assert!(size_of::<Layout>() == 48 * 4);
const _: () = assert!(size_of::<RecordFormat>() == 17 * 4);
