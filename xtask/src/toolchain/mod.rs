//! Which compiler and which linker build the kernel programs, and the command that does it.
//!
//! `agent/build.rs` includes this same file, so what `cargo xtask setup` finds good is what the
//! build then uses. For that reason it needs nothing but the standard library.
//!
//! The `bpfel-unknown-none` and `bpfeb-unknown-none` targets have no prebuilt `core` (tier 3,
//! <https://doc.rust-lang.org/rustc/platform-support.html>): the compiler must come with its
//! library sources, and must accept unstable options, as a nightly does by itself and another one
//! with `RUSTC_BOOTSTRAP=1`.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// The nightly `cargo xtask setup` asks for where rustup is the way.
pub const PINNED_NIGHTLY: &str = "nightly-2026-05-19";

/// The last day of nightlies that aya-ebpf 0.2.1 is known to build with.
const LAST_NIGHTLY_DATE: &str = "2026-06-30";

/// Where Debian and Ubuntu put their compiler.
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";

/// How a compiler is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A rustup toolchain, by the name `rustup run` takes.
    Rustup(String),
    /// A `rustc` outside rustup.
    Path(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup(name) => write!(f, "rustup toolchain {name}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A compiler found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// How it is reached.
    pub origin: Origin,
    /// Its version, major and minor: 1.96.
    pub release: (u32, u32),
    /// Day of its commit, `YYYY-MM-DD`, or `unknown`.
    pub date: String,
    /// Major version of the LLVM inside it.
    pub llvm: u32,
    /// Whether the sources of `core` are installed.
    pub has_source: bool,
}

impl Compiler {
    /// Why this compiler cannot build the kernel programs, if it cannot.
    pub fn objection(&self) -> Option<String> {
        let origin = &self.origin;
        let (major, minor) = self.release;
        if self.release < oldest_release() {
            return Some(format!("{origin} is Rust {major}.{minor}, too old for this workspace"));
        }
        let dated = self.date.starts_with(|first: char| first.is_ascii_digit());
        if matches!(origin, Origin::Rustup(_)) && dated && self.date.as_str() > LAST_NIGHTLY_DATE {
            return Some(format!("{origin} is of {}, newer than aya-ebpf 0.2.1 is known to build with ({LAST_NIGHTLY_DATE})", self.date));
        }
        if !self.has_source {
            return Some(format!("{origin} has no library sources (rust-src)"));
        }
        None
    }
}

/// The `bpf-linker` found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linker {
    /// The program.
    pub path: PathBuf,
    /// Major version of the LLVM it is linked to; `None` when that is built in and cannot be seen
    /// from outside.
    pub llvm: Option<u32>,
}

/// What this machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Compilers, the preferred one first.
    pub compilers: Vec<Compiler>,
    /// The linker, if there is one that starts.
    pub linker: Option<Linker>,
}

/// A compiler and a linker that fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// The `bpf-linker` program.
    pub linker: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.compiler.release;
        write!(f, "{} (Rust {major}.{minor}, LLVM {}) and {}", self.compiler.origin, self.compiler.llvm, self.linker.display())
    }
}

/// No compiler and linker on this machine fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSetUp {
    /// What was found lacking, one sentence each.
    pub findings: Vec<String>,
}

impl fmt::Display for NotSetUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the kernel programs cannot be built here yet ({})", self.findings.join("; "))?;
        write!(f, ": run `cargo xtask setup`")
    }
}

impl std::error::Error for NotSetUp {}

