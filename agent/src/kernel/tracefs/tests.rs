#![expect(clippy::unwrap_used, reason = "a test that meets something unexpected should end there")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Field, Format, FormatError, mounted_at};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tracefs/", $name, ".format"))
    };
}

const SEND_RESET_6_1: &str = fixture!("debian-6.1-tcp_send_reset");
const SEND_RESET_6_18: &str = fixture!("linux-6.18-tcp_send_reset");
const RECEIVE_RESET: &str = fixture!("linux-6.18-tcp_receive_reset");
const DESTROY_SOCK: &str = fixture!("linux-6.18-tcp_destroy_sock");
const SET_STATE: &str = fixture!("linux-6.18-inet_sock_set_state");

/// Name, offset and size of all fields that are not common to all tracepoints.
fn layout(format: &Format) -> Vec<(&str, u32, u32)> {
    let own = format.fields.iter().skip_while(|field| field.name.starts_with("common_"));
    own.map(|field| (field.name.as_str(), field.offset, field.size)).collect()
}

#[test]
fn tcp_send_reset_before_it_had_a_reason() {
    let format = Format::parse(SEND_RESET_6_1).unwrap();
    let expected = [
        ("skbaddr", 8, 8),
        ("skaddr", 16, 8),
        ("state", 24, 4),
        ("sport", 28, 2),
        ("dport", 30, 2),
        ("family", 32, 2),
        ("saddr", 34, 4),
        ("daddr", 38, 4),
        ("saddr_v6", 42, 16),
        ("daddr_v6", 58, 16),
    ];
    assert_eq!(layout(&format), expected);
    assert_eq!(format.field("reason"), None);
    assert!(format.symbols("reason").is_empty());
    assert_eq!(format.symbols("family"), [(2, "AF_INET"), (10, "AF_INET6")]);
}

#[test]
fn tcp_send_reset_with_a_reason() {
    let format = Format::parse(SEND_RESET_6_18).unwrap();
    let expected = [("skbaddr", 8, 8), ("skaddr", 16, 8), ("state", 24, 4), ("reason", 28, 4), ("saddr", 32, 28), ("daddr", 60, 28)];
    assert_eq!(layout(&format), expected);
    assert_eq!(format.id, 2280);
    let reasons = format.symbols("reason");
    assert_eq!(reasons.len(), 26);
    assert_eq!(reasons.first(), Some(&(0, "NOT_SPECIFIED")));
    assert_eq!(reasons.get(11), Some(&(11, "TCP_ABORT_ON_CLOSE")));
    assert_eq!(reasons.last(), Some(&(25, "MAX")));
    // Printed as `{ TCP_ESTABLISHED, "TCP_ESTABLISHED" }`: the values cannot be told from this.
    assert!(format.symbols("state").is_empty());
}

#[test]
fn the_other_tracepoints_of_a_socket() {
    let expected = [
        ("skaddr", 8, 8),
        ("sport", 16, 2),
        ("dport", 18, 2),
        ("family", 20, 2),
        ("saddr", 22, 4),
        ("daddr", 26, 4),
        ("saddr_v6", 30, 16),
        ("daddr_v6", 46, 16),
        ("sock_cookie", 64, 8),
    ];
    for text in [RECEIVE_RESET, DESTROY_SOCK] {
        assert_eq!(layout(&Format::parse(text).unwrap()), expected);
    }
}

#[test]
fn inet_sock_set_state_names_its_states() {
    let format = Format::parse(SET_STATE).unwrap();
    let state = |name| format.field(name).map(|field| (field.offset, field.size, field.signed));
    assert_eq!(state("oldstate"), Some((16, 4, true)));
    assert_eq!(state("newstate"), Some((20, 4, true)));
    for field in ["oldstate", "newstate"] {
        let states = format.symbols(field);
        assert_eq!(states.first(), Some(&(1, "TCP_ESTABLISHED")), "{field}");
        assert_eq!(states.last(), Some(&(12, "TCP_NEW_SYN_RECV")), "{field}");
    }
}

#[test]
fn declarations_in_all_their_forms() {
    let parsed = |declaration: &str| {
        let text = format!("ID: 1\n\tfield:{declaration};\toffset:8;\tsize:4;\tsigned:1;\n");
        let format = Format::parse(&text).unwrap();
        let [field] = <[Field; 1]>::try_from(format.fields).unwrap();
        assert_eq!((field.offset, field.size, field.signed), (8, 4, true));
        (field.ctype, field.name, field.is_array)
    };
    let cases = [
        ("int state", "int", "state", false),
        ("const void * skaddr", "const void *", "skaddr", false),
        ("char *name", "char *", "name", false),
        ("enum sk_rst_reason reason", "enum sk_rst_reason", "reason", false),
        ("__u8 saddr[28]", "__u8", "saddr", true),
        ("unsigned long args[2][3]", "unsigned long", "args", true),
        ("char comm[TASK_COMM_LEN]", "char", "comm", true),
        ("__data_loc char[] msg", "__data_loc char", "msg", true),
        ("__rel_loc __u32[] stack", "__rel_loc __u32", "stack", true),
    ];
    for (declaration, ctype, name, is_array) in cases {
        assert_eq!(parsed(declaration), (ctype.to_owned(), name.to_owned(), is_array));
    }
}

