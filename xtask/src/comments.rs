//! Comments: none is wider than can be read side by side with another, and what one cites of the
//! kernel is a link, to a release, so that it goes on saying what it said.

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

/// Columns that a comment may take. Code has more (rustfmt.toml).
const WIDTH: usize = 100;

/// Looks at all comments of the workspace.
///
/// # Errors
///
/// [`Error::Comments`] with every line that does not keep to it.
pub fn check(workspace: &Workspace) -> Result<()> {
    let mut found = Vec::new();
    for folder in ["agent", "agent-ebpf", "tests", "xtask"] {
        let mut files = Vec::new();
        collect(&workspace.root.join(folder), &mut files)?;
        files.sort();
        for path in files {
            let text = fs::read_to_string(&path).map_err(|source| Error::File { path: path.clone(), source })?;
            let name = path.strip_prefix(&workspace.root).unwrap_or(&path).display();
            let mut example = false;
            for (number, line) in (1..).zip(text.lines()) {
                example ^= is_fence(line);
                let wide = (!example && is_wide(line)).then_some("a comment wider than 100 columns");
                found.extend(wide.into_iter().chain(objection(line)).map(|objection| format!("{name}:{number}: {objection}")));
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(Error::Comments(found.join("\n"))) }
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

/// Whether a line begins or ends an example within a comment.
fn is_fence(line: &str) -> bool {
    comment(line).is_some_and(|comment| comment.trim_start().starts_with("```"))
}

/// Whether a line is a comment that is too wide and need not be: one long word cannot be parted.
fn is_wide(line: &str) -> bool {
    line.chars().count() > WIDTH && comment(line).is_some_and(|comment| comment.trim().contains(' '))
}

/// The text of a line that is nothing but a comment.
fn comment(line: &str) -> Option<&str> {
    Some(line.trim_start().strip_prefix("//")?.trim_start_matches(['/', '!']))
}

/// What is wrong with a link in a line, if it is a comment.
fn objection(line: &str) -> Option<&'static str> {
    let comment = comment(line)?;
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
    use super::{is_fence, is_wide, objection};

    #[test]
    fn comments_are_no_wider_than_100_columns() {
        let of = |indent: usize, words: &str| format!("{}/// {words}", " ".repeat(indent));
        assert!(!is_wide(&of(4, &"1234 ".repeat(18))));
        assert!(is_wide(&of(4, &"1234 ".repeat(20))));
        assert!(is_wide(&of(0, &"äöüß ".repeat(20))) && !is_wide(&of(0, &"äöüß ".repeat(19))));
        assert!(!is_wide(&of(0, &format!("<https://example.com/{}>", "long/".repeat(30)))), "a word");
        assert!(!is_wide(&format!("let code = {:?};", "1234 ".repeat(30))), "code");
        assert!(is_fence("    /// ```text") && is_fence("//! ```") && !is_fence("let fence = \"```\";"));
    }

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