/// Takes the first compiler that can build the kernel programs and that the linker can follow.
///
/// # Errors
///
/// [`NotSetUp`] with the reason each compiler, and the linker, was turned down.
pub fn choose(facts: &Facts) -> Result<Toolchain, NotSetUp> {
    let mut findings = Vec::new();
    if facts.compilers.is_empty() {
        findings.push(format!("no nightly in rustup and no {DISTRIBUTION_RUSTC}"));
    }
    for compiler in &facts.compilers {
        if let Some(objection) = compiler.objection() {
            findings.push(objection);
            continue;
        }
        match &facts.linker {
            None => findings.push("no bpf-linker that starts".to_owned()),
            // The linker reads the bitcode the compiler wrote, and LLVM reads older bitcode but not
            // newer: https://llvm.org/docs/DeveloperPolicy.html#ir-backwards-compatibility
            Some(Linker { llvm: Some(llvm), path }) if *llvm < compiler.llvm => {
                findings.push(format!("{} has LLVM {llvm}, older than LLVM {} of {}", path.display(), compiler.llvm, compiler.origin));
            }
            Some(linker) => {
                return Ok(Toolchain { compiler: compiler.clone(), linker: linker.path.clone() });
            }
        }
    }
    Err(NotSetUp { findings })
}

/// Looks at what this machine has; starts `rustup`, `rustc`, `bpf-linker` and `ldd`, and changes
/// nothing.
pub fn probe() -> Facts {
    let mut compilers = Vec::new();
    let listed = output("rustup", ["toolchain", "list"]).unwrap_or_default();
    for name in nightlies(&listed) {
        compilers.extend(compiler("rustup", &["run", name.as_str(), "rustc"], Origin::Rustup(name.clone())));
    }
    compilers.extend(compiler(DISTRIBUTION_RUSTC, &[], Origin::Path(DISTRIBUTION_RUSTC.into())));
    Facts { compilers, linker: linker() }
}

/// What the object is built for and where.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The `cargo` that is running; a rustup toolchain brings its own instead.
    pub cargo: &'a OsStr,
    /// Root of the workspace.
    pub workspace: &'a Path,
    /// Target directory for the object, kept between builds.
    pub target_dir: &'a Path,
    /// Architecture of the kernel that will run it, as `CARGO_CFG_TARGET_ARCH` spells it.
    pub arch: &'a str,
    /// Whether that machine is big endian.
    pub big_endian: bool,
}

impl Order<'_> {
    fn triple(&self) -> &'static str {
        if self.big_endian { "bpfeb-unknown-none" } else { "bpfel-unknown-none" }
    }

    /// Where the object is when the command of [`Toolchain::command`] has succeeded.
    pub fn object(&self) -> PathBuf {
        self.target_dir.join(self.triple()).join("release").join("rstblame-ebpf")
    }
}

impl Toolchain {
    /// The command that builds the object with this toolchain.
    pub fn command(&self, order: &Order<'_>) -> Command {
        let mut command = match &self.compiler.origin {
            Origin::Rustup(name) => {
                let mut command = clean("rustup");
                command.args(["run", name.as_str(), "cargo"]);
                command
            }
            Origin::Path(rustc) => {
                let mut command = clean(order.cargo);
                command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        let flags = [
            // aya-ebpf reads the layout of `pt_regs` and the like from it.
            &format!("--cfg=bpf_target_arch=\"{}\"", order.arch),
            // bpf-linker turns the debug information into the BTF that the loader needs.
            "-Cdebuginfo=2",
            "-Clink-arg=--btf",
            // By its default LLVM makes words only of the copies it knows not to overlap. Of zeros,
            // and of all other copies, it makes calls of loops over bytes, which the verifier goes
            // through byte by byte: more than half of what it had to do for a program of the tap.
            "-Clink-arg=--disable-expand-memcpy-in-order",
        ]
        .join("\x1f");
        command
            .current_dir(order.workspace)
            .args(["build", "--quiet", "--locked", "--release", "--package", "rstblame-ebpf"])
            .args(["--bin", "rstblame-ebpf", "-Z", "build-std=core", "--target", order.triple(), "--target-dir"])
            .arg(order.target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .env(linker_variable(order.triple()), &self.linker);
        command
    }
}

/// A command without what an outer cargo, clippy or rustup left in the environment for its own
/// child: the inner build has another compiler, other flags and another target.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_outer_build) {
            command.env_remove(name);
        }
    }
    // Nothing here downloads a toolchain without being asked to.
    command.env("RUSTUP_AUTO_INSTALL", "0");
    command
}

