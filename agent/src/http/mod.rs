//! The metrics address: two paths over HTTP/1.1, one request a connection.
//!
//! Whoever connects can do nothing but be answered and counted. A request is its head, at most
//! [`MAX_HEAD`] bytes within [`HEAD_TIME`]; a body is never looked at. There are
//! [`MAX_CONNECTIONS`] at most, and where all are taken the one that has been there longest makes
//! room, so that a crowd that says nothing keeps nobody out. Nothing that is sent is ever written
//! anywhere.
//!
//! `httparse` and what is here are smaller than any server library, most of which would have to be
//! turned off: keep-alive, pipelining, bodies, upgrades.

pub mod listen;
mod request;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::health::Monitor;
use listen::{Listener, Stream};
pub use request::Hosts;
use request::{Method, Path, Request, Status, parse};

/// Connections at once.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of a request line and its header fields.
const MAX_HEAD: usize = 8192;

/// How long a client may take to send them.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// How long it may take to read the answer and to close.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What is read, and thrown away, after the answer: a connection that is closed with something
/// unread is reset, and the answer may be lost with it (RFC 9112, section 9.6).
const MAX_REST: u64 = 1 << 16;

/// How long no connection is accepted after one could not be: descriptors are short, as a rule, and
/// waiting for one must not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// What is answered.
struct Answer {
    status: Status,
    content_type: &'static str,
    body: Bytes,
}

/// Accepts and answers for as long as it is polled.
pub async fn serve(listener: Listener, monitor: Arc<Monitor>, hosts: Hosts) {
    let hosts = Arc::new(hosts);
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(MAX_CONNECTIONS);
    loop {
        let Ok(stream) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            monitor.metrics().dropped("crowded");
        }
        let (monitor, hosts) = (Arc::clone(&monitor), Arc::clone(&hosts));
        let connection = match stream {
            Stream::Tcp(stream) => tokio::spawn(async move { converse(stream, &monitor, &hosts).await }),
            Stream::Unix(stream) => tokio::spawn(async move { converse(stream, &monitor, &hosts).await }),
        };
        open.push_back(connection.abort_handle());
        // A request that is there already is answered before its connection can be the oldest of a
        // crowd.
        tokio::task::yield_now().await;
    }
}

/// One connection.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, monitor: &Monitor, hosts: &Hosts) {
    let request = match timeout(HEAD_TIME, read_head(&mut stream, hosts)).await {
        Ok(Some(request)) => request,
        Ok(None) => return monitor.metrics().dropped("closed"),
        Err(_elapsed) => return monitor.metrics().dropped("slow"),
    };
    let (path, head_only) = match &request {
        Ok(request) => (request.path, request.method == Method::Head),
        Err(_) => (Path::Other, false),
    };
    let answer = match request {
        Ok(request) => answer(&request, monitor).await,
        Err(status) => Answer::plain(status),
    };
    monitor.metrics().request(path.label(), answer.status.code());
    let respond = async {
        stream.write_all(&answer.head()).await?;
        if !head_only {
            stream.write_all(&answer.body).await?;
        }
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(MAX_REST);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // What a client does not want to read it need not.
    let _read_or_not = timeout(ANSWER_TIME, respond).await;
}

/// Reads until the request's head is whole. `None` when the client closed before.
async fn read_head(stream: &mut (impl AsyncRead + Unpin), hosts: &Hosts) -> Option<Result<Request, Status>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        match parse(&head, hosts) {
            Ok(Some(request)) => return Some(Ok(request)),
            Ok(None) if head.len() < MAX_HEAD => {}
            Ok(None) => return Some(Err(Status::HeaderFieldsTooLarge)),
            Err(status) => return Some(Err(status)),
        }
        let room = (MAX_HEAD - head.len()) as u64;
        match stream.take(room).read_buf(&mut head).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
    }
}

async fn answer(request: &Request, monitor: &Monitor) -> Answer {
    match request.path {
        Path::Metrics => {
            let page = monitor.look().await.page(monitor.metrics(), request.exposition);
            Answer { status: Status::Ok, content_type: request.exposition.content_type(), body: page }
        }
        Path::Health => {
            let report = monitor.look().await;
            let status = if report.is_healthy() { Status::Ok } else { Status::ServiceUnavailable };
            Answer { status, content_type: "application/json", body: report.to_json() }
        }
        Path::Other => Answer::plain(Status::NotFound),
    }
}

impl Answer {
    fn plain(status: Status) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: Bytes::from_static(status.hint().as_bytes()) }
    }

    fn head(&self) -> Vec<u8> {
        let allow = if self.status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            self.status.code(),
            self.status.reason(),
            self.content_type,
            self.body.len(),
        )
        .into_bytes()
    }
}
