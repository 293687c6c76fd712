//! What of a command line is shown. Pure.
//!
//! A list of what to hide can never be complete: a secret may stand behind any flag, in any
//! operand, in a title that a program writes over its arguments. So by default only what cannot be
//! one is shown: the name of the program; the script, module or class that an interpreter runs; a
//! subcommand out of a list of common ones; names of flags, never their values. All else is one
//! mask.

use super::redact::{self, MASK};
use crate::text::clean;

/// How much of a command line is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Detail {
    /// Only what cannot be a secret.
    #[default]
    Minimal,
    /// All but what is known to be a secret: a secret that is not known to be one is shown.
    Redacted,
    /// All of it.
    Full,
}

impl Detail {
    /// The words by which it is chosen.
    pub const NAMES: [&'static str; 3] = ["minimal", "redacted", "full"];
}

/// The arguments as one line of at most `max_bytes`, without control characters.
pub fn show<S: AsRef<str>>(detail: Detail, argv: &[S], max_bytes: usize) -> String {
    match detail {
        Detail::Minimal => redact::bounded(minimal(argv), max_bytes),
        Detail::Redacted => redact::command_line(argv, max_bytes),
        Detail::Full => {
            let argv: Vec<_> = argv.iter().map(|argument| clean(argument.as_ref())).collect();
            redact::bounded(argv.join(" "), max_bytes)
        }
    }
}

/// A program that runs what another file holds, and what has to be known of its arguments to find
/// that one.
struct Interpreter {
    /// Beginnings of its names: a version may follow.
    names: &'static [&'static str],
    /// Flags that take the next argument.
    valued: &'static [&'static str],
    /// Flags whose value is the program text, after which nothing is looked for.
    code: &'static [&'static str],
    /// Flags whose value is the name of a module, a class or an archive, which is what is run.
    module: &'static [&'static str],
    /// Flags of more than one letter behind one dash.
    long: &'static [&'static str],
    /// Whether an operand may be the name of a class.
    classes: bool,
}

const PLAIN: Interpreter = Interpreter { names: &[], valued: &[], code: &[], module: &[], long: &[], classes: false };

const INTERPRETERS: &[Interpreter] = &[
    Interpreter { names: &["python", "pypy"], valued: &["-W", "-X"], code: &["-c"], module: &["-m"], ..PLAIN },
    Interpreter { names: &["ruby", "jruby"], valued: &["-I", "-r", "-E", "-C"], code: &["-e"], ..PLAIN },
    Interpreter { names: &["perl"], valued: &["-I"], code: &["-e", "-E"], ..PLAIN },
    Interpreter {
        names: &["node", "nodejs", "bun", "deno"],
        valued: &["-r", "--require", "--import", "--loader"],
        code: &["-e", "-p", "--eval", "--print"],
        ..PLAIN
    },
    Interpreter { names: &["php"], valued: &["-c", "-d"], code: &["-r", "-B", "-R", "-E"], ..PLAIN },
    Interpreter { names: &["sh", "bash", "dash", "ash", "zsh", "ksh"], valued: &["-o", "-O"], code: &["-c"], ..PLAIN },
    Interpreter { names: &["lua", "luajit"], valued: &["-l"], code: &["-e"], ..PLAIN },
    Interpreter { names: &["escript", "elixir"], valued: &["-pa", "-pz", "-r"], code: &["-e"], long: &["-pa", "-pz"], ..PLAIN },
    Interpreter { names: &["dotnet", "mono"], ..PLAIN },
    Interpreter {
        names: &["java"],
        valued: &[
            "-cp",
            "-classpath",
            "--class-path",
            "-p",
            "--module-path",
            "--add-modules",
            "--add-opens",
            "--add-exports",
            "--add-reads",
            "--upgrade-module-path",
            "--limit-modules",
            "--enable-native-access",
        ],
        module: &["-jar", "-m", "--module"],
        long: &["-jar", "-cp", "-classpath", "-server", "-client"],
        classes: true,
        ..PLAIN
    },
    Interpreter {
        names: &["beam.smp", "beam", "erl", "erlexec"],
        long: &[
            "-args_file",
            "-boot",
            "-boot_var",
            "-config",
            "-detached",
            "-env",
            "-eval",
            "-extra",
            "-heart",
            "-hidden",
            "-home",
            "-init_debug",
            "-kernel",
            "-mode",
            "-mnesia",
            "-name",
            "-noinput",
            "-noshell",
            "-os_mon",
            "-pa",
            "-progname",
            "-proto_dist",
            "-pz",
            "-rabbit",
            "-rabbitmq_management",
            "-root",
            "-run",
            "-sasl",
            "-setcookie",
            "-sname",
            "-ssl",
            "-ssl_dist_opt",
            "-ssl_dist_optfile",
            "-syslog",
        ],
        ..PLAIN
    },
];

