//! Debian and Ubuntu packages: what builds the program is installed, all else only fetched.

mod archive;
pub mod imagined;
mod reason;

use std::path::{Path, PathBuf};

pub use self::archive::{Archive, KEYS, mirror};
use crate::{
    command::{self, is_root, privileged, succeeds},
    error::{Error, Result},
    toolchain::{clean, version},
};

/// Installs the packages after the script's name (`$@`), without starting what they bring.
///
/// Debian's maintainer scripts start the services they install. `policy-rc.d` is the
/// administrator's way to forbid that
/// (<https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt>): one is put there for
/// as long as the installation runs, unless the machine has its own.
const INSTALL: &str = r#"
set -eu
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
    trap 'rm -f "$guard"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\nexit 101\n' > "$guard"
    chmod 755 "$guard"
fi
# Nothing is ever removed to make room: rustc-web, for one, conflicts with rustc. Errors go to
# standard error.
DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends --no-remove "$@" > /dev/null
"#;

/// The package manager of this machine, its lists fetched at most once.
pub struct Apt {
    is_updated: bool,
    /// What went wrong with some of the lists: no reason to stop as long as nothing is missing.
    complaint: Option<Error>,
}

impl Apt {
    /// `None` where there is none.
    pub fn find() -> Option<Self> {
        succeeds(clean("apt-get").arg("--version")).then_some(Self { is_updated: false, complaint: None })
    }

    /// Fetches the package lists, the first time it is called. A source that fails is told and no
    /// error: the others may have what is needed.
    ///
    /// # Errors
    ///
    /// When apt-get does not start, or this is neither root nor a user of sudo.
    pub fn update(&mut self) -> Result<()> {
        if self.is_updated {
            return Ok(());
        }
        require_privileges(&[])?;
        self.is_updated = true;
        match reason::run(privileged("apt-get").args(["update", "--quiet=2", "--error-on=any"])) {
            Err(complaint @ Error::Apt { .. }) => {
                println!("setup: {complaint}");
                self.complaint = Some(complaint);
                Ok(())
            }
            ended => ended,
        }
    }

    /// The version of `package` that would be installed, major and minor.
    pub fn candidate(package: &str) -> Option<(u32, u32)> {
        candidate_version(&command::output(clean("apt-cache").env("LC_ALL", "C").args(["policy", package])).ok()?)
    }

    /// Installs packages, without starting the services they bring. Nothing is removed for them.
    ///
    /// # Errors
    ///
    /// When apt-get fails, or this is neither root nor a user of sudo.
    pub fn install(&mut self, packages: &[&str]) -> Result<()> {
        require_privileges(packages)?;
        self.update()?;
        let installed = reason::run(privileged("sh").args(["-c", INSTALL, "sh"]).args(packages));
        installed.map_err(|error| self.with_complaint(error))
    }

    /// Fetches packages and those of their dependencies that this machine does not have into
    /// `directory`, and installs nothing. What is installed here cannot stand in the way: it is
    /// only looked at for what need not be fetched.
    ///
    /// # Errors
    ///
    /// When apt-get fails, or a file cannot be written.
    pub fn fetch(&mut self, packages: &[&str], directory: &Path) -> Result<Vec<PathBuf>> {
        self.update()?;
        imagined::fetch(packages, directory).map_err(|error| self.with_complaint(error))
    }

    /// A list that could not be fetched may be the reason why something is not there.
    fn with_complaint(&self, error: Error) -> Error {
        match (error, &self.complaint) {
            (Error::Apt { cause, fix }, Some(complaint)) => Error::Apt { cause: format!("{cause}; before that, {complaint}"), fix },
            (error, _) => error,
        }
    }
}

/// The command line that installs packages, for somebody to type as root.
fn by_hand(packages: &[&str]) -> String {
    format!("apt-get install --no-install-recommends {}", packages.join(" "))
}

fn require_privileges(packages: &[&str]) -> Result<()> {
    if is_root() || succeeds(clean("sudo").arg("--version")) {
        return Ok(());
    }
    let mut commands = "  apt-get update".to_owned();
    if !packages.is_empty() {
        commands = format!("{commands}\n  {}", by_hand(packages));
    }
    Err(Error::Manual { reason: "Packages are missing, and this is neither root nor is there a sudo".to_owned(), commands })
}

/// Reads the candidate in what `apt-cache policy` prints: `1:22.1.8-1~deb12u1` is 22.1.
fn candidate_version(policy: &str) -> Option<(u32, u32)> {
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    version(candidate.split_once(':').map_or(candidate, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidate_is_read_with_and_without_epoch() {
        let policy = "llvm-22-dev:\n  Installed: (none)\n  Candidate: 1:22.1.8-1~deb12u1\n  Version table:\n";
        assert_eq!(candidate_version(policy), Some((22, 1)));
        assert_eq!(candidate_version("rustc-web:\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n"), Some((1, 96)));
    }

    #[test]
    fn package_without_candidate_has_no_version() {
        assert_eq!(candidate_version("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_version(""), None);
    }
}
