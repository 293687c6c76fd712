//! Why a command of apt's failed, in one line that ends with what to do about it.

use std::process::Command;

use crate::{
    command,
    error::{Error, Result},
    toolchain::clean,
};

/// Runs a command of apt's. What it says is kept back: when it fails, one line tells the cause and
/// the fix.
///
/// # Errors
///
/// [`Error::Apt`], or [`Error::Start`].
pub fn run(command: &mut Command) -> Result<()> {
    command.env("LC_ALL", "C");
    let output = command.output().map_err(|source| Error::Start { command: command::line(command), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let (cause, fix) = explain(&said, &held());
    Err(Error::Apt { cause, fix })
}

/// The packages that the administrator keeps at their version.
fn held() -> Vec<String> {
    let listed = command::output(clean("apt-mark").arg("showhold")).unwrap_or_default();
    listed.split_whitespace().map(str::to_owned).collect()
}

/// What apt said on standard error, in English, as a cause and a fix. The messages are those of
/// `apt-pkg` and `apt-private` in its sources.
fn explain(said: &str, held: &[String]) -> (String, String) {
    let lines = || said.lines().map(str::trim).filter_map(|line| line.strip_prefix("E: ").or_else(|| line.strip_prefix("W: ")));
    let find = |mark: &str| lines().find(|line| line.contains(mark));
    let strings = |cause: &str, fix: &str| (cause.to_owned(), fix.to_owned());
    if let Some(line) = find("Unable to locate package").or_else(|| find("has no installation candidate")) {
        let package = line.split_whitespace().find(|word| !["Unable", "to", "locate", "package", "Package"].contains(word)).unwrap_or("it");
        return (
            format!("no archive that this machine installs from has the package {}", package.trim_matches('\'')),
            "add the suite that has it to /etc/apt/sources.list, or install it by hand".to_owned(),
        );
    }
    if let Some(line) = find("does not have a Release file").or_else(|| find("no longer has a Release file")) {
        return (format!("a suite that this machine installs from is not in its archive ({line})"), source_fix().to_owned());
    }
    if let Some(line) = find("404").or_else(|| find("Failed to fetch").filter(|line| line.contains("Hash Sum mismatch"))) {
        return (
            format!("a package that the lists name is gone from the archive ({line})"),
            "the archive changed meanwhile: run this again, and if that does not help look for the suite in /etc/apt/sources.list"
                .to_owned(),
        );
    }
    // apt says of any conflict that it may be for held packages: then it is, if there are any.
    let is_held = said.contains("Held packages were changed") || (said.contains("held broken packages") && !held.is_empty());
    if is_held {
        let names = held.join(" ");
        return (
            format!("packages of this machine are held at their version: {names}"),
            format!("`apt-mark unhold {names}`, then this again"),
        );
    }
    if said.contains("remove is disabled") {
        return strings(
            "what is installed here would have to be removed to make room",
            "see which with `apt-get install --simulate` and these packages; nothing was changed",
        );
    }
    if let Some(line) = find("unmet dependencies").or_else(|| find("held broken packages")).or_else(|| find("Unable to correct problems")) {
        let unmet =
            said.lines().map(str::trim).find(|line| line.contains("Depends:") || line.contains("Breaks:") || line.contains("Conflicts:"));
        return (
            format!("what is installed here and what the archive has do not fit together ({})", unmet.unwrap_or(line)),
            "`apt-get upgrade` where this machine is behind its archive, else the suite that the other version came from".to_owned(),
        );
    }
    if find("Could not get lock").or_else(|| find("Unable to acquire the dpkg frontend lock")).is_some() {
        return strings("another package manager is at work", "wait for it to end, then this again");
    }
    if let Some(line) = find("Could not resolve").or_else(|| find("Could not connect")).or_else(|| find("Temporary failure resolving")) {
        return (format!("the archive cannot be reached ({line})"), "see to the network, or to /etc/apt/sources.list".to_owned());
    }
    let last = lines().next().unwrap_or("it did not say why").to_owned();
    (last, "`apt-get update` and `apt-get --fix-broken install` by hand show more".to_owned())
}

const fn source_fix() -> &'static str {
    "take it out of /etc/apt/sources.list and /etc/apt/sources.list.d, or correct its name"
}

#[cfg(test)]
mod tests {
    use super::explain;

    fn line(said: &str, held: &[&str]) -> String {
        let held: Vec<String> = held.iter().map(|&name| name.to_owned()).collect();
        let (cause, fix) = explain(said, &held);
        format!("{cause}: {fix}")
    }

    #[test]
    fn a_package_that_is_nowhere_is_named() {
        let said = "E: Unable to locate package haproxy\n";
        assert!(line(said, &[]).starts_with("no archive that this machine installs from has the package haproxy: add the suite"));
        let said = "Package haproxy is not available, but is referred to by another package.\nE: Package 'haproxy' has no installation candidate\n";
        assert!(line(said, &[]).contains("the package haproxy: "), "{}", line(said, &[]));
    }

    #[test]
    fn a_package_that_vanished_is_not_a_suite_that_did() {
        let gone = "E: Failed to fetch http://archive/pool/main/h/haproxy.deb  404  Not Found\n";
        assert!(line(gone, &[]).contains("is gone from the archive"));
        let suite = "E: The repository 'http://archive/debian nosuch Release' does not have a Release file.\n";
        let told = line(suite, &[]);
        assert!(told.contains("suite") && told.contains("nosuch") && told.contains("take it out"), "{told}");
        // What apt says for one and the same missing suite.
        assert!(line(&format!("W: 404  Not Found\n{suite}"), &[]).contains("take it out"));
    }

    #[test]
    fn held_packages_are_named() {
        let said = "E: Held packages were changed and -y was used without --allow-change-held-packages.\n";
        let other = "E: Unable to correct problems, you have held broken packages.\n";
        assert!(line(other, &["libllvm22"]).contains("apt-mark unhold libllvm22"));
        assert!(line(said, &["perl-base", "x"]).contains("apt-mark unhold perl-base x"));
    }

    #[test]
    fn without_holds_the_dependency_is_told() {
        let said = " llvm-22-dev : Depends: libllvm22 (= 1:22.1) but 1:22.2 is to be installed\nE: Unable to correct problems, you have held broken packages.\n";
        let told = line(said, &[]);
        assert!(told.contains("libllvm22 (= 1:22.1)") && !told.contains("unhold"), "{told}");
    }

    #[test]
    fn what_is_new_is_passed_on() {
        assert!(line("E: Something else\n", &[]).starts_with("Something else: "));
        assert!(line("", &[]).starts_with("it did not say why: "));
    }
}
