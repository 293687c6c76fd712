//! Names and command lines that others chose: whatever the bytes are, what is shown of them ends no
//! line and moves no cursor, and a command line shows nothing but what cannot be a secret.

use rstblame::{
    host::{
        cgroup,
        command_line::{Detail, show},
    },
    text::{clean, clean_bytes, is_unsafe},
};

/// Bytes that are shown at most.
const LONGEST: usize = 512;

pub fn holds(data: &[u8]) {
    let text = clean_bytes(data);
    assert!(!text.chars().any(is_unsafe), "{text:?}");
    assert_eq!(clean(&text), text, "once is enough");
    let lossy = String::from_utf8_lossy(data);
    let argv: Vec<&str> = lossy.split('\0').collect();
    for detail in [Detail::Minimal, Detail::Redacted, Detail::Full] {
        let shown = show(detail, &argv, LONGEST);
        assert!(shown.len() <= LONGEST && !shown.chars().any(is_unsafe), "{detail:?} {shown:?}");
    }
    // Nothing that is shown has a value in it.
    let minimal = show(Detail::Minimal, &argv, usize::MAX);
    assert!(minimal.split(' ').skip(1).all(|word| !word.contains(['=', '@', '/', '%', '"', '\'', '<'])), "{minimal:?} of {argv:?}");
    if let Some(facts) = cgroup::parse(&lossy) {
        let names = [Some(facts.path), facts.systemd_unit, facts.systemd_user_unit, facts.k8s_pod_uid, facts.container.map(|it| it.id)];
        assert!(!names.iter().flatten().any(|name| name.chars().any(is_unsafe)), "{names:?}");
    }
}
