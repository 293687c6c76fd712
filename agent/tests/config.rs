//! `rstblame config` and `rstblame daemon --check-config` as an operator meets them: one line, the
//! right exit code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn rstblame(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rstblame")).args(arguments).arg("--config").arg(file).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_example_is_valid_and_prints_as_a_valid_file() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/rstblame.toml");
    let checked = rstblame(&["daemon", "--check-config"], &example);
    assert!(checked.status.success(), "{checked:?}");
    assert_eq!(text(&checked.stdout).lines().count(), 1);

    let printed = rstblame(&["config"], &example);
    assert!(printed.status.success(), "{printed:?}");
    let directory = tempfile::tempdir().unwrap();
    let again = directory.path().join("again.toml");
    fs::write(&again, &printed.stdout).unwrap();
    assert_eq!(text(&rstblame(&["config"], &again).stdout), text(&printed.stdout));
}

#[test]
fn what_is_wrong_is_one_line_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    fs::write(&file, "settle = \"1s\"\n\n[filter]\nprot = [5672]\n").unwrap();
    let missing = directory.path().join("missing.toml");
    for arguments in [&["daemon"] as &[&str], &["daemon", "--check-config"], &["config"]] {
        let refused = rstblame(arguments, &file);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let expected = format!("rstblame: {}:4: unknown key \"prot\" in [filter]; did you mean ports?\n", file.display());
        assert_eq!((text(&refused.stderr), text(&refused.stdout)), (expected, String::new()), "{arguments:?}");
        let unread = rstblame(arguments, &missing);
        assert_eq!(unread.status.code(), Some(2), "{arguments:?}");
        assert!(text(&unread.stderr).contains("missing.toml") && text(&unread.stderr).lines().count() == 1, "{unread:?}");
    }
}
