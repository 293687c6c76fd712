#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    net::UnixStream,
    time::Instant,
};

use super::{
    ANSWER_TIME, HEAD_TIME, Hosts, MAX_CONNECTIONS, MAX_HEAD, converse,
    listen::{Address, Listener},
    serve,
};
use crate::{
    health::{Answer, Monitor, Way},
    metrics::{Exposition, Limits, Metrics, Snapshot},
};

/// A monitor whose session answers at once.
fn monitor() -> Arc<Monitor> {
    let (metrics, _) = Metrics::new(Limits { peers: 2, middleboxes: 2 });
    let (monitor, mut questions) = Monitor::new(Arc::new(metrics));
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            question.answer(Answer { snapshot: Snapshot::default(), way: Way::Open });
        }
    });
    Arc::new(monitor)
}

fn anything() -> Hosts {
    Hosts { any: true, names: Vec::new() }
}

/// What one client gets for these bytes.
async fn ask(monitor: &Monitor, request: &[u8]) -> String {
    let (mut client, server) = duplex(MAX_HEAD);
    let hosts = anything();
    let asking = async move {
        // A server that has seen enough closes before it has read all.
        let _ = client.write_all(request).await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::join!(converse(server, monitor, &hosts), asking).1
}

fn counted(monitor: &Monitor, series: &str) -> bool {
    monitor.metrics().encode(Exposition::Prometheus).unwrap().lines().any(|line| line == series)
}

#[tokio::test(start_paused = true)]
async fn each_request_gets_its_answer() {
    let monitor = monitor();
    for (request, status, has) in [
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "\nrstblame_resets_seen_total 0\n"),
        ("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n", "200 OK", "\n# EOF\n"),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "{\"status\":\"ok\",\"dead\":[],"),
        ("GET /favicon.ico HTTP/1.0\r\n\r\n", "404 Not Found", "there are /metrics and /healthz"),
        ("DELETE /metrics HTTP/1.0\r\n\r\n", "405 Method Not Allowed", "Allow: GET, HEAD"),
        ("\u{16}\u{3}\u{1}", "400 Bad Request", "no HTTP/1.1 request"),
    ] {
        let answer = ask(&monitor, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.contains(has), "{request:?} gives {answer:?}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        assert!(head.ends_with("\r\nConnection: close"), "{head}");
    }
    assert!(counted(&monitor, "rstblame_http_requests_total{path=\"/metrics\",code=\"200\"} 2"));
    assert!(counted(&monitor, "rstblame_http_requests_total{path=\"other\",code=\"404\"} 1"));
    assert!(counted(&monitor, "rstblame_http_requests_total{path=\"other\",code=\"400\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn head_is_get_without_a_body() {
    let monitor = monitor();
    let answer = ask(&monitor, b"HEAD /healthz HTTP/1.0\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("200 OK") && !head.contains("Content-Length: 0\r\n") && body.is_empty(), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_head_without_end_is_refused_at_its_limit() {
    let monitor = monitor();
    let request = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
    let answer = ask(&monitor, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_sends_slowly_or_does_not_read_is_let_go() {
    let monitor = monitor();
    let (mut client, server) = duplex(16);
    let began = Instant::now();
    client.write_all(b"GET /metrics HT").await.unwrap();
    converse(server, &monitor, &anything()).await;
    assert_eq!(began.elapsed().as_secs(), HEAD_TIME.as_secs());
    assert!(counted(&monitor, "rstblame_http_connections_dropped_total{reason=\"slow\"} 1"));

    // The answer finds no room, and the client keeps its end.
    let (client, server) = duplex(64);
    let mut client: DuplexStream = client;
    client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let began = Instant::now();
    converse(server, &monitor, &anything()).await;
    assert_eq!(began.elapsed().as_secs(), ANSWER_TIME.as_secs());

    let (client, server) = duplex(64);
    drop(client);
    converse(server, &monitor, &anything()).await;
    assert!(counted(&monitor, "rstblame_http_connections_dropped_total{reason=\"closed\"} 1"));
}

async fn get(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_silent_crowd_keeps_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.sock");
    let monitor = monitor();
    let server = tokio::spawn(serve(Listener::bind(&Address::Unix(path.clone())).unwrap(), Arc::clone(&monitor), anything()));
    let mut crowd = Vec::new();
    for _ in 0..3 * MAX_CONNECTIONS {
        crowd.push(UnixStream::connect(&path).await.unwrap());
    }
    assert!(get(&path).await.starts_with("HTTP/1.1 200 OK\r\n"));
    // All of the crowd are accepted before it, and those that found no room have made some.
    let dropped = 2 * MAX_CONNECTIONS + 1;
    assert!(counted(&monitor, &format!("rstblame_http_connections_dropped_total{{reason=\"crowded\"}} {dropped}")));
    server.abort();
}

#[tokio::test]
async fn the_socket_is_for_the_group_and_that_of_a_dead_agent_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.sock");
    let address = Address::Unix(path.clone());
    // What an agent that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::bind(&address).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let error = Listener::bind(&address).map(drop).unwrap_err().to_string();
    assert!(error.contains("in use") && error.contains("metrics.sock"), "a living one keeps it: {error}");
    drop(listener);
    assert!(!path.exists());
    // What is no socket is nobody's to remove.
    std::fs::write(&path, "").unwrap();
    assert!(Listener::bind(&address).is_err() && path.exists());
}