/// Subcommands of many programs. Each is a word of a dictionary and what people call commands: one
/// who has such a word for a secret has none.
const SUBCOMMANDS: &[&str] = &[
    "add_user",
    "agent",
    "api",
    "apply",
    "authenticate_user",
    "beat",
    "celery",
    "change_password",
    "check",
    "cluster_status",
    "connect",
    "console",
    "consume",
    "consumer",
    "controller",
    "create",
    "daemon",
    "declare",
    "delete",
    "dev",
    "dispatch",
    "eval",
    "exec",
    "export",
    "flower",
    "foreground",
    "get",
    "import",
    "init",
    "install",
    "list",
    "list_channels",
    "list_connections",
    "list_queues",
    "list_users",
    "listen",
    "logs",
    "master",
    "migrate",
    "monitor",
    "ping",
    "produce",
    "producer",
    "proxy",
    "publish",
    "publisher",
    "receive",
    "relay",
    "reload",
    "restart",
    "run",
    "runserver",
    "scheduler",
    "send",
    "serve",
    "server",
    "set_permissions",
    "shell",
    "start",
    "status",
    "stop",
    "subscribe",
    "supervisor",
    "sync",
    "test",
    "version",
    "watch",
    "web",
    "webserver",
    "worker",
    "workers",
];

/// Extensions of files that interpreters run.
const EXTENSIONS: &[&str] = &[
    "py", "pyc", "pyz", "rb", "pl", "js", "mjs", "cjs", "ts", "php", "phar", "sh", "bash", "lua", "exs", "ex", "escript", "dll", "exe",
    "jar", "war",
];

/// Flags of one letter that often take a secret: what follows is one, even if it begins with a
/// dash.
const SECRETIVE: &[&str] = &["-a", "-k", "-p", "-P", "-u", "-U", "-w"];

/// Longest name that is shown, bytes.
const NAME: usize = 64;

fn minimal<S: AsRef<str>>(argv: &[S]) -> String {
    let Some((first, rest)) = argv.split_first() else { return String::new() };
    // Some programs write all they have to say of themselves over this one.
    let mut words = first.as_ref().split_whitespace();
    let program = base(words.next().unwrap_or_default());
    let mut line = Line(String::new());
    if is_name(program.trim_end_matches(':').trim_start_matches('-')) {
        line.show(program);
    } else {
        line.hide();
    }
    if words.next().is_some() {
        line.hide();
    }
    let interpreter = interpreter(program.trim_start_matches('-'));
    let mut seeks = interpreter.is_some();
    let interpreter = interpreter.unwrap_or(&PLAIN);
    // Whether a subcommand may come.
    let mut commands = true;
    let mut before = Before::Nothing;
    for argument in rest {
        let argument = argument.as_ref();
        let hidden = match before {
            Before::Module if seeks => {
                seeks = false;
                before = Before::Nothing;
                let named = base(argument);
                if is_name(named) {
                    line.show(named);
                } else {
                    line.hide();
                }
                continue;
            }
            Before::Value | Before::Module => true,
            Before::Nothing | Before::Flag => false,
        };
        if hidden {
            before = Before::Nothing;
            line.hide();
            continue;
        }
        if let Some((flag, valued)) = flag(argument, if seeks || !interpreter.classes { interpreter } else { &PLAIN }) {
            line.show(flag);
            if valued {
                line.hide();
            }
            before = match flag {
                _ if valued => Before::Nothing,
                _ if seeks && interpreter.code.contains(&flag) => {
                    seeks = false;
                    Before::Value
                }
                _ if seeks && interpreter.module.contains(&flag) => Before::Module,
                _ if seeks && interpreter.valued.contains(&flag) => Before::Value,
                _ if redact::is_secret_name(flag) || (!seeks && SECRETIVE.contains(&flag)) => Before::Value,
                // An interpreter's own flags are known; of others it is not known whether they take
                // a value.
                _ if seeks && flag.len() == 2 => Before::Nothing,
                _ => Before::Flag,
            };
            continue;
        }
        let named = base(argument);
        if before == Before::Nothing && seeks && (is_script(argument) || (interpreter.classes && is_class(argument))) {
            seeks = false;
            line.show(named);
        } else if before == Before::Nothing && commands && SUBCOMMANDS.contains(&argument) {
            commands = false;
            line.show(argument);
        } else {
            line.hide();
        }
        before = Before::Nothing;
    }
    line.0
}

