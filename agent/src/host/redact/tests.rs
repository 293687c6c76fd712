//! Command lines as operators write them, and passwords of any printable shape in the known places.

use proptest::prelude::*;

use super::*;

const MAX: usize = 4096;

#[test]
fn credentials_are_hidden() {
    let cases: &[(&[&str], &str)] = &[
        (&["pika", "amqp://user:pass@host:5672/prod"], "pika amqp://***@host:5672/prod"),
        (&["x", "amqp://u:p@a,amqps://v:q@b"], "x amqp://***@b"),
        (&["x", "amqp://u:p@ss/w@host/v"], "x amqp://***@host/v"),
        (&["x", "--broker=guest:guest@host"], "x --broker=***@host"),
        (&["x", "user:a://b@host"], "x ***@host"),
        (&["x", "https://h/?password=a@b"], "x https://***"),
        (&["x", "--password", "hunter2", "-v"], "x --password *** -v"),
        (&["x", "--password=hunter2 and more"], "x --password=***"),
        (&["env", "RABBITMQ_DEFAULT_PASS=a b", "x"], "env RABBITMQ_DEFAULT_PASS=*** x"),
        (&["java", "-Dspring.rabbitmq.password=q", "App"], "java -Dspring.rabbitmq.password=*** App"),
        (&["java", "-DbrokerPass=q", "App"], "java -DbrokerPass=*** App"),
        (&["vault", "--token", "t0"], "vault --token ***"),
        (&["x", "--client-secret", "t0"], "x --client-secret ***"),
        (&["x", "--api-key=t0"], "x --api-key=***"),
        (&["erl", "-sname", "a", "-setcookie", "ABCDEF", "-s", "m"], "erl -sname a -setcookie *** -s m"),
        (&["erl", "-kernel", "inetrc", "f", "cookie", "ABCDEF"], "erl -kernel inetrc f cookie ***"),
        (&["erl", "-rabbit", "default_pass", "<<\"q\">>"], "erl -rabbit default_pass ***"),
        (&["erl", "-eval", "erlang:set_cookie(node(), abc)."], "erl -eval erlang:set_cookie(***"),
        (&["erl", "-rabbit", "[{default_pass, <<\"q\">>}]"], "erl -rabbit [{default_pass,***"),
        (&["x", "{\"user\":\"a\", \"password\" : \"q\"}"], "x {\"user\":\"a\", \"password\"***"),
        (&["curl", "-H", "Authorization: Basic cTpx", "u"], "curl -H Authorization:*** u"),
        (&["curl", "-su", "me:q", "http://h/"], "curl -su *** http://h/"),
        (&["curl", "-ume:q", "http://h/"], "curl -u*** http://h/"),
        (&["mysql", "-uroot", "-pq", "db"], "mysql -uroot -p*** db"),
        (&["python3", "/usr/bin/rabbitmqadmin", "-u", "a", "-p", "q"], "python3 /usr/bin/rabbitmqadmin -u a -p ***"),
        (&["rabbitmqctl", "-n", "r@h", "change_password", "a", "q"], "rabbitmqctl -n r@h change_password *** ***"),
        (&["sh", "-c", "PGPASSWORD=q psql -h db"], "sh -c PGPASSWORD=***"),
        (&["sh", "-c", "mysql -pq db", "x"], "sh -c mysql -p*** x"),
        (&["postgres: token", "q"], "postgres: token ***"),
        (&["x", "password:", "q"], "x password: ***"),
    ];
    for (argv, wanted) in cases {
        assert_eq!(command_line(argv, MAX), *wanted, "{argv:?}");
    }
}

