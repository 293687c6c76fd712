#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected should end there"
)]

mod blob;
mod kernels;
pub mod trim;

use proptest::prelude::*;

use super::raw::{MAGIC, kind};
use super::{BitField, Btf, BtfError, Member, Param};
use blob::Blob;

fn plain(offset: u32, size: u32) -> Member {
    Member { offset, size, bit_field: None }
}

fn read(blob: Blob) -> Btf {
    Btf::from_bytes(blob.build()).unwrap()
}

#[test]
fn anonymous_members_are_transparent() {
    let mut blob = Blob::default();
    let int = blob.int("int", 4);
    let inner = blob.structure("", 8, &[("daddr", int, 0, 0), ("saddr", int, 32, 0)]);
    let union = blob.composite(kind::UNION, "", 8, &[("pair", int, 0, 0), ("", inner, 0, 0)]);
    blob.structure("common", 16, &[("before", int, 0, 0), ("", union, 64, 0)]);
    let btf = read(blob);
    assert_eq!(btf.member_offset("common", "saddr").unwrap(), plain(12, 4));
    assert_eq!(btf.member_offset("common", "pair").unwrap(), plain(8, 4));
    assert_eq!(btf.struct_size("common").unwrap(), 16);
}

#[test]
fn typedefs_qualifiers_and_tags_are_transparent() {
    let mut blob = Blob::default();
    let int = blob.int("int", 4);
    let mut ty = blob.structure("", 8, &[("net", int, 32, 0)]);
    for modifier in [kind::VOLATILE, kind::CONST, kind::RESTRICT] {
        ty = blob.refer("", modifier, ty);
    }
    ty = blob.refer("rcu", kind::TYPE_TAG, ty);
    ty = blob.refer("possible_net_t", kind::TYPEDEF, ty);
    blob.structure("device", 16, &[("nd_net", ty, 64, 0)]);
    let btf = read(blob);
    assert_eq!(btf.member_offset("device", "nd_net.net").unwrap(), plain(12, 4));
    assert_eq!(btf.member_offset("device", "nd_net").unwrap(), plain(8, 8));
}

#[test]
fn of_an_array_the_first_element_is_followed() {
    let mut blob = Blob::default();
    let int = blob.int("unsigned int", 4);
    let sample = blob.structure("sample", 8, &[("t", int, 0, 0), ("v", int, 32, 0)]);
    let row = blob.array(sample, 3);
    let table = blob.array(row, 2);
    blob.structure("minmax", 56, &[("s", table, 64, 0)]);
    let btf = read(blob);
    assert_eq!(btf.member_offset("minmax", "s.v").unwrap(), plain(12, 4));
    assert_eq!(btf.member_offset("minmax", "s").unwrap(), plain(8, 48));
}

#[test]
fn bit_fields_tell_their_bits() {
    let mut blob = Blob::default();
    let int = blob.int("unsigned int", 4);
    let inner = blob.structure("", 4, &[("", int, 0, 7), ("shutdown", int, 11, 2)]);
    blob.structure("sock", 8, &[("first", int, 0, 0), ("", inner, 32, 0)]);
    let expected = Member { offset: 5, size: 4, bit_field: Some(BitField { offset: 43, size: 2 }) };
    assert_eq!(read(blob).member_offset("sock", "shutdown").unwrap(), expected);
}

#[test]
fn what_is_not_there_is_missing() {
    let mut blob = Blob::default();
    let int = blob.int("int", 4);
    let inner = blob.structure("inner", 4, &[("b", int, 0, 0)]);
    blob.structure("s", 8, &[("bytes", int, 32, 0), ("a", inner, 0, 0)]);
    // Neither a declaration nor a name of another kind is the type asked for.
    blob.refer("declared", kind::FWD, 0);
    blob.refer("alias", kind::TYPEDEF, inner);
    blob.enumeration("nothing", false, &[]);
    let btf = read(blob);
    for name in ["t", "declared", "alias", "int", ""] {
        let error = btf.member_offset(name, "a").unwrap_err();
        assert!(matches!(error, BtfError::MissingType { .. }), "{name}: {error}");
        assert!(btf.struct_size(name).unwrap_err().is_missing(), "{name}");
    }
    for path in ["b", "byte", "bytess", "a.a", "", ".", "a.", "a..b", ".a"] {
        let error = btf.member_offset("s", path).unwrap_err();
        assert!(matches!(error, BtfError::MissingMember { .. }), "{path}: {error}");
        assert!(error.is_missing(), "{path}");
    }
    for name in ["nothing", "s", "unheard_of"] {
        assert!(btf.enum_values(name).unwrap_err().is_missing(), "{name}");
        assert!(btf.tracepoint_params(name).unwrap_err().is_missing(), "{name}");
    }
}