/// What the arguments so far say of the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A flag that may take a value.
    Flag,
    /// A flag that takes one.
    Value,
    /// A flag that takes the name of what is run.
    Module,
}

/// The line so far.
struct Line(String);

impl Line {
    fn show(&mut self, word: &str) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(word);
    }

    /// However many are hidden in a row, and how long they are, is nobody's business.
    fn hide(&mut self) {
        if self.0 != MASK && !self.0.ends_with(" ***") {
            self.show(MASK);
        }
    }
}

fn interpreter(program: &str) -> Option<&'static Interpreter> {
    let versioned = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    INTERPRETERS.iter().find(|known| known.names.iter().any(|name| program.strip_prefix(name).is_some_and(versioned)))
}

/// The name of a flag, and whether a value is attached to it; `None` for what may be anything.
fn flag<'a>(argument: &'a str, interpreter: &Interpreter) -> Option<(&'a str, bool)> {
    let (name, valued) = argument.split_once('=').map_or((argument, false), |(name, _)| (name, true));
    if let Some(long) = name.strip_prefix("--") {
        let part = |part: &str| (1..=20).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase());
        let digits = |b: u8| b.is_ascii_digit();
        let named = long.len() <= NAME
            && long.starts_with(|c: char| c.is_ascii_lowercase())
            && long.split(['-', '_', '.']).all(|word| {
                part(word) || part(word.trim_end_matches(|c: char| c.is_ascii_digit())) && word.bytes().filter(|b| digits(*b)).count() <= 2
            });
        return named.then_some((name, valued));
    }
    let letter = name.len() == 2 && name.starts_with('-') && name.bytes().skip(1).all(|b| b.is_ascii_alphabetic());
    // `-x=VALUE` of one letter is what Go's flag package takes.
    (letter || interpreter.long.contains(&name)).then_some((name, valued))
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or_default()
}

fn is_name(name: &str) -> bool {
    (1..=NAME).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b)) && !name.starts_with('-')
}

/// Whether an operand is the name of a file that an interpreter runs: by its extension, or by the
/// directory it lies in.
fn is_script(argument: &str) -> bool {
    let named = base(argument);
    let extension = named.rsplit_once('.').map(|(_, extension)| extension);
    let parts = || argument.split('/').all(|part| part.is_empty() || is_name(part));
    is_name(named) && parts() && (extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) || lies_in_bin(argument))
}

/// A path such as `/usr/bin/celery` or `bin/rails`.
fn lies_in_bin(argument: &str) -> bool {
    argument
        .rsplit_once('/')
        .is_some_and(|(directory, _)| matches!(base(directory), "bin" | "sbin" | "libexec" | "scripts" | "script" | "exe"))
}

/// `com.example.Main`: lower-case packages, then a class.
fn is_class(argument: &str) -> bool {
    let package = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let class = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_uppercase()) && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$'))
    };
    argument.len() <= 2 * NAME && argument.rsplit_once('.').is_some_and(|(packages, last)| class(last) && packages.split('.').all(package))
}

#[cfg(test)]
mod tests;
