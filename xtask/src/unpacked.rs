//! Programs of which a machine has one at most, and may have its own: Debian's packages of syslog daemons exclude each other, and to install one
//! would take the place of the machine's. The lab runs them from a directory of its own.

use std::path::{Path, PathBuf};

use crate::{
    apt::Apt,
    command::{self, succeeds},
    error::{Error, Result},
    toolchain::clean,
    workspace::Workspace,
};

/// A package, the program in it, and what it is needed for.
struct Package {
    name: &'static str,
    program: &'static str,
    why: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package { name: "rsyslog", program: "usr/sbin/rsyslogd", why: "a log shipper" },
    Package { name: "syslog-ng-core", program: "usr/sbin/syslog-ng", why: "another" },
];

/// Reports the packages that are not there, and changes nothing.
pub fn missing(workspace: &Workspace) -> Vec<&'static str> {
    lacking(workspace).map(|package| package.name).collect()
}

fn lacking(workspace: &Workspace) -> impl Iterator<Item = &'static Package> {
    let all = workspace.unpacked();
    PACKAGES.iter().filter(move |package| !all.join(package.name).join(package.program).is_file())
}

/// Downloads and unpacks what is missing, and installs the libraries it needs.
///
/// # Errors
///
/// When apt-get or dpkg fails, or a file cannot be written.
pub fn setup(workspace: &Workspace) -> Result<()> {
    for package in lacking(workspace) {
        println!("setup: the lab needs {} ({}): unpacked, not installed", package.name, package.why);
        let mut apt = Apt::find().ok_or_else(|| Error::MissingPrograms(package.name.to_owned()))?;
        apt.update()?;
        let directory = workspace.unpacked().join(package.name);
        // What an interrupted set-up left is begun anew.
        if directory.exists() {
            std::fs::remove_dir_all(&directory).map_err(|source| Error::File { path: directory.clone(), source })?;
        }
        std::fs::create_dir_all(&directory).map_err(|source| Error::File { path: directory.clone(), source })?;
        command::run(clean("apt-get").args(["download", "--quiet=2", package.name]).current_dir(&directory))?;
        let archive = archive(&directory)?;
        let depends = command::output(clean("dpkg-deb").arg("--field").arg(&archive).arg("Depends"))?;
        let libraries = names(&depends).into_iter().filter(|name| !is_installed(name)).collect::<Vec<_>>();
        if !libraries.is_empty() {
            apt.install(&libraries)?;
        }
        command::run(clean("dpkg-deb").arg("--extract").arg(&archive).arg(&directory))?;
    }
    Ok(())
}

/// The one package that was downloaded.
fn archive(directory: &Path) -> Result<PathBuf> {
    let failed = |source| Error::File { path: directory.to_owned(), source };
    let mut entries = std::fs::read_dir(directory).map_err(failed)?.flatten().map(|entry| entry.path());
    entries
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| failed(std::io::Error::other("apt-get has downloaded no package")))
}

fn is_installed(package: &str) -> bool {
    succeeds(clean("sh").args(["-c", "dpkg-query --show --showformat '${db:Status-Status}' \"$1\" | grep -qx installed", "sh", package]))
}

/// The names in a Depends field, of alternatives the first.
fn names(depends: &str) -> Vec<&str> {
    depends.split(',').filter_map(|entry| entry.split_whitespace().next()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_depends_field_names_packages() {
        let field = "libc6 (>= 2.34), libestr0 (>= 0.1.9), sysvinit-utils (>= 3.05-4~) | lsb-base\n";
        assert_eq!(super::names(field), ["libc6", "libestr0", "sysvinit-utils"]);
        assert!(super::names("").is_empty());
    }
}
