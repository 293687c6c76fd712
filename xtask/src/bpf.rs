//! Set-up of the BPF toolchain.

use std::{env, fs, ops::RangeInclusive};

use crate::{
    apt::Apt,
    command,
    error::{Error, Result},
    toolchain::{self, Compiler, Facts, Order, PINNED_NIGHTLY, Toolchain, clean},
    workspace::Workspace,
};

/// The release of bpf-linker this workspace is built with.
const LINKER_VERSION: &str = "0.13.0";

/// The LLVM versions that release can be built for: its features `llvm-21` to `llvm-23`.
const LINKER_LLVM: RangeInclusive<u32> = 21..=23;

/// Packages that bring a compiler and its library sources. Debian's stable releases carry a current
/// Rust for its browsers in `rustc-web`; plain `rustc` is current on newer releases only.
const COMPILER_PACKAGES: [(&str, &str); 2] = [("rustc-web", "rust-web-src"), ("rustc", "rust-src")];

/// Fails when the toolchain is missing, and says nothing otherwise.
///
/// # Errors
///
/// [`Error::NotSetUp`].
pub fn check_quietly() -> Result<()> {
    toolchain::choose(&toolchain::probe())?;
    Ok(())
}

/// Reports on the toolchain, and changes nothing.
///
/// # Errors
///
/// [`Error::NotSetUp`].
pub fn check() -> Result<()> {
    let toolchain = toolchain::choose(&toolchain::probe())?;
    println!("setup: the kernel programs are built with {toolchain}");
    Ok(())
}

/// Finds or installs the toolchain, and proves it by building the kernel programs.
///
/// # Errors
///
/// When something cannot be installed, or what is installed does not build the kernel programs.
pub fn setup(workspace: &Workspace) -> Result<()> {
    let facts = toolchain::probe();
    let toolchain = match toolchain::choose(&facts) {
        Ok(toolchain) => toolchain,
        Err(missing) => {
            println!("setup: {}", missing.findings.join("; "));
            install(&facts)?
        }
    };
    println!("setup: the kernel programs are built with {toolchain}");
    build_object(workspace, &toolchain)
}

/// Builds into the same place as `agent/build.rs`, which then finds it done.
fn build_object(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let order = Order {
        cargo: &workspace.cargo,
        workspace: &workspace.root,
        target_dir: &workspace.target.join("bpf"),
        arch: env::consts::ARCH,
        big_endian: cfg!(target_endian = "big"),
    };
    command::run(&mut toolchain.command(&order))?;
    let object = order.object();
    match fs::metadata(&object) {
        Ok(_built) => Ok(()),
        Err(source) => Err(Error::File { path: object, source }),
    }
}

fn install(facts: &Facts) -> Result<Toolchain> {
    let usable = |facts: &Facts| facts.compilers.iter().find(|compiler| compiler.objection().is_none()).cloned();
    let mut apt = Apt::find().ok_or_else(|| by_hand("This machine has no apt-get"))?;
    let compiler = if let Some(compiler) = usable(facts) {
        compiler
    } else {
        install_compiler(&mut apt)?;
        let facts = toolchain::probe();
        usable(&facts).ok_or_else(|| by_hand("The packaged compiler cannot build the kernel programs"))?
    };
    install_linker(&mut apt, &compiler)?;
    Ok(toolchain::choose(&toolchain::probe())?)
}

fn install_compiler(apt: &mut Apt) -> Result<()> {
    apt.update()?;
    let oldest = toolchain::oldest_release();
    let packages = first_current(&COMPILER_PACKAGES, oldest, Apt::candidate);
    let (compiler, source) = packages.ok_or_else(|| by_hand("No packaged Rust here is new enough"))?;
    println!("setup: installing {compiler} and {source}: a compiler with the sources of `core`, which no target of BPF has prebuilt");
    apt.install(&[compiler, source])
}

/// The first pair whose compiler, as `candidate` knows it, is not older than `oldest`.
fn first_current<'a>(
    pairs: &[(&'a str, &'a str)],
    oldest: (u32, u32),
    candidate: impl Fn(&str) -> Option<(u32, u32)>,
) -> Option<(&'a str, &'a str)> {
    pairs.iter().copied().find(|(compiler, _)| candidate(compiler).is_some_and(|version| version >= oldest))
}

fn install_linker(apt: &mut Apt, compiler: &Compiler) -> Result<()> {
    if toolchain::choose(&toolchain::probe()).is_ok() {
        return Ok(());
    }
    apt.update()?;
    let llvm = LINKER_LLVM.filter(|llvm| *llvm >= compiler.llvm).find(|llvm| Apt::candidate(&format!("llvm-{llvm}-dev")).is_some());
    let llvm = llvm.ok_or_else(|| by_hand(&format!("There is no package of LLVM {} or newer, which bpf-linker needs", compiler.llvm)))?;
    let (library, polly) = (format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev"));
    // What `llvm-config --libs --system-libs` names has to be there when bpf-linker is linked.
    let packages = [library.as_str(), polly.as_str(), "libzstd-dev"];
    println!("setup: installing {}: bpf-linker is built on LLVM, not older than the compiler's", packages.join(", "));
    apt.install(&packages)?;
    println!("setup: building bpf-linker {LINKER_VERSION} with LLVM {llvm}: it links BPF objects and writes their BTF (some minutes)");
    command::run(
        clean("cargo")
            .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
            .args(["--no-default-features", "--features", &format!("llvm-{llvm}")])
            .env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}")),
    )
}

fn by_hand(reason: &str) -> Error {
    let commands = [
        format!("  rustup toolchain install {PINNED_NIGHTLY} --profile minimal --component rust-src"),
        "  cargo install cargo-binstall".to_owned(),
        format!("  cargo binstall bpf-linker@{LINKER_VERSION}"),
    ];
    Error::Manual { reason: reason.to_owned(), commands: commands.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_package_gives_way_to_the_next() {
        let pairs = [("a", "a-src"), ("b", "b-src")];
        let trixie = |package: &str| if package == "a" { Some((1, 85)) } else { Some((1, 95)) };
        assert_eq!(first_current(&pairs, (1, 95), trixie), Some(("b", "b-src")));
        assert_eq!(first_current(&pairs, (1, 96), trixie), None);
        assert_eq!(first_current(&pairs, (1, 80), |_| None), None);
    }

    #[test]
    fn commands_to_type_pin_what_they_install() {
        let message = by_hand("No apt-get").to_string();
        assert!(message.contains(PINNED_NIGHTLY) && message.contains("bpf-linker@0.13.0"), "{message}");
    }
}