#[test]
fn a_pointer_cannot_be_followed() {
    let mut blob = Blob::default();
    let int = blob.int("int", 4);
    let inner = blob.structure("inner", 4, &[("b", int, 0, 0)]);
    let pointer = blob.refer("", kind::PTR, inner);
    blob.structure("s", 16, &[("p", pointer, 64, 0)]);
    let btf = read(blob);
    let error = btf.member_offset("s", "p.b").unwrap_err();
    assert!(matches!(&error, BtfError::NotAStruct { component, .. } if component == "p"));
    assert!(!error.is_missing());
    assert_eq!(btf.member_offset("s", "p").unwrap(), plain(8, 8));
}

#[test]
fn namesakes_must_agree() {
    let mut blob = Blob::default();
    let int = blob.int("int", 4);
    blob.structure("s", 8, &[("same", int, 0, 0), ("moved", int, 32, 0), ("once", int, 0, 0)]);
    blob.structure("s", 8, &[("same", int, 0, 0), ("moved", int, 0, 0)]);
    blob.enumeration("e", false, &[("A", 1)]);
    blob.enumeration("e", false, &[("A", 2)]);
    let btf = read(blob);
    assert_eq!(btf.member_offset("s", "same").unwrap(), plain(0, 4));
    assert_eq!(btf.struct_size("s").unwrap(), 8);
    assert!(btf.member_offset("s", "never").unwrap_err().is_missing());
    let errors =
        [btf.member_offset("s", "moved").unwrap_err(), btf.member_offset("s", "once").unwrap_err(), btf.enum_values("e").unwrap_err()];
    for error in errors {
        assert!(matches!(error, BtfError::Ambiguous { .. }), "{error}");
        assert!(!error.is_missing());
    }
}

#[test]
fn enums_keep_sign_and_width() {
    let mut blob = Blob::default();
    blob.enumeration("unsigned", false, &[("MAX", -1)]);
    blob.enumeration("signed", true, &[("MINUS", -1), ("TWO", 2)]);
    blob.enumeration64("wide", &[("BIG", 1 << 40), ("MINUS", -2)]);
    let btf = read(blob);
    assert_eq!(btf.enum_values("unsigned").unwrap(), [("MAX", i64::from(u32::MAX))]);
    assert_eq!(btf.enum_values("signed").unwrap(), [("MINUS", -1), ("TWO", 2)]);
    assert_eq!(btf.enum_values("wide").unwrap(), [("BIG", 1 << 40), ("MINUS", -2)]);
}

#[test]
fn arguments_are_told_apart() {
    let mut blob = Blob::default();
    let long = blob.int("long", 8);
    let sock = blob.structure("sock", 8, &[]);
    let constant = blob.refer("", kind::CONST, sock);
    let to_sock = blob.refer("", kind::PTR, constant);
    let declared = blob.refer("sk_buff", kind::FWD, 0);
    let to_skb = blob.refer("", kind::PTR, declared);
    let to_long = blob.refer("", kind::PTR, long);
    let reason = blob.enumeration("reason", false, &[("NONE", 0)]);
    let reason = blob.refer("", kind::CONST, reason);
    blob.tracepoint("t", &[to_sock, to_skb, to_long, reason, long, sock]);
    let params = [
        Param::StructPointer("sock"),
        Param::StructPointer("sk_buff"),
        Param::Pointer,
        Param::Enum("reason"),
        Param::Int { size: 8 },
        Param::Other,
    ];
    assert_eq!(read(blob).tracepoint_params("t").unwrap(), params);
}

#[test]
fn a_tracepoint_of_another_shape_is_refused() {
    let mut blob = Blob::default();
    let long = blob.int("long", 8);
    let without_context = blob.function(&[long]);
    let pointer = blob.refer("", kind::PTR, without_context);
    blob.refer("btf_trace_a", kind::TYPEDEF, pointer);
    blob.refer("btf_trace_b", kind::TYPEDEF, without_context);
    blob.refer("btf_trace_c", kind::TYPEDEF, 0);
    let btf = read(blob);
    for name in ["a", "b", "c"] {
        let error = btf.tracepoint_params(name).unwrap_err();
        assert!(matches!(error, BtfError::Malformed(_)), "{name}: {error}");
    }
}

