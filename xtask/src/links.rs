//! Comments that cite the kernel: what they cite is a link, and the link is to a release, so that it goes on saying what it said.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    workspace::Workspace,
};

/// Where the kernel's sources are read, and what follows when the link is to a release or a commit.
const SOURCES: [(&str, &[&str]); 3] = [
    ("github.com/torvalds/linux/", &["blob/v", "tree/v", "commit/"]),
    ("elixir.bootlin.com/linux/", &["v"]),
    (
        "git.kernel.org/",
        &["pub/scm/linux/kernel/git/torvalds/linux.git/tree/?h=v", "pub/scm/linux/kernel/git/torvalds/linux.git/commit/?id="],
    ),
];

/// The folders of the kernel's sources that comments cite files of.
const FOLDERS: [&str; 8] = ["net/", "include/", "kernel/", "fs/", "mm/", "drivers/", "arch/", "security/"];

/// Looks at all comments of the workspace.
///
/// # Errors
///
/// [`Error::Links`] with every line that does not keep to it.
pub fn check(workspace: &Workspace) -> Result<()> {
    let mut found = Vec::new();
    for folder in ["agent", "agent-ebpf", "tests", "xtask"] {
        let mut files = Vec::new();
        collect(&workspace.root.join(folder), &mut files)?;
        files.sort();
        for path in files {
            let text = fs::read_to_string(&path).map_err(|source| Error::File { path: path.clone(), source })?;
            let name = path.strip_prefix(&workspace.root).unwrap_or(&path).display();
            for (number, line) in (1..).zip(text.lines()) {
                found.extend(objection(line).map(|objection| format!("{name}:{number}: {objection}")));
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(Error::Links(found.join("\n"))) }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|source| Error::File { path: folder.to_owned(), source })?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// What is wrong with a line, if it is a comment.
fn objection(line: &str) -> Option<&'static str> {
    let comment = line.trim_start().strip_prefix("//")?;
    for (source, releases) in SOURCES {
        for (at, _) in comment.match_indices(source) {
            let rest = comment.get(at + source.len()..).unwrap_or_default();
            if !releases.iter().any(|release| rest.starts_with(release)) {
                return Some(
                    "a link to the kernel's sources that is not to a release (`blob/v6.12/...`): it will say something else one day",
                );
            }
        }
    }
    let cited = comment.split([' ', '(', '`', ',', ';']).any(|word| {
        let file = word.trim_end_matches(['.', ')', '`', ':']);
        // The text of a link is followed by where it leads.
        FOLDERS.iter().any(|folder| file.starts_with(folder))
            && matches!(file.rsplit_once('.'), Some((_, "c" | "h")))
            && !comment.contains(&format!("/{file}"))
    });
    cited.then_some("a file of the kernel's without a link to it in a release (https://github.com/torvalds/linux/blob/v6.12/...)")
}

#[cfg(test)]
mod tests {
    use super::objection;

    #[test]
    fn links_are_to_releases() {
        let link = |place: &str| format!("    /// See <https://github.com/torvalds/linux/{place}/net/ipv4/tcp.c#L2800>.");
        assert_eq!(objection(&link("blob/v6.12")), None);
        assert!(objection(&link("blob/master")).is_some());
        assert!(objection("// https://elixir.bootlin.com/linux/latest/source/net/ipv4/tcp.c").is_some());
        assert_eq!(objection("let url = \"https://github.com/torvalds/linux/blob/master/x\";"), None);
    }

    #[test]
    fn a_file_is_cited_by_link() {
        assert!(objection("/// `PF_EXITING` (include/linux/sched.h): on its way out.").is_some());
        assert!(objection("// As in `net/ipv4/tcp.c`.").is_some());
        assert_eq!(objection("// As in agent/src/net/tcp.rs, and include/ too."), None);
    }
}