#[test]
fn symbols_keep_what_can_be_read() {
    let text = r#"ID: 1
print fmt: "%s %s", __print_symbolic(REC->other, { 7, "SEVEN" }), __print_symbolic( REC->reason , {0x10, "HEX"},
    { -1, "MINUS" }, { (3), "BRACKETS" }, { 4UL, "SUFFIX" }, { NAME, "UNKNOWN" },{5,"FIVE"}), REC->reason"#;
    let text = text.replace(",\n    ", ", ");
    let format = Format::parse(&text).unwrap();
    let expected = [(16, "HEX"), (-1, "MINUS"), (3, "BRACKETS"), (4, "SUFFIX"), (5, "FIVE")];
    assert_eq!(format.symbols("reason"), expected);
    assert_eq!(format.symbols("other"), [(7, "SEVEN")]);
    assert!(format.symbols("reaso").is_empty());
}

#[test]
fn what_is_no_format_is_refused() {
    assert!(matches!(Format::parse(""), Err(FormatError::NoId)));
    assert!(matches!(Format::parse("ID: many\n"), Err(FormatError::NoId)));
    for field in ["", "int state", "state;offset:1;size:4", "int state;offset:-1;size:4;", "int state;size:4;"] {
        let error = Format::parse(&format!("ID: 1\nfield:{field}\n")).unwrap_err();
        assert!(matches!(error, FormatError::Field { line: 2, .. }), "{field}: {error}");
    }
    let error = Format::read(Path::new("/nonexistent"), "tcp", "tcp_send_reset").unwrap_err();
    let path = "/nonexistent/events/tcp/tcp_send_reset/format";
    assert!(error.to_string().contains(path), "{error}");
}

#[test]
fn the_mount_point_is_found_and_unescaped() {
    let mounts = b"proc /proc proc rw 0 0\n\
        debugfs /sys/kernel/debug debugfs rw 0 0\n\
        t /srv/a\\040b\\134c\\9 tracefs rw,relatime 0 0\n\
        tracefs /sys/kernel/tracing tracefs rw 0 0\n";
    let found = mounted_at(mounts, b"tracefs");
    assert_eq!(found, Some(PathBuf::from("/srv/a b\\c\\9")));
    assert_eq!(mounted_at(mounts, b"bpf"), None);
    // A device called like the file system is none.
    assert_eq!(mounted_at(b"tracefs /mnt tmpfs rw 0 0\n", b"tracefs"), None);
}

#[test]
#[ignore = "needs root and a mounted tracefs"]
fn every_format_of_the_running_kernel_is_understood() {
    let events = super::tracefs_root().unwrap().join("events");
    let mut seen = 0;
    for category in events.read_dir().unwrap() {
        let category = category.unwrap().path();
        if !category.is_dir() {
            continue;
        }
        for event in category.read_dir().unwrap() {
            let path = event.unwrap().path().join("format");
            if let Ok(text) = std::fs::read_to_string(&path) {
                let format = Format::parse(&text).unwrap();
                assert!(format.field("common_pid").is_some(), "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "only {seen} formats seen");
}

proptest! {
    #[test]
    fn any_text_is_survived(text in any::<String>(), mounts in any::<Vec<u8>>()) {
        for text in [text.clone(), format!("ID: 1\nfield:{text}"), format!("ID: 1\nprint fmt: __print_symbolic({text}")] {
            if let Ok(format) = Format::parse(&text) {
                let _ = format.symbols("reason");
            }
        }
        let _ = mounted_at(&mounts, b"tracefs");
    }

    #[test]
    fn a_damaged_format_is_survived(
        at in any::<prop::sample::Index>(),
        until in any::<prop::sample::Index>(),
        patch in r#"[\[\]{}(),;:" a-z0-9]{0,8}"#,
    ) {
        let mut text = SEND_RESET_6_18.to_owned();
        let at = at.index(text.len());
        let until = at + until.index(text.len() - at);
        text.replace_range(at..until, &patch);
        if let Ok(format) = Format::parse(&text) {
            let _ = (format.symbols("reason"), format.symbols("state"));
        }
    }
}
