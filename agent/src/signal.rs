//! Signals by name.

/// The names of the signals below the real-time ones, from 1 (signal(7), x86 and most others).
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The name of a signal, or its number with `SIG` before it.
pub fn name(number: u8) -> String {
    usize::from(number).checked_sub(1).and_then(|index| NAMES.get(index)).map_or_else(|| format!("SIG{number}"), |name| (*name).to_owned())
}

/// Whether a signal stands for a crash, and not for somebody's wish: ILL, TRAP, ABRT, BUS, FPE,
/// SEGV, SYS.
pub const fn is_crash(number: u8) -> bool {
    matches!(number, 4..=8 | 11 | 31)
}

#[cfg(test)]
mod tests {
    use super::{is_crash, name};

    #[test]
    fn names_are_those_of_signal_7() {
        let names: Vec<_> = [0, 1, 9, 11, 15, 31, 32, 64].into_iter().map(name).collect();
        assert_eq!(names, ["SIG0", "SIGHUP", "SIGKILL", "SIGSEGV", "SIGTERM", "SIGSYS", "SIG32", "SIG64"]);
        let number = |signal: i32| u8::try_from(signal).unwrap_or_default();
        assert!(is_crash(number(libc::SIGSEGV)) && is_crash(number(libc::SIGABRT)) && !is_crash(number(libc::SIGKILL)));
    }
}
