//! Where things lie in the running kernel: from its BTF into the [`Layout`], from tracefs into a
//! [`RecordFormat`].

use rstblame_abi::{ABSENT, Layout, RecordFormat};

use super::{
    btf::{Btf, BtfError},
    tracefs::Format,
};

/// A layout and what could not be found for it.
#[derive(Debug)]
pub struct Resolved {
    pub layout: Layout,
    /// One line for each member that is missing or ambiguous: what the events will lack.
    pub missing: Vec<String>,
}

/// Resolves every member the kernel programs read.
pub fn resolve(btf: &Btf) -> Resolved {
    let mut missing = Vec::new();
    let mut note = |name: String, error: BtfError| {
        missing.push(format!("{name}: {error}"));
        ABSENT
    };
    let mut member = |structure: &str, path: &str| match btf.member_offset(structure, path) {
        Ok(member) => member.offset,
        Err(error) => note(format!("{structure}.{path}"), error),
    };

    let socket_ino = match (member("socket_alloc", "socket"), member("socket_alloc", "vfs_inode.i_ino")) {
        (ABSENT, _) | (_, ABSENT) => ABSENT,
        (socket, inode) => inode.wrapping_sub(socket),
    };
    let start_boottime = match btf.member_offset("task_struct", "start_boottime") {
        Ok(found) => found.offset,
        // Its name before Linux 5.5.
        Err(_) => member("task_struct", "real_start_time"),
    };
    let mut layout = Layout {
        skc_family: member("sock_common", "skc_family"),
        skc_state: member("sock_common", "skc_state"),
        skc_dport: member("sock_common", "skc_dport"),
        skc_rcv_saddr: member("sock_common", "skc_rcv_saddr"),
        skc_daddr: member("sock_common", "skc_daddr"),
        skc_v6_rcv_saddr: member("sock_common", "skc_v6_rcv_saddr"),
        skc_v6_daddr: member("sock_common", "skc_v6_daddr"),
        skc_net: member("sock_common", "skc_net.net"),
        net_inum: member("net", "ns.inum"),
        sk_protocol: member("sock", "sk_protocol"),
        sk_shutdown: member("sock", "sk_shutdown"),
        sk_flags: member("sock_common", "skc_flags"),
        sk_lingertime: member("sock", "sk_lingertime"),
        sk_socket: member("sock", "sk_socket"),
        sk_uid: member("sock", "sk_uid"),
        sk_err: member("sock", "sk_err"),
        socket_ino,
        inet_sport: member("inet_sock", "inet_sport"),
        lrcvtime: member("inet_connection_sock", "icsk_ack.lrcvtime"),
        rcv_nxt: member("tcp_sock", "rcv_nxt"),
        copied_seq: member("tcp_sock", "copied_seq"),
        snd_una: member("tcp_sock", "snd_una"),
        snd_nxt: member("tcp_sock", "snd_nxt"),
        write_seq: member("tcp_sock", "write_seq"),
        srtt_us: member("tcp_sock", "srtt_us"),
        rtt_min: member("tcp_sock", "rtt_min.s.v"),
        total_retrans: member("tcp_sock", "total_retrans"),
        lsndtime: member("tcp_sock", "lsndtime"),
        rcv_tstamp: member("tcp_sock", "rcv_tstamp"),
        bytes_received: member("tcp_sock", "bytes_received"),
        bytes_sent: member("tcp_sock", "bytes_sent"),
        bytes_retrans: member("tcp_sock", "bytes_retrans"),
        skb_head: member("sk_buff", "head"),
        skb_network_header: member("sk_buff", "network_header"),
        skb_transport_header: member("sk_buff", "transport_header"),
        skb_dev: member("sk_buff", "dev"),
        dev_net: member("net_device", "nd_net.net"),
        task_group_leader: member("task_struct", "group_leader"),
        task_start_boottime: start_boottime,
        task_comm: member("task_struct", "comm"),
        task_flags: member("task_struct", "flags"),
        task_tgid: member("task_struct", "tgid"),
        task_exit_code: member("task_struct", "exit_code"),
        siginfo_code: member("kernel_siginfo", "si_code"),
        ..Layout::UNKNOWN
    };
    match btf.enum_values("sock_flags") {
        Ok(flags) => {
            let bit = |name: &str| {
                flags.iter().find(|(flag, _)| *flag == name).and_then(|(_, number)| u32::try_from(*number).ok()).unwrap_or(ABSENT)
            };
            layout.sock_dead_bit = bit("SOCK_DEAD");
            layout.sock_done_bit = bit("SOCK_DONE");
            layout.sock_linger_bit = bit("SOCK_LINGER");
            layout.sock_keepopen_bit = bit("SOCK_KEEPOPEN");
        }
        Err(error) => missing.push(format!("enum sock_flags: {error}")),
    }
    Resolved { layout, missing }
}

/// Offsets of the members of a plain tracepoint's record.
pub fn record_format(format: &Format) -> RecordFormat {
    let at = |name: &str| format.field(name).map_or(ABSENT, |field| field.offset);
    RecordFormat {
        skaddr: at("skaddr"),
        skbaddr: at("skbaddr"),
        state: at("state"),
        reason: at("reason"),
        family: at("family"),
        sport: at("sport"),
        dport: at("dport"),
        saddr: at("saddr"),
        daddr: at("daddr"),
        saddr_v6: at("saddr_v6"),
        daddr_v6: at("daddr_v6"),
        oldstate: at("oldstate"),
        newstate: at("newstate"),
        protocol: at("protocol"),
        sig: at("sig"),
        code: at("code"),
        pid: at("pid"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use rstblame_abi::ABSENT;

    use super::{Btf, Format, record_format, resolve};

    fn testdata(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path)
    }

    #[test]
    fn every_member_is_found_on_every_kernel_of_the_fixtures() {
        for kernel in ["debian-6.1", "debian-6.12", "linux-6.18"] {
            let btf = Btf::from_file(&testdata(&format!("btf/{kernel}.btf"))).unwrap();
            let resolved = resolve(&btf);
            assert_eq!(resolved.missing, Vec::<String>::new(), "{kernel}");
        }
    }

    #[test]
    fn both_layouts_of_tcp_send_reset_are_told_apart() {
        let read = |name: &str| record_format(&Format::parse(&std::fs::read_to_string(testdata(name)).unwrap()).unwrap());
        let old = read("tracefs/debian-6.1-tcp_send_reset.format");
        assert_eq!((old.skaddr, old.state, old.sport, old.family, old.saddr, old.saddr_v6), (16, 24, 28, 32, 34, 42));
        assert_eq!(old.reason, ABSENT);
        let new = read("tracefs/linux-6.18-tcp_send_reset.format");
        assert_eq!((new.skaddr, new.state, new.reason, new.saddr, new.daddr), (16, 24, 28, 32, 60));
        assert_eq!((new.family, new.sport), (ABSENT, ABSENT));
    }
}
