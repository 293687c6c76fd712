//! What the reader says of real kernels, against what `bpftool btf dump` printed for the same BTF,
//! untrimmed.

use crate::kernel::btf::{BitField, Btf, Member, Param, VMLINUX};

const DEBIAN_6_1: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/btf/debian-6.1.btf"));
const DEBIAN_6_12: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/btf/debian-6.12.btf"));
pub const LINUX_6_18: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/btf/linux-6.18.btf"));

const FIXTURES: [(&str, &[u8]); 3] = [("Debian 6.1.192", DEBIAN_6_1), ("Debian 6.12.117", DEBIAN_6_12), ("Linux 6.18.44", LINUX_6_18)];

/// Struct, path, offset in bytes on each of the kernels, size in bytes.
pub const MEMBERS: &[(&str, &str, [u32; 3], u32)] = &[
    ("sock", "__sk_common.skc_family", [16, 16, 16], 2),
    ("sock", "__sk_common.skc_state", [18, 18, 18], 1),
    ("sock", "__sk_common.skc_num", [14, 14, 14], 2),
    ("sock", "__sk_common.skc_dport", [12, 12, 12], 2),
    ("sock", "__sk_common.skc_rcv_saddr", [4, 4, 4], 4),
    ("sock", "__sk_common.skc_daddr", [0, 0, 0], 4),
    ("sock", "__sk_common.skc_v6_rcv_saddr", [72, 72, 72], 16),
    ("sock", "__sk_common.skc_v6_daddr", [56, 56, 56], 16),
    ("sock", "__sk_common.skc_net.net", [48, 48, 48], 8),
    ("sock", "sk_shutdown", [610, 571, 575], 1),
    ("sock", "sk_lingertime", [520, 576, 576], 8),
    ("sock", "sk_err", [544, 284, 284], 4),
    ("sock", "sk_socket", [624, 288, 288], 8),
    ("sock", "sk_uid", [560, 612, 528], 4),
    ("sock", "sk_protocol", [516, 574, 532], 2),
    ("sock_common", "skc_flags", [96, 96, 96], 8),
    ("inet_sock", "inet_sport", [804, 806, 814], 2),
    ("inet_connection_sock", "icsk_ack.lrcvtime", [1304, 1312, 1264], 4),
    ("tcp_sock", "rcv_nxt", [1464, 1712, 1664], 4),
    ("tcp_sock", "snd_nxt", [1476, 1716, 1668], 4),
    ("tcp_sock", "snd_una", [1508, 1720, 1672], 4),
    ("tcp_sock", "write_seq", [1852, 1636, 1576], 4),
    ("tcp_sock", "copied_seq", [1468, 1520, 1464], 4),
    ("tcp_sock", "srtt_us", [1672, 1728, 1680], 4),
    ("tcp_sock", "rtt_min.s.v", [1696, 1556, 1500], 4),
    ("tcp_sock", "lsndtime", [1520, 1644, 1584], 4),
    ("tcp_sock", "rcv_tstamp", [1516, 1524, 1724], 4),
    ("tcp_sock", "bytes_received", [1448, 1784, 1752], 8),
    ("tcp_sock", "bytes_acked", [1496, 1840, 1824], 8),
    ("tcp_sock", "bytes_sent", [1488, 1608, 1544], 8),
    ("tcp_sock", "bytes_retrans", [2136, 2208, 2192], 8),
    ("tcp_sock", "total_retrans", [2144, 2216, 2200], 4),
    ("sk_buff", "head", [200, 200, 192], 8),
    ("sk_buff", "network_header", [184, 184, 180], 2),
    ("sk_buff", "transport_header", [182, 182, 178], 2),
    ("sk_buff", "dev", [16, 16, 16], 8),
    ("net", "ns.inum", [144, 136, 176], 4),
    ("ns_common", "inum", [16, 16, 24], 4),
    ("net_device", "nd_net.net", [1280, 280, 264], 8),
    ("task_struct", "group_leader", [2480, 2496, 1328], 8),
    ("task_struct", "start_boottime", [2784, 2784, 1560], 8),
    ("task_struct", "comm", [2976, 2976, 1752], 16),
    ("task_struct", "flags", [44, 44, 44], 4),
    ("task_struct", "tgid", [2420, 2436, 1268], 4),
    ("task_struct", "exit_code", [2312, 2332, 1164], 4),
    ("kernel_siginfo", "si_code", [8, 8, 8], 4),
    ("socket", "file", [16, 16, 16], 8),
    ("socket_alloc", "socket", [0, 0, 0], 128),
    ("socket_alloc", "vfs_inode.i_ino", [192, 192, 192], 8),
    ("inode", "i_ino", [64, 64, 64], 8),
    ("file", "f_inode", [32, 40, 32], 8),
];

/// Members whose size is not the same everywhere.
pub const WHOLE_MEMBERS: &[(&str, &str)] =
    &[("socket_alloc", "vfs_inode"), ("tcphdr", "rst"), ("tcphdr", "doff"), ("tcp_sock", "inet_conn.icsk_inet.sk")];

pub const ENUMS: &[&str] = &["sk_rst_reason", "sock_flags"];

