//! Packages fetched as for a machine that has what this one has and nothing against it.
//!
//! apt resolves dependencies against the list of what is installed. It is given one of our own: the
//! same packages with their versions and with what they provide, but without conflicts,
//! dependencies and holds. Nothing that is installed, from whatever suite, can then refuse a
//! package that is only to be unpacked, and apt's own resolver says what has to come with it.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::reason;
use crate::{
    command,
    error::{Error, Result},
    toolchain::clean,
};

/// What dpkg knows of this machine (`man 5 deb-status` is its format: paragraphs of fields).
const STATUS: &str = "/var/lib/dpkg/status";

/// The fields that say what is there. All others say what it wants, or are for people.
const KEPT: [&str; 5] = ["Package", "Architecture", "Multi-Arch", "Version", "Provides"];

/// The C library cannot be had twice in one process: the loader and it have to be of one version.
const C_LIBRARY: &str = "libc6";

/// Fetches packages, and what they need that this machine does not have, into `directory`; says
/// which files these are.
///
/// # Errors
///
/// [`Error::Apt`] with the cause and the fix.
pub fn fetch(packages: &[&str], directory: &Path) -> Result<Vec<PathBuf>> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    let archives = directory.join("archives");
    fs::create_dir_all(archives.join("partial")).map_err(file(&archives))?;
    let installed = fs::read_to_string(STATUS).map_err(file(Path::new(STATUS)))?;
    let status = directory.join("status");
    fs::write(&status, imagine(&installed)).map_err(file(&status))?;
    let mut apt = clean("apt-get");
    apt.args(["-o", &format!("Dir::Cache={}", directory.display()), "-o", "APT::Sandbox::User=root"]);
    reason::run(download(&mut apt, &status).args(packages))?;
    let found = downloaded(&archives)?;
    found.iter().try_for_each(|path| check(path))?;
    Ok(found)
}

/// The packages that are in a directory.
///
/// # Errors
///
/// When it cannot be read.
pub fn downloaded(archives: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(archives).map_err(|source| Error::File { path: archives.to_owned(), source })?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some(OsStr::new("deb"))).collect();
    found.sort();
    Ok(found)
}

/// Lets apt-get download packages, whose names follow, for a machine that has what is in the list
/// `status`. Removals are as imagined as the rest: rsyslog may take the place of another syslog
/// daemon here.
pub fn download<'a>(apt: &'a mut Command, status: &Path) -> &'a mut Command {
    // Only files of ours are written, by whoever this is.
    apt.args(["-o", &format!("Dir::State::status={}", status.display()), "-o", "Debug::NoLocking=1"]);
    apt.args(["install", "--download-only", "--quiet=2", "--yes", "--no-install-recommends", "--allow-remove-essential"]);
    apt.args(["--allow-downgrades", "--allow-change-held-packages"])
}

/// The C library of this machine is the one that all programs run with.
fn check(package: &Path) -> Result<()> {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = name.split('_');
    if parts.next() != Some(C_LIBRARY) {
        return Ok(());
    }
    Err(Error::Apt {
        cause: format!(
            "the packages of the archive need {C_LIBRARY} {}, which is newer than this machine's",
            parts.next().unwrap_or_default()
        ),
        fix: format!("`apt-get install {C_LIBRARY}`, or install from the suite that this machine is of"),
    })
}

/// The list of packages that apt is given.
fn imagine(status: &str) -> String {
    let mut imagined = String::new();
    for paragraph in status.split("\n\n").filter(|paragraph| is_installed(paragraph)) {
        let mut is_kept = false;
        for line in paragraph.lines() {
            // A line that begins with a blank goes on with the field before it.
            if !line.starts_with([' ', '\t']) {
                is_kept = line.split_once(':').is_some_and(|(name, _)| KEPT.contains(&name));
            }
            if is_kept {
                imagined.push_str(line);
                imagined.push('\n');
            }
        }
        imagined.push_str("Status: install ok installed\nMaintainer: none\nDescription: none\n\n");
    }
    imagined
}

/// `Status: hold ok installed` is installed, `deinstall ok config-files` is not.
fn is_installed(paragraph: &str) -> bool {
    paragraph.lines().any(|line| line.strip_prefix("Status: ").is_some_and(|status| status.ends_with(" ok installed")))
}

/// Unpacks packages into `root`; none of their scripts is run.
///
/// # Errors
///
/// When one is no package, or a file cannot be written.
pub fn unpack(packages: &[PathBuf], root: &Path) -> Result<()> {
    for package in packages {
        // As dpkg would, through the links of a merged /usr; `dpkg-deb --extract` puts directories
        // in their place.
        let script = "dpkg-deb --fsys-tarfile \"$0\" | tar --extract --keep-directory-symlink --directory \"$1\"";
        command::run(clean("sh").args(["-c", script]).arg(package).arg(root))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "\
Package: qemu-utils
Status: hold ok installed
Architecture: amd64
Version: 1:10.0.2+ds-2+deb13u1~bpo12+1
Provides: something (= 1),
 another
Depends: libc6 (>= 2.36),
 libaio1
Breaks: qemu-system-x86 (<< 1:8)
Description: disk images
 of which there are many

Package: gone
Status: deinstall ok config-files
Version: 1
";

    #[test]
    fn what_is_installed_is_there_and_wants_nothing() {
        let imagined = imagine(MACHINE);
        assert_eq!(
            imagined,
            "Package: qemu-utils\nArchitecture: amd64\nVersion: 1:10.0.2+ds-2+deb13u1~bpo12+1\nProvides: something (= 1),\n another\n\
             Status: install ok installed\nMaintainer: none\nDescription: none\n\n"
        );
    }

    #[test]
    fn another_c_library_is_refused_in_one_line() {
        assert!(check(Path::new("/x/libc6-dev_2.41_amd64.deb")).is_ok());
        let refused = check(Path::new("/x/libc6_2.41-12_amd64.deb")).map_err(|error| error.to_string());
        assert!(refused.is_err_and(|line| line.contains("libc6 2.41-12") && !line.contains('\n')));
    }
}
