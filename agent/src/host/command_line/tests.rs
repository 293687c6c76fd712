//! Command lines as operators write them, with a secret in every place that was thought of.

use proptest::prelude::*;

use super::{Detail, show};

const MAX: usize = 4096;

fn minimal(argv: &[&str]) -> String {
    show(Detail::Minimal, argv, MAX)
}

#[test]
fn what_tells_one_process_from_another_is_kept() {
    let cases: &[(&str, &str)] = &[
        ("/usr/sbin/haproxy -W -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid", "haproxy -W -f *** -p ***"),
        ("python3 -u /srv/orders/consumer.py --queue orders --prefetch=10", "python3 -u consumer.py --queue *** --prefetch ***"),
        ("python3.12 -m celery -A proj worker --loglevel=info", "python3.12 -m celery -A *** worker --loglevel ***"),
        ("/usr/bin/python3 /usr/bin/celery worker", "python3 celery worker"),
        (
            "java -Xmx512m -Dx.password=q -cp /a.jar:/b.jar com.example.orders.Main --port 1",
            "java *** -cp *** com.example.orders.Main --port ***",
        ),
        ("java -jar /srv/orders-1.2.jar --spring.profiles.active=prod", "java -jar orders-1.2.jar --spring.profiles.active ***"),
        ("node --require ./tracing.js server.js", "node --require *** server.js"),
        ("ruby bin/rails server -p 3000", "ruby rails server -p ***"),
        ("php artisan.php consume", "php artisan.php consume"),
        ("rabbitmqctl add_user me q", "rabbitmqctl add_user ***"),
        ("docker run -p 5672:5672 rabbitmq:3.13", "docker run -p ***"),
        (
            "/usr/lib/erlang/erts-13.1.5/bin/beam.smp -W w -root /usr/lib/erlang -setcookie ABC -noinput -sname r@h",
            "beam.smp -W *** -root *** -setcookie *** -noinput -sname ***",
        ),
        ("sh -c PGPASSWORD=q", "sh -c ***"),
        ("bash /opt/app/run.sh start", "bash run.sh start"),
        ("nginx: worker process", "nginx: ***"),
        ("-bash", "-bash"),
        ("", ""),
    ];
    for (line, wanted) in cases {
        let argv: Vec<&str> = if *line == "nginx: worker process" { vec![line] } else { line.split(' ').collect() };
        let shown = minimal(&argv);
        assert_eq!(shown, if line.is_empty() { "***" } else { wanted }, "{line}");
    }
    assert_eq!(minimal(&[]), "");
}