pub const TRACEPOINTS: &[&str] =
    &["tcp_send_reset", "tcp_receive_reset", "inet_sock_set_state", "tcp_destroy_sock", "signal_generate", "mark_victim"];

fn kernels() -> [(&'static str, Btf); 3] {
    FIXTURES.map(|(kernel, bytes)| (kernel, Btf::from_bytes(bytes).unwrap()))
}

#[test]
fn members_lie_where_bpftool_says() {
    for (index, (kernel, btf)) in kernels().iter().enumerate() {
        for (name, path, offsets, size) in MEMBERS {
            let expected = Member { offset: offsets[index], size: *size, bit_field: None };
            let found = btf.member_offset(name, path);
            assert_eq!(found.unwrap(), expected, "{name}.{path} on {kernel}");
        }
    }
}

#[test]
fn structs_have_the_size_bpftool_says() {
    let sizes = [
        ("sock", [776, 776, 784]),
        ("tcp_sock", [2280, 2368, 2304]),
        ("sk_buff", [232, 232, 224]),
        ("task_struct", [9728, 9792, 3264]),
        ("inode", [632, 624, 616]),
    ];
    for (index, (kernel, btf)) in kernels().iter().enumerate() {
        for (name, expected) in sizes {
            assert_eq!(btf.struct_size(name).unwrap(), expected[index], "{name} on {kernel}");
        }
    }
}

#[test]
fn the_inode_of_a_socket_follows_it() {
    for (kernel, btf) in kernels() {
        let inode = btf.member_offset("socket_alloc", "vfs_inode").unwrap();
        assert_eq!(inode.offset, btf.struct_size("socket").unwrap(), "{kernel}");
        assert_eq!(inode.size, btf.struct_size("inode").unwrap(), "{kernel}");
    }
}

#[test]
fn a_path_may_go_through_named_structs_only() {
    for (kernel, btf) in kernels() {
        let path = "inet_conn.icsk_inet.sk.__sk_common.skc_family";
        assert_eq!(btf.member_offset("tcp_sock", path).unwrap().offset, 16, "{kernel}");
    }
}

#[test]
fn flags_of_a_tcp_header_are_bit_fields() {
    for (kernel, btf) in kernels() {
        let bits = |path| btf.member_offset("tcphdr", path).unwrap().bit_field;
        assert_eq!(bits("rst"), Some(BitField { offset: 106, size: 1 }), "{kernel}");
        assert_eq!(bits("doff"), Some(BitField { offset: 100, size: 4 }), "{kernel}");
    }
}

#[test]
fn reset_reasons_have_names_since_the_kernel_has_them() {
    let [(_, v6_1), (_, v6_12), (_, v6_18)] = kernels();
    assert!(v6_1.enum_values("sk_rst_reason").unwrap_err().is_missing());
    for btf in [v6_12, v6_18] {
        let reasons = btf.enum_values("sk_rst_reason").unwrap();
        assert_eq!(reasons.len(), 26);
        assert_eq!(reasons[1], ("SK_RST_REASON_NO_SOCKET", 1));
        assert_eq!(reasons[11], ("SK_RST_REASON_TCP_ABORT_ON_CLOSE", 11));
        assert_eq!(reasons[25], ("SK_RST_REASON_MAX", 25));
    }
}

#[test]
fn socket_flags_have_their_numbers() {
    for (kernel, btf) in kernels() {
        let flags = btf.enum_values("sock_flags").unwrap();
        assert!(flags.contains(&("SOCK_DEAD", 0)), "{kernel}");
        assert!(flags.contains(&("SOCK_LINGER", 4)), "{kernel}");
    }
}

#[test]
fn tcp_send_reset_has_a_reason_since_the_kernel_gives_one() {
    let [(_, v6_1), (_, v6_12), (_, v6_18)] = kernels();
    let (sock, skb) = (Param::StructPointer("sock"), Param::StructPointer("sk_buff"));
    assert_eq!(v6_1.tracepoint_params("tcp_send_reset").unwrap(), [sock, skb]);
    for btf in [v6_12, v6_18] {
        let params = btf.tracepoint_params("tcp_send_reset").unwrap();
        assert_eq!(params, [sock, skb, Param::Enum("sk_rst_reason")]);
    }
}

#[test]
fn the_other_tracepoints_have_kept_their_arguments() {
    let sock = Param::StructPointer("sock");
    let state = Param::Int { size: 4 };
    for (kernel, btf) in kernels() {
        let params = |name| btf.tracepoint_params(name).unwrap();
        assert_eq!(params("tcp_receive_reset"), [sock], "{kernel}");
        assert_eq!(params("tcp_destroy_sock"), [sock], "{kernel}");
        assert_eq!(params("inet_sock_set_state"), [sock, state, state], "{kernel}");
    }
}

#[test]
#[ignore = "needs a kernel with BTF"]
fn the_running_kernel_has_all_members() {
    let btf = Btf::from_file(VMLINUX.as_ref()).unwrap();
    for (name, path, _, size) in MEMBERS {
        let found = btf.member_offset(name, path).unwrap();
        assert_eq!(found.size, *size, "{name}.{path}");
        assert!(found.offset + size <= btf.struct_size(name).unwrap(), "{name}.{path}");
    }
}
