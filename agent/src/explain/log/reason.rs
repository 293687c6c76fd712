//! The broker's account of an end.

use std::time::Duration;

/// The negotiated interval where the log does not say it: the default (`rabbit.heartbeat`).
const HEARTBEAT: Duration = Duration::from_mins(1);

/// What errors of reading from or writing to a socket are called, in messages and Erlang terms.
const SOCKET: [&str; 22] = [
    "inet_error",
    "socket_error",
    "network error",
    "network_error",
    "socket error",
    "send_failed",
    "send_error",
    "send error",
    "connection_reset",
    "econnreset",
    "econnaborted",
    "enotconn",
    "etimedout",
    "ehostunreach",
    "enetunreach",
    "epipe",
    "ebadf",
    "einval",
    "ssl_upgrade",
    "tls upgrade error",
    "tcp_error",
    "ssl_error",
];

/// The broker's account of an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Closed by `connection.close`, or by the other protocols' own ways.
    Orderly,
    /// `client unexpectedly closed TCP connection`: a FIN or a RST, which the broker cannot tell
    /// apart.
    ClientClosedTcp,
    MissedHeartbeats {
        /// The negotiated interval.
        interval: Duration,
    },
    /// `inet_error` and other errors of reading or writing.
    SocketError,
    HandshakeTimeout,
    /// `CONNECTION_FORCED`: an operator, or a shutdown.
    Forced,
    /// Anything else.
    Other,
}

impl Reason {
    /// A stable token.
    pub const fn token(&self) -> &'static str {
        match self {
            Self::Orderly => "orderly",
            Self::ClientClosedTcp => "client_closed_tcp",
            Self::MissedHeartbeats { .. } => "missed_heartbeats",
            Self::SocketError => "socket_error",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Forced => "connection_forced",
            Self::Other => "other",
        }
    }

    /// What the text of a reason says. Quoted parts do not count: clients choose them.
    pub fn of(text: &str) -> Self {
        Self::known(text).unwrap_or(Self::Other)
    }

    /// As [`Reason::of`]; `None` where nothing in the text is known.
    pub fn known(text: &str) -> Option<Self> {
        let plain = unquoted(text).to_ascii_lowercase();
        let text = text.trim_start_matches([' ', ',', '\t', '"', '\'', '<']).to_ascii_lowercase();
        let has = |part: &str| plain.contains(part);
        // The end of a line may be missing: it was wrapped or cut.
        if text.starts_with("client unexpectedly")
            || has("connection_closed_abruptly")
            || has("connection_closed_with_no_data_received")
            || text.starts_with("peer closed tcp connection")
            || has("peer closed tcp connection")
            || has("tcp_closed")
            || has("ssl_closed")
        {
            Some(Self::ClientClosedTcp)
        } else if text.starts_with("missed heartbeats") || text.starts_with("no frame received from client") {
            let seconds: String = text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
            let interval = seconds.parse::<u16>().map_or(HEARTBEAT, |seconds| Duration::from_secs(seconds.into()));
            Some(Self::MissedHeartbeats { interval })
        } else if has("heartbeat_timeout") || has("missed client heartbeat") || has("keepalive timeout") || has("heartbeat timeout") {
            Some(Self::MissedHeartbeats { interval: HEARTBEAT })
        } else if has("handshake_timeout") || has("login timeout") {
            Some(Self::HandshakeTimeout)
        } else if has("connection_forced") {
            Some(Self::Forced)
        } else if SOCKET.into_iter().any(has) {
            Some(Self::SocketError)
        } else {
            None
        }
    }
}

/// Whether an Erlang term or a call ends later than this text does.
pub fn is_open_term(text: &str) -> bool {
    let text = text.trim_start();
    if !text.starts_with(['{', '[', '<', '(']) {
        return false;
    }
    let plain = unquoted(text);
    let count = |open: char, close: char| plain.chars().fold(0_i32, |depth, c| depth + i32::from(c == open) - i32::from(c == close));
    count('{', '}') > 0 || count('[', ']') > 0
}

/// The text without what stands in quotes.
fn unquoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    let mut before = ' ';
    while let Some(character) = characters.next() {
        match quote {
            Some(_) if character == '\\' => {
                characters.next();
            }
            Some(end) if character == end => quote = None,
            Some(_) => {}
            // An apostrophe within a word opens nothing.
            None if character == '"' || (character == '\'' && !before.is_alphanumeric()) => quote = Some(character),
            None => plain.push(character),
        }
        before = character;
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Reason, is_open_term};

    #[test]
    fn every_kind_is_known() {
        let beats = |seconds| Reason::MissedHeartbeats { interval: Duration::from_secs(seconds) };
        for (text, reason) in [
            ("client unexpectedly closed TCP connection", Reason::ClientClosedTcp),
            (", client unexpectedly closed TCP connection", Reason::ClientClosedTcp),
            ("client unexpectedly closed", Reason::ClientClosedTcp),
            ("connection_closed_abruptly", Reason::ClientClosedTcp),
            ("missed heartbeats from client, timeout: 8s", beats(8)),
            ("Missed heartbeats from client, timeout: 90 seconds", beats(90)),
            ("{heartbeat_timeout,running}", beats(60)),
            ("\"no frame received from client within idle timeout threshold\"", beats(60)),
            ("{handshake_timeout,frame_header}", Reason::HandshakeTimeout),
            ("{inet_error,econnreset}", Reason::SocketError),
            ("{writer,send_failed,{error,timeout}}", Reason::SocketError),
            ("enotconn (socket is not connected)", Reason::SocketError),
            ("connection_reset", Reason::SocketError),
            (" operation none caused a connection exception connection_forced: \"shutdown\"", Reason::Forced),
            ("CONNECTION_FORCED - Closed via management plugin", Reason::Forced),
            ("{bad_header,<<\"GET / HT\">>}", Reason::Other),
            ("credential expired", Reason::Other),
        ] {
            assert_eq!(Reason::of(text), reason, "{text}");
        }
    }

    #[test]
    fn what_a_client_chose_is_no_reason() {
        for text in [
            "{handshake_error,opening,0,{amqp_error,not_allowed,\"access to vhost 'econnreset' refused for user 'app'\",'connection.open'}}",
            "operation connection.open caused a connection exception not_allowed: \"vhost 'connection_forced \\\" etimedout' not found\"",
        ] {
            assert_eq!(Reason::of(text), Reason::Other, "{text}");
        }
    }

    #[test]
    fn a_term_is_open_until_its_last_brace() {
        assert!(is_open_term("{handshake_error,opening,0,"));
        assert!(!is_open_term("{inet_error,\"{\"}"));
        assert!(!is_open_term("client unexpectedly {"));
    }
}