/// Command lines that hold a secret where `PW` stands: those that got through a list of what to
/// hide, and others of their kinds.
const SECRETS: &[&str] = &[
    "sshpass -p PW ssh h",
    "sshpass -pPW ssh h",
    "curl -fsSLu u:PW http://h/",
    "curl -u u:PW h",
    "curl --user=u:PW h",
    "curl -uPW h",
    "x --creds PW",
    "x --creds=PW",
    "x --bearer PW",
    "x --bearer=PW",
    "x --key PW",
    "x --pin PW",
    "x --auth PW",
    "x --authorization PW",
    "x <password>PW</password>",
    "x AccountKey=PW",
    "x AccountName=a;AccountKey=PW;End=x",
    "x SharedAccessKey=PW",
    "x amqp://u:PW@h/v",
    "x amqp://u:%50%57PW@h/v",
    "x host=h password=PW",
    "x postgres://u:a b PW@h",
    "x {default_pass,<<\"PW\">>}",
    "erl -rabbit default_pass <<\"PW\">>",
    "erl -setcookie PW",
    "erl -kernel cookie PW",
    "beam.smp -setcookie PW -noinput",
    "beam.smp -eval erlang:set_cookie('PW')",
    "ftp -P PW h",
    "mosquitto_pub -P PW",
    "sqlcmd -P PW",
    "isql -P PW",
    "bcp -P PW",
    "smbclient -U u%PW",
    "mysql -pPW",
    "mysql -p PW db",
    "mysql --password=PW",
    "mongo -p PW",
    "redis-cli -a PW",
    "PGPASSWORD=PW psql",
    "env A=PW x",
    "sh -c echo_PW",
    "bash -c PW",
    "bash -lc PW",
    "python -c PW",
    "python -cPW",
    "perl -e PW",
    "perl -ePW",
    "node -e PW",
    "node --eval PW",
    "node --eval=PW",
    "ruby -ePW",
    "php -r PW",
    "php -d x=PW",
    "java -DPW Main",
    "java -Dp=PW Main",
    "java -Dp=PW -jar a.jar PW",
    "java com.x.Main PW",
    "java -javaagent:/a.jar=PW com.x.Main",
    "python app.py PW",
    "python app.py run PW",
    "rabbitmqctl add_user u PW",
    "rabbitmqctl change_password u PW",
    "rabbitmqctl authenticate_user u PW",
    "rabbitmqadmin -p PW list",
    "x -H X-Token:PW",
    "x -H Authorization: PW",
    "x PW",
    "x -- PW",
    "x - PW",
    "x @PW",
    "x /PW",
    "x ./PW",
    "x a/PW",
    "x PW/b",
    "x PW.py",
    "x --",
    "x -xPW",
    "x --x=PW",
    "x -PW",
    "x +PW",
    "x :PW",
    "x 'PW'",
    "x \"PW\"",
    "x `PW`",
    "x $(PW)",
    "x u:PW@h",
    "x //u:PW@h",
    "x ?token=PW",
    "x &k=PW",
    "vault login PW",
    "vault token PW",
    "kubectl --token PW get",
    "aws configure set aws_secret_access_key PW",
    "openssl enc -k PW",
    "openssl rsa -passin pass:PW",
    "gpg --passphrase PW",
    "7z -pPW x",
    "zip -P PW x",
    "unzip -P PW x",
    "ldapsearch -w PW",
    "wget --http-password=PW",
    "http -a u:PW",
    "xfreerdp /p:PW",
    "rdesktop -p PW",
    "ssh-keygen -N PW",
    "htpasswd -b f u PW",
    "useradd -p PW u",
    "cryptsetup --key PW",
    "restic --password-command PW",
    "telegram --bot=PW",
    "slack -t PW",
    "git clone https://PW@h/r",
    "pika --url amqp://PW@h",
    "app.py --dsn PW",
    "postgres: u PW h",
    "setproctitle [PW]",
    "x\u{a0}PW",
    "x --option\u{3d}PW",
    "x --a=b=PW",
    "docker run -e A=PW i",
    "docker login -p PW",
];

/// Secrets of many kinds: some look like flags, names, files.
const VALUES: &[&str] = &["S3cr3t!xyzzy", "correcthorsebattery", "Zm9vYmFyQUJD", "XYZZY-plugh-42", "p@ss/w0rd:xyz"];

#[test]
fn no_secret_comes_through() {
    for template in SECRETS {
        for value in VALUES {
            let argv: Vec<String> = template.split(' ').map(|word| word.replace("PW", value)).collect();
            let shown = show(Detail::Minimal, &argv, MAX);
            assert!(!shown.contains(value), "{argv:?} gives {shown}");
        }
    }
}

#[test]
fn a_secret_that_begins_with_dashes_is_no_flag_behind_one_that_takes_secrets() {
    for argv in
        [["x", "-p", "--hunter"], ["x", "--password", "--hunter"], ["x", "--api-token", "-h"], ["beam.smp", "-setcookie", "-noinput"]]
    {
        assert!(!minimal(&argv).contains(argv[2]), "{argv:?}");
    }
}

#[test]
fn more_is_a_choice() {
    let argv = ["curl", "-u", "me:q", "http://h/", "a\x1b[2J"];
    assert_eq!(show(Detail::Redacted, &argv, MAX), "curl -u *** http://h/ a\u{fffd}[2J");
    assert_eq!(show(Detail::Full, &argv, MAX), "curl -u me:q http://h/ a\u{fffd}[2J");
    assert_eq!(show(Detail::Full, &argv, 9), "curl -...");
}

proptest! {
    /// Whatever stands behind a program that is no interpreter is a flag's name, a word of the
    /// list, or hidden.
    #[test]
    fn an_operand_is_never_shown(words in prop::collection::vec("[!-~]{1,24}", 0..8)) {
        let argv: Vec<&str> = std::iter::once("x").chain(words.iter().map(String::as_str)).collect();
        for word in minimal(&argv).split(' ').skip(1) {
            let known = word == "***" || super::SUBCOMMANDS.contains(&word) || super::flag(word, &super::PLAIN).is_some();
            prop_assert!(known, "{word:?} of {argv:?}");
        }
    }
}
