//! The head of a request.

use crate::metrics::Exposition;

/// Header fields of one request: more are refused.
const MAX_FIELDS: usize = 64;

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Metrics,
    Health,
    Other,
}

impl Path {
    /// What its requests are counted under.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Metrics => "/metrics",
            Self::Health => "/healthz",
            Self::Other => "other",
        }
    }
}

/// Status codes that are answered (RFC 9110, section 15; RFC 6585, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Ok,
    BadRequest,
    Misdirected,
    NotFound,
    MethodNotAllowed,
    HeaderFieldsTooLarge,
    ServiceUnavailable,
}

impl Status {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ok => "200",
            Self::BadRequest => "400",
            Self::Misdirected => "421",
            Self::NotFound => "404",
            Self::MethodNotAllowed => "405",
            Self::HeaderFieldsTooLarge => "431",
            Self::ServiceUnavailable => "503",
        }
    }

    pub const fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::BadRequest => "Bad Request",
            Self::Misdirected => "Misdirected Request",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::HeaderFieldsTooLarge => "Request Header Fields Too Large",
            Self::ServiceUnavailable => "Service Unavailable",
        }
    }

    /// The body that goes with it, where there is none of its own.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Ok | Self::ServiceUnavailable => "",
            Self::BadRequest => "this is no HTTP/1.1 request\n",
            Self::Misdirected => "the Host field names another host; give an address, localhost, or a name of `hosts` in [metrics]\n",
            Self::NotFound => "there are /metrics and /healthz\n",
            Self::MethodNotAllowed => "there are GET and HEAD\n",
            Self::HeaderFieldsTooLarge => "the request is too large\n",
        }
    }
}

/// Which names a request may give the host (the Host field, and the authority of a whole URI).
///
/// A page in somebody's browser may ask a name of its own maker's that leads here by then (DNS
/// rebinding); the browser says that name, and reads the answer. An address is nobody's to lead
/// elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Whoever may reach the address may call it what they like: a unix socket, or an address for
    /// other hosts without a list.
    pub any: bool,
    /// Names beside `localhost`.
    pub names: Vec<String>,
}

impl Hosts {
    fn admits(&self, authority: &str) -> bool {
        if self.any {
            return true;
        }
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        host.parse::<std::net::IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|name| name.eq_ignore_ascii_case(host.trim_end_matches('.')))
    }
}

/// A request that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub path: Path,
    /// The format it wants.
    pub exposition: Exposition,
}

/// Reads what has come so far. `None` when that is not all of the head. A request without a Host
/// field, which no browser sends, is as good as one with an address.
///
/// # Errors
///
/// How to answer what is no request.
pub fn parse(bytes: &[u8], hosts: &Hosts) -> Result<Option<Request>, Status> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::HeaderFieldsTooLarge),
        Err(_) => return Err(Status::BadRequest),
    }
    let field =
        |name: &'static str| head.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    // RFC 9112, section 3.2.
    if head.version == Some(1) && field("Host").count() != 1 {
        return Err(Status::BadRequest);
    }
    let target = head.path.unwrap_or_default();
    let named = field("Host").map(|value| std::str::from_utf8(value).unwrap_or("?")).chain(authority(target));
    if !named.map(str::trim).all(|host| hosts.admits(host)) {
        return Err(Status::Misdirected);
    }
    let method = match head.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => return Err(Status::MethodNotAllowed),
    };
    let accept = field("Accept").next().and_then(|value| std::str::from_utf8(value).ok());
    Ok(Some(Request { method, path: path(target), exposition: Exposition::wanted(accept) }))
}

/// The authority of a whole URI.
fn authority(target: &str) -> Option<&str> {
    let rest = target.strip_prefix("http://")?;
    rest.split(['/', '?']).next()
}

/// What a request target names. It may be a whole URI (RFC 9112, section 3.2.2).
fn path(target: &str) -> Path {
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => target,
    };
    match target.split('?').next() {
        Some("/metrics") => Path::Metrics,
        Some("/healthz") => Path::Health,
        _ => Path::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Exposition, Hosts, Method, Path, Request, Status};

    /// Of whoever may be called anything.
    fn parse(bytes: &[u8]) -> Result<Option<Request>, Status> {
        super::parse(bytes, &Hosts { any: true, names: Vec::new() })
    }

    #[test]
    fn a_name_that_may_lead_anywhere_is_refused() {
        let hosts = Hosts { any: false, names: vec!["broker-1".to_owned()] };
        let ask = |host: &str| super::parse(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(), &hosts);
        for host in ["127.0.0.1:9752", "127.0.0.1", "[::1]:9752", "localhost", "LocalHost:9752", "broker-1:9752", "Broker-1.", "10.0.0.1"] {
            assert!(ask(host).is_ok(), "{host}");
        }
        for host in
            ["evil.example", "evil.example:9752", "localhost.evil.example", "127.0.0.1.evil.example", "", "[evil", "broker-10", "\u{e9}"]
        {
            assert_eq!(ask(host), Err(Status::Misdirected), "{host}");
        }
        let whole = b"GET http://evil.example/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        assert_eq!(super::parse(whole, &hosts), Err(Status::Misdirected));
        assert!(super::parse(b"GET /metrics HTTP/1.0\r\n\r\n", &hosts).is_ok());
    }

    #[test]
    fn requests_are_understood() {
        let get = |path, exposition| Ok(Some(Request { method: Method::Get, path, exposition }));
        for (text, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", get(Path::Metrics, Exposition::Prometheus)),
            (
                "GET /metrics?x=1 HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text\r\n\r\n",
                get(Path::Metrics, Exposition::OpenMetrics),
            ),
            ("GET http://x:1/healthz HTTP/1.1\r\nHost: x:1\r\n\r\n", get(Path::Health, Exposition::Prometheus)),
            ("GET /healthz HTTP/1.0\r\n\r\n", get(Path::Health, Exposition::Prometheus)),
            ("GET /metrics/ HTTP/1.0\r\n\r\n", get(Path::Other, Exposition::Prometheus)),
            ("GET http://x HTTP/1.0\r\n\r\n", get(Path::Other, Exposition::Prometheus)),
            (
                "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
                Ok(Some(Request { method: Method::Head, path: Path::Metrics, exposition: Exposition::Prometheus })),
            ),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n", Ok(None)),
            ("", Ok(None)),
            ("GET /metrics HTTP/1.1\r\n\r\n", Err(Status::BadRequest)),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", Err(Status::BadRequest)),
            ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", Err(Status::MethodNotAllowed)),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(Status::BadRequest)),
            ("\u{16}\u{3}\u{1}\u{2}", Err(Status::BadRequest)),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
        assert_eq!(parse(many.as_bytes()), Err(Status::HeaderFieldsTooLarge));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        /// However a request is cut into pieces, nothing is answered before it is whole.
        #[test]
        fn a_part_is_never_taken_for_the_whole(cut in 0_usize..48) {
            let text = b"GET /metrics HTTP/1.1\r\nHost: localhost:9752\r\n\r\n";
            prop_assert_eq!(parse(text.get(..cut.min(text.len() - 1)).unwrap_or_default()), Ok(None));
        }
    }
}