#[test]
fn the_rest_is_kept() {
    let cases: &[&[&str]] = &[
        &[
            "/usr/lib/erlang/erts-13.1.5/bin/beam.smp",
            "-W",
            "w",
            "-MBas",
            "ageffcbf",
            "-P",
            "1048576",
            "-t",
            "5000000",
            "-sbwt",
            "none",
            "--",
            "-root",
            "/usr/lib/erlang",
            "-progname",
            "erl",
            "--",
            "-home",
            "/var/lib/rabbitmq",
            "--",
            "-pa",
            "-noshell",
            "-noinput",
            "-s",
            "rabbit",
            "boot",
            "-boot",
            "start_sasl",
            "-sname",
            "rabbit@node1",
            "-kernel",
            "prevent_overlapping_partitions",
            "false",
        ],
        &["haproxy", "-Ws", "-f", "/etc/haproxy/haproxy.cfg", "-p", "/run/haproxy.pid", "-S", "/run/master.sock"],
        &["docker", "run", "-p", "5672:5672", "rabbitmq:3.13"],
        &["curl", "-s", "http://host:15672/api/overview"],
        &["cat", "/run/secrets/cert.pem"],
        &["nginx: worker process", "", ""],
        &["rabbitmqctl", "list_connections", "-p", "prod"],
    ];
    for argv in cases {
        assert_eq!(command_line(argv, MAX), argv.join(" "));
    }
}

#[test]
fn control_characters_are_replaced() {
    assert_eq!(command_line(&["a\x1b[2J", "b\nc"], MAX), "a\u{fffd}[2J b\u{fffd}c");
}

#[test]
fn long_lines_are_cut_at_a_character() {
    assert_eq!(command_line(&["ééééé"], 8), "éé...");
    assert_eq!(command_line(&["ééééé"], 10), "ééééé");
    assert_eq!(command_line(&["ééééé"], 2), "..");
}

/// Arguments with the password in one of the places that are known to hold one.
fn shapes(password: &str) -> Vec<Vec<String>> {
    let texts: [&[&str]; 18] = [
        &["x", "amqp://user:PW@host/v"],
        &["x", "--uri=amqps://user:PW@host/v", "-v"],
        &["x", "--uri", "user:PW@host"],
        &["sh", "-c", "run amqp://user:PW@host/v && true"],
        &["x", "https://host/?password=PW"],
        &["x", "--password", "PW", "-v"],
        &["x", "--password=PW", "-v"],
        &["x", "--client-secret=PW"],
        &["x", "--token", "PW"],
        &["BROKER_PASSWORD=PW", "x"],
        &["erl", "-setcookie", "PW"],
        &["erl", "-kernel", "cookie", "PW"],
        &["erl", "-rabbit", "[{default_pass,<<\"PW\">>}]"],
        &["x", "{\"password\": \"PW\"}"],
        &["sh", "-c", "x --password PW --verbose"],
        &["mysql", "-pPW"],
        &["curl", "-u", "user:PW", "host"],
        &["rabbitmqctl", "add_user", "user", "PW"],
    ];
    texts.iter().map(|argv| argv.iter().map(|word| word.replace("PW", password)).collect()).collect()
}

proptest! {
    /// Not only the password: no four characters of it survive either.
    #[test]
    fn a_password_never_survives(password in "[!-~]{4,24}") {
        for (argv, outline) in shapes(&password).iter().zip(shapes("")) {
            let outline = outline.join(" ");
            // The mask and what stands beside it could look like part of a password with asterisks
            // in it.
            let shown = command_line(argv, MAX).replace(MASK, "\0");
            for part in password.as_bytes().windows(4) {
                let part = String::from_utf8_lossy(part);
                let elsewhere = outline.contains(&*part);
                prop_assert!(elsewhere || !shown.contains(&*part), "{part} of {password} in {shown}");
            }
        }
    }

    /// Where the argument is the value and nothing else, blanks and any other character change
    /// nothing.
    #[test]
    fn a_whole_argument_is_hidden(password in "\\PC{1,24}") {
        prop_assert_eq!(command_line(&["x", "--password", &password], MAX), "x --password ***");
    }

    #[test]
    fn any_argument_is_bounded(argv in prop::collection::vec("\\PC{0,40}", 0..6), max in 0_usize..64) {
        prop_assert!(command_line(&argv, max).len() <= max);
    }
}
