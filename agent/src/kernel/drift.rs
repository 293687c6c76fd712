//! What each kernel of `testdata/kernels` offers, held against `testdata/kernels/table.md`: a
//! kernel that moves something is noticed here, and not on somebody's broker.
//! `cargo xtask fixtures` makes the files, on the kernels themselves.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use rstblame_abi::{ABSENT, RecordFormat};

use super::{
    btf::{Btf, VMLINUX, tests::trim},
    hooks, layout,
    tracefs::{self, Format},
};

/// Begins each line that `cargo xtask fixtures` looks for.
const MARK: &str = "fixture";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/kernels")
}

/// Lines for `cargo xtask fixtures`: a name, and the content of the file in hexadecimal.
#[test]
#[ignore = "tells what kernel this is; needs root, BTF and a mounted tracefs"]
fn tell() {
    let say = |name: &str, content: &[u8]| {
        let hex = content.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        println!("{MARK} {name} {hex}");
    };
    // The test runner may have begun a line.
    println!();
    say("release", &fs::read("/proc/sys/kernel/osrelease").unwrap());
    if let Ok(btf) = Btf::from_file(VMLINUX.as_ref()) {
        say("vmlinux.btf", &trim::trim(&btf));
    }
    let root = tracefs::tracefs_root().expect("tracefs is mounted");
    for hook in hooks::ALL {
        if let Ok(text) = fs::read(root.join("events").join(hook.category).join(hook.tracepoint).join("format")) {
            say(&format!("{}.format", hook.tracepoint), &text);
        }
    }
}

/// What a plain tracepoint's record has of what the programs look for.
fn fields(format: &RecordFormat) -> String {
    let RecordFormat { skaddr, skbaddr, state, reason, family, sport, dport, saddr, daddr, saddr_v6, daddr_v6, .. } = *format;
    let RecordFormat { oldstate, newstate, protocol, sig, code, pid, .. } = *format;
    let all = [
        ("skaddr", skaddr),
        ("skbaddr", skbaddr),
        ("state", state),
        ("reason", reason),
        ("family", family),
        ("sport", sport),
        ("dport", dport),
        ("saddr", saddr),
        ("daddr", daddr),
        ("saddr_v6", saddr_v6),
        ("daddr_v6", daddr_v6),
        ("oldstate", oldstate),
        ("newstate", newstate),
        ("protocol", protocol),
        ("sig", sig),
        ("code", code),
        ("pid", pid),
    ];
    let there: Vec<String> = all.iter().filter(|(_, at)| *at != ABSENT).map(|(name, at)| format!("{name} {at}")).collect();
    there.join(", ")
}

/// One kernel: each hook with the rungs of the ladder that it offers, and what of the layout is
/// missing.
fn kernel(folder: &Path, text: &mut String) {
    let release = fs::read_to_string(folder.join("release")).unwrap();
    writeln!(text, "\n## {} ({})\n", folder.file_name().unwrap().to_string_lossy(), release.trim()).unwrap();
    let btf = Btf::from_file(&folder.join("vmlinux.btf")).ok();
    writeln!(text, "| tracepoint | arguments by BTF | fields of the record by tracefs |\n|---|---|---|").unwrap();
    for hook in hooks::ALL {
        let arguments = btf.as_ref().and_then(|btf| btf.tracepoint_params(hook.tracepoint).ok());
        let arguments = arguments.map_or_else(|| "-".to_owned(), |arguments| format!("{arguments:?}").replace('|', "\\|"));
        let format = fs::read_to_string(folder.join(format!("{}.format", hook.tracepoint))).ok();
        let record = format.map_or_else(|| "-".to_owned(), |text| fields(&layout::record_format(&Format::parse(&text).unwrap())));
        writeln!(text, "| `{}` | {arguments} | {record} |", hook.tracepoint).unwrap();
    }
    let missing = btf.map_or_else(|| vec!["BTF".to_owned()], |btf| layout::resolve(&btf).missing);
    writeln!(text, "\nMissing of the layout: {}", if missing.is_empty() { "nothing".to_owned() } else { missing.join("; ") }).unwrap();
}

fn table() -> String {
    let mut text =
        "# What each kernel offers\n\nBy the files beside this one; `RSTBLAME_BLESS=1 cargo test -p rstblame drift` writes it anew.\n"
            .to_owned();
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() >= 5, "{folders:?}");
    for folder in &folders {
        kernel(folder, &mut text);
    }
    text
}

#[test]
fn every_kernel_offers_what_it_did() {
    let (file, now) = (folder().join("table.md"), table());
    if std::env::var_os("RSTBLAME_BLESS").is_some() {
        fs::write(&file, &now).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), now, "if that is right, RSTBLAME_BLESS=1 writes {}", file.display());
}

/// Whatever moves: without these a reset cannot be told of at all, on one rung or the other.
#[test]
fn every_kernel_has_what_no_reset_can_do_without() {
    for folder in fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let format = |name: &str| {
            let text = fs::read_to_string(folder.join(format!("{name}.format"))).unwrap();
            layout::record_format(&Format::parse(&text).unwrap())
        };
        for name in ["tcp_send_reset", "tcp_receive_reset"] {
            let format = format(name);
            assert!(format.saddr != ABSENT && format.daddr != ABSENT && format.skaddr != ABSENT, "{name} in {}", folder.display());
            // Ports of their own and the address of either family, or both within a
            // `struct sockaddr`.
            let own = format.sport != ABSENT && format.dport != ABSENT && (format.family != ABSENT || format.saddr_v6 != ABSENT);
            let sockaddr = format.sport == ABSENT && format.saddr_v6 == ABSENT;
            assert!(own || sockaddr, "{name} in {}", folder.display());
        }
        let btf = Btf::from_file(&folder.join("vmlinux.btf")).unwrap();
        let resolved = layout::resolve(&btf);
        let layout = resolved.layout;
        for at in [layout.skc_family, layout.skc_dport, layout.skc_daddr, layout.skc_rcv_saddr, layout.inet_sport, layout.skb_head] {
            assert!(at != ABSENT, "{}: {:?}", folder.display(), resolved.missing);
        }
    }
}