#[test]
fn every_kind_is_stepped_over() {
    let mut blob = Blob::default();
    let bodies =
        [(kind::FUNC, 1, 0), (kind::VAR, 0, 1), (kind::DATASEC, 2, 6), (kind::FLOAT, 0, 0), (kind::DECL_TAG, 0, 1), (kind::ENUM64, 1, 3)];
    for (kind, vlen, words) in bodies {
        blob.record("", kind, false, vlen, 0, &vec![0; words]);
    }
    blob.structure("last", 7, &[]);
    assert_eq!(read(blob).struct_size("last").unwrap(), 7);
}

#[test]
fn an_unknown_kind_is_named() {
    let mut blob = Blob::default();
    blob.int("int", 4);
    blob.record("", 20, false, 0, 0, &[]);
    let error = Btf::from_bytes(blob.build()).unwrap_err();
    assert!(matches!(error, BtfError::UnknownKind { id: 2, kind: 20 }), "{error}");
}

#[test]
fn another_machine_or_another_file_is_refused() {
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut bytes = Blob::default().build();
        change(&mut bytes);
        Btf::from_bytes(bytes).unwrap_err()
    };
    let foreign = refused(|bytes| bytes[..2].copy_from_slice(&MAGIC.swap_bytes().to_ne_bytes()));
    assert!(matches!(foreign, BtfError::ForeignByteOrder), "{foreign}");
    let elf = refused(|bytes| bytes[..4].copy_from_slice(b"\x7fELF"));
    assert!(matches!(elf, BtfError::NotBtf), "{elf}");
    let empty = refused(Vec::clear);
    assert!(matches!(empty, BtfError::NotBtf), "{empty}");
    let version = refused(|bytes| bytes[2] = 2);
    assert!(matches!(version, BtfError::Version(2)), "{version}");
    let error = Btf::from_file("/nonexistent/vmlinux".as_ref()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/vmlinux"), "{error}");
}

#[test]
fn a_file_cut_short_is_refused() {
    for length in 0..kernels::LINUX_6_18.len() {
        let cut = Btf::from_bytes(&kernels::LINUX_6_18[..length]);
        assert!(matches!(cut.unwrap_err(), BtfError::NotBtf | BtfError::Malformed(_)), "{length} bytes");
    }
}

#[test]
fn circles_end() {
    let mut blob = Blob::default();
    // An anonymous member of its own type, many times over: searching it all would take forever.
    let own = blob.next();
    blob.structure("s", 8, &vec![("", own, 0, 0); 1000]);
    let own = blob.next();
    blob.refer("t", kind::TYPEDEF, own);
    let array = blob.next();
    blob.array(array, 1);
    blob.structure("u", 8, &[("typedef", own, 0, 0), ("array", array, 0, 0)]);
    let btf = read(blob);
    let paths = [("s", "a"), ("u", "typedef"), ("u", "typedef.a"), ("u", "array"), ("u", "array.a")];
    for (name, path) in paths {
        let error = btf.member_offset(name, path).unwrap_err();
        assert!(matches!(error, BtfError::Malformed(_)), "{name}.{path}: {error}");
    }
}

#[test]
fn searching_wide_nests_of_anonymous_members_ends() {
    let mut blob = Blob::default();
    let mut ty = blob.structure("", 0, &[]);
    for _ in 0..20 {
        ty = blob.structure("", 0, &[("", ty, 0, 0); 100]);
    }
    blob.structure("s", 0, &[("", ty, 0, 0)]);
    let error = read(blob).member_offset("s", "a").unwrap_err();
    assert!(matches!(error, BtfError::Malformed(_)), "{error}");
}

/// Asks for everything there is. What the answers are does not matter here; that there are answers
/// does.
fn interrogate(btf: &Btf) {
    for (name, path, ..) in kernels::MEMBERS {
        let _ = btf.member_offset(name, path);
        let _ = btf.struct_size(name);
    }
    for name in kernels::ENUMS {
        let _ = btf.enum_values(name);
    }
    for name in kernels::TRACEPOINTS {
        let _ = btf.tracepoint_params(name);
    }
}

proptest! {
    #[test]
    fn any_bytes_behind_a_header_are_survived(tail in proptest::collection::vec(any::<u8>(), 0..600)) {
        let header = &kernels::LINUX_6_18[..8];
        if let Ok(btf) = Btf::from_bytes([header, &tail].concat()) {
            interrogate(&btf);
        }
    }

    #[test]
    fn a_damaged_kernel_is_survived(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = kernels::LINUX_6_18.to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(kernels::LINUX_6_18.len()));
        }
        if let Ok(btf) = Btf::from_bytes(bytes) {
            interrogate(&btf);
        }
    }
}