/// The `target` directory that `dir` is in: `OUT_DIR` of a build script, or the directory of a
/// built program. `target` may be followed by the directory of `triple`, as it is under `--target`.
pub fn target_dir(dir: &Path, triple: &str) -> Option<PathBuf> {
    let profile = dir.ancestors().find(|dir| dir.file_name() == Some(OsStr::new("build"))).map_or(Some(dir), Path::parent)?;
    let parent = profile.parent()?;
    let target = if parent.file_name() == Some(OsStr::new(triple)) { parent.parent()? } else { parent };
    Some(target.to_owned())
}

/// `1.96.0`, `1.97.0-nightly` or `22.1.8` as major and minor.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().split(['.', '-']);
    let major = parts.next()?.parse().ok()?;
    Some((major, parts.next()?.parse().ok()?))
}

/// The oldest Rust this workspace builds with.
pub fn oldest_release() -> (u32, u32) {
    version(env!("CARGO_PKG_RUST_VERSION")).unwrap_or_default()
}

fn is_of_outer_build(name: &str) -> bool {
    const KEPT: [&str; 7] = ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
    let kept = KEPT.iter().any(|prefix| name.starts_with(prefix));
    let cargo = name == "CARGO" || name.starts_with("CARGO_");
    let rustc = ["RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_"].iter().any(|prefix| name.starts_with(prefix));
    (cargo && !kept) || rustc || name == "RUSTUP_TOOLCHAIN"
}

/// `bpfel-unknown-none` as the variable that names its linker.
fn linker_variable(triple: &str) -> String {
    format!("CARGO_TARGET_{}_LINKER", triple.to_ascii_uppercase().replace('-', "_"))
}

/// The toolchains of `rustup toolchain list` to try: the pinned nightly, then plain `nightly`.
fn nightlies(listed: &str) -> Vec<String> {
    let names = || listed.lines().filter_map(|line| line.split_whitespace().next());
    let dated = |name: &str| name.strip_prefix("nightly-").is_some_and(|rest| rest.starts_with("20"));
    let pinned = names().filter(|name| name.starts_with(PINNED_NIGHTLY));
    let plain = names().filter(|name| name.starts_with("nightly") && !dated(name));
    pinned.chain(plain).map(str::to_owned).collect()
}

fn compiler(program: &str, args: &[&str], origin: Origin) -> Option<Compiler> {
    let sysroot = output(program, args.iter().copied().chain(["--print", "sysroot"]))?;
    let core = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    read_compiler(&output(program, args.iter().copied().chain(["-vV"]))?, origin, core.is_file())
}

/// Reads what `rustc -vV` prints.
fn read_compiler(verbose: &str, origin: Origin, has_source: bool) -> Option<Compiler> {
    let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    Some(Compiler {
        origin,
        release: version(field("release")?)?,
        date: field("commit-date").unwrap_or("unknown").to_owned(),
        llvm: version(field("LLVM version")?)?.0,
        has_source,
    })
}

fn linker() -> Option<Linker> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let mut dirs: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    dirs.extend(cargo_home.map(|home| home.join("bin")));
    let path = dirs.into_iter().map(|dir| dir.join("bpf-linker")).find(|path| path.is_file())?;
    // One whose libLLVM was removed does not start.
    output(&path, ["--version"])?;
    let llvm = output("ldd", [&path]).and_then(|libraries| shared_llvm(&libraries));
    Some(Linker { path, llvm })
}

/// The major version in the `libLLVM` line of `ldd`: `libLLVM.so.22.1` and `libLLVM-22.so.1` alike.
fn shared_llvm(ldd: &str) -> Option<u32> {
    let name = ldd.split_whitespace().find_map(|word| word.strip_prefix("libLLVM"))?;
    let digits = name.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// What a command prints, when it succeeds.
fn output<A: Into<OsString>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = A>) -> Option<String> {
    let args = args.into_iter().map(Into::into);
    let output = clean(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

// The path is spelt out for the sake of `agent/build.rs`, where rustfmt would look for it
// elsewhere.
#[cfg(test)]
#[path = "tests.rs"]
mod tests;
