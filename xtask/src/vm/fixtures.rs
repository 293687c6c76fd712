//! What kernels say of themselves, as test data: trimmed BTF and tracepoint formats, told by the
//! agent's own tests on each kernel.

use std::{fs, path::Path};

use super::{executable, guest, kernels, qemu};
use crate::{
    agent::{self, Cargo},
    bpf, command,
    error::{Error, Result},
    lab,
    workspace::Workspace,
};

/// The test that tells, and how it is run.
const TELL: [&str; 4] = ["--exact", "kernel::drift::tell", "--ignored", "--nocapture"];

/// Begins each line that is looked for.
const MARK: &str = "fixture ";

/// Makes `agent/testdata/kernels` anew: this machine's kernel as `host`, and Debian's under the
/// names of their lines.
///
/// # Errors
///
/// When something is missing, cannot be fetched or does not build, or a kernel says nothing.
pub fn make(workspace: &Workspace) -> Result<()> {
    bpf::setup(workspace)?;
    super::setup(workspace)?;
    let place = workspace.root.join("agent/testdata/kernels");
    let native = [&["test", "--quiet", "--package", "rstblame", "--lib", "--"], TELL.as_slice()].concat();
    let said = command::output(lab::lab_with(workspace, &native, &[]).command().stderr(std::process::Stdio::inherit()))?;
    keep(&place, "host", &said)?;
    let directory = workspace.target.join("vm");
    fs::create_dir_all(&directory).map_err(|source| Error::File { path: directory.clone(), source })?;
    let agent = agent::build(workspace)?;
    let mut cargo =
        Cargo::new(workspace, &["test", "--package", "rstblame", "--lib", "--no-run", "--message-format", "json-render-diagnostics"]);
    let messages = command::output(cargo.command().stderr(std::process::Stdio::inherit()))?;
    let program = executable(&messages, "rstblame", "lib").ok_or_else(|| Error::MissingPrograms("the agent's unit tests".to_owned()))?;
    for kernel in kernels::fetch(workspace, &directory, &[])? {
        let filter = TELL.map(str::to_owned).to_vec();
        let suite = guest::Suite { name: "fixtures".to_owned(), program: program.clone(), filter, starts: None };
        let initramfs = guest::pack(workspace, &directory, &kernel, &agent, &[suite])?;
        let log = directory.join(format!("{}-fixtures.log", kernel.name));
        qemu::boot(workspace, &kernel, &initramfs, &log)?;
        let said = fs::read(&log).map_err(|source| Error::File { path: log, source })?;
        keep(&place, kernel.name, &String::from_utf8_lossy(&said))?;
    }
    println!("now see what changed: RSTBLAME_BLESS=1 cargo test -p rstblame drift, and git diff");
    Ok(())
}

/// Writes down what one kernel said, in place of what it said before.
fn keep(place: &Path, kernel: &str, said: &str) -> Result<()> {
    let files: Vec<(&str, Vec<u8>)> = said.lines().filter_map(fixture).collect();
    if files.len() < 2 {
        return Err(Error::Kernel { name: kernel.to_owned(), problem: "it told nothing of itself".to_owned() });
    }
    let folder = place.join(kernel);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    }
    fs::create_dir_all(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
    println!("fixtures: {kernel}: {} files", files.len());
    for (name, content) in files {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|source| Error::File { path, source })?;
    }
    Ok(())
}

/// A line that names a file and its content: `fixture NAME HEX`.
fn fixture(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, hex) = line.trim().strip_prefix(MARK)?.split_once(' ')?;
    let digits = hex.as_bytes().chunks(2);
    let content = digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect::<Option<_>>()?;
    (!name.contains('/')).then_some((name, content))
}

#[cfg(test)]
mod tests {
    use super::fixture;

    #[test]
    fn only_lines_of_fixtures_are_read() {
        assert_eq!(fixture("    fixture release 362e310a\r"), Some(("release", b"6.1\n".to_vec())));
        assert_eq!(fixture("    fixture release 36x"), None);
        assert_eq!(fixture("fixture ../release 36"), None);
        assert_eq!(fixture("test kernel::drift::tell ... ok"), None);
    }
}
