#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;

fn nightly(has_source: bool) -> Compiler {
    Compiler { origin: Origin::Rustup("nightly".to_owned()), release: (1, 97), date: "2026-05-19".to_owned(), llvm: 22, has_source }
}

fn distribution(release: (u32, u32)) -> Compiler {
    Compiler { origin: Origin::Path("/usr/bin/rustc".into()), release, date: "2026-05-25".to_owned(), llvm: 22, has_source: true }
}

fn linker_with(llvm: Option<u32>) -> Linker {
    Linker { path: "/opt/bin/bpf-linker".into(), llvm }
}

#[test]
fn nightly_with_sources_goes_before_the_distribution() {
    let facts = Facts { compilers: vec![nightly(true), distribution((1, 96))], linker: Some(linker_with(Some(22))) };
    assert_eq!(choose(&facts).unwrap().compiler, nightly(true));
}

#[test]
fn nightly_without_sources_gives_way_to_the_distribution() {
    let facts = Facts { compilers: vec![nightly(false), distribution((1, 96))], linker: Some(linker_with(None)) };
    assert_eq!(choose(&facts).unwrap().compiler, distribution((1, 96)));
}

#[test]
fn newer_nightly_than_aya_ebpf_knows_is_turned_down() {
    let newer = Compiler { date: "2026-07-15".to_owned(), ..nightly(true) };
    let facts = Facts { compilers: vec![newer], linker: Some(linker_with(Some(22))) };
    let findings = choose(&facts).unwrap_err().findings;
    assert_eq!(findings.len(), 1);
    assert!(findings.concat().contains("2026-07-15"), "{findings:?}");
}

#[test]
fn linker_older_than_the_compiler_is_turned_down() {
    let compilers = vec![distribution((1, 96))];
    let older = Facts { compilers: compilers.clone(), linker: Some(linker_with(Some(21))) };
    assert!(choose(&older).unwrap_err().to_string().contains("LLVM 21, older than LLVM 22"));
    let newer = Facts { compilers, linker: Some(linker_with(Some(23))) };
    assert_eq!(choose(&newer).unwrap().linker, Path::new("/opt/bin/bpf-linker"));
}

#[test]
fn too_old_a_distribution_is_named_with_its_version() {
    let facts = Facts { compilers: vec![distribution((1, 85))], linker: Some(linker_with(Some(22))) };
    assert!(choose(&facts).unwrap_err().to_string().contains("/usr/bin/rustc is Rust 1.85, too old"));
}

#[test]
fn bare_machine_is_sent_to_setup() {
    let message = choose(&Facts::default()).unwrap_err().to_string();
    assert!(message.contains("no nightly in rustup and no /usr/bin/rustc"), "{message}");
    assert!(message.ends_with("run `cargo xtask setup`"), "{message}");
    let without_linker = Facts { compilers: vec![nightly(true)], linker: None };
    assert_eq!(choose(&without_linker).unwrap_err().findings, ["no bpf-linker that starts"]);
}

#[test]
fn versions_compare_by_number() {
    assert_eq!(version("1.97.0-nightly"), Some((1, 97)));
    assert_eq!(version("1.95"), Some((1, 95)));
    assert!(version("1.100.0") > version("1.95.0"));
    assert_eq!(version("unknown"), None);
    assert!(oldest_release() >= (1, 85), "edition 2024 needs 1.85: {:?}", oldest_release());
}

#[test]
fn verbose_version_of_debian_is_read() {
    let verbose = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
        commit-hash: ac68faa20c58cbccd01ee7208bf3b6e93a7d7f96\ncommit-date: 2026-05-25\n\
        host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
    let origin = Origin::Path("/usr/bin/rustc".into());
    assert_eq!(read_compiler(verbose, origin.clone(), true), Some(distribution((1, 96))));
    assert_eq!(read_compiler("rustc 1.96.0\n", origin, true), None);
}

#[test]
fn pinned_nightly_goes_before_plain_and_other_dates_are_left_out() {
    let listed = "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-x86_64-unknown-linux-gnu\n\
        nightly-2025-01-01-x86_64-unknown-linux-gnu\nnightly-2026-05-19-x86_64-unknown-linux-gnu\n";
    let expected = ["nightly-2026-05-19-x86_64-unknown-linux-gnu", "nightly-x86_64-unknown-linux-gnu"];
    assert_eq!(nightlies(listed), expected);
}

#[test]
fn llvm_of_the_linker_is_read_from_either_library_name() {
    let debian = "\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x00007f4895c00000)\n";
    assert_eq!(shared_llvm(debian), Some(22));
    assert_eq!(shared_llvm("\tlibLLVM-19.so.1 => /usr/lib64/libLLVM-19.so.1 (0x7f00)\n"), Some(19));
    assert_eq!(shared_llvm("\tstatically linked\n"), None);
}

#[test]
fn target_directory_is_found_with_and_without_a_triple() {
    let triple = "x86_64-unknown-linux-gnu";
    let of = |dir: &str| target_dir(Path::new(dir), triple);
    let expected = Some(PathBuf::from("/src/target"));
    assert_eq!(of("/src/target/debug/build/rstblame-0123456789abcdef/out"), expected);
    assert_eq!(of("/src/target/debug/build/rstblame/0123456789abcdef/out"), expected);
    assert_eq!(of("/src/target/x86_64-unknown-linux-gnu/release/build/rstblame-01/out"), expected);
    assert_eq!(of("/src/target/debug"), expected);
    assert_eq!(of("/src/target/x86_64-unknown-linux-gnu/debug"), expected);
    assert_eq!(of("/"), None);
}

#[test]
fn outer_build_does_not_leak_but_the_users_network_settings_stay() {
    for name in ["RUSTC", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO", "CARGO_TARGET_DIR", "RUSTUP_TOOLCHAIN"] {
        assert!(is_of_outer_build(name), "{name}");
    }
    for name in ["PATH", "CARGO_HOME", "CARGO_HTTP_CAINFO", "CARGO_REGISTRIES_CRATES_IO_PROTOCOL", "RUSTUP_HOME"] {
        assert!(!is_of_outer_build(name), "{name}");
    }
}

#[test]
fn command_names_compiler_target_and_linker() {
    let toolchain = Toolchain { compiler: distribution((1, 96)), linker: "/opt/bin/bpf-linker".into() };
    let order = Order {
        cargo: OsStr::new("cargo"),
        workspace: Path::new("/src"),
        target_dir: Path::new("/src/target/bpf"),
        arch: "s390x",
        big_endian: true,
    };
    let command = toolchain.command(&order);
    let variable = |name: &str| {
        let found = command.get_envs().find(|(key, _)| *key == OsStr::new(name));
        found.and_then(|(_, value)| value?.to_str()).unwrap().to_owned()
    };
    assert_eq!(variable("RUSTC"), "/usr/bin/rustc");
    assert_eq!(variable("CARGO_TARGET_BPFEB_UNKNOWN_NONE_LINKER"), "/opt/bin/bpf-linker");
    assert!(variable("CARGO_ENCODED_RUSTFLAGS").starts_with("--cfg=bpf_target_arch=\"s390x\"\x1f"));
    assert!(command.get_args().any(|arg| arg == "bpfeb-unknown-none"));
    assert_eq!(order.object(), Path::new("/src/target/bpf/bpfeb-unknown-none/release/rstblame-ebpf"));
}
