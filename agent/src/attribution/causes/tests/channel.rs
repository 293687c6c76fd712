use super::*;
use crate::amqp::ChannelClose;

const USED_CLOSED: &str = "CHANNEL_ERROR - expected 'channel.open'";

fn failed(from: Side, code: u16, text: &str, before: Duration) -> ChannelClose {
    ChannelClose { from, channel: 3, code, text: text.to_owned(), method: Some((60, 80)), before }
}

/// Closed by the broker, at the other end, with this code after an error of a channel.
fn after(code: u16, error: ChannelClose) -> Verdict {
    attribute(&arrives(Role::Client, Some(Conversation { channel_close: Some(error), ..closed(Side::Peer, code, USED_CLOSED) })))
}

#[test]
fn the_error_of_the_channel_is_the_reason_and_504_what_followed() {
    for (code, text, advice) in [
        (406, "PRECONDITION_FAILED - unknown delivery tag 99", "on the channel that it came on"),
        (406, "PRECONDITION_FAILED - delivery acknowledgement on channel 3 timed out. Timeout value used: 1800000 ms", "consumer_timeout"),
        (406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/'", "other properties"),
        (406, "PRECONDITION_FAILED - message size 200 is larger than configured max size 100", "max_message_size"),
        (406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", "contradicts"),
        (404, "NOT_FOUND - no queue 'q' in vhost '/'", "declare"),
        (405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'", "exclusive"),
        (403, "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'", "list_permissions"),
        (311, "", "max_message_size"),
        (599, "", "open a new channel"),
    ] {
        let verdict = after(504, failed(Side::Peer, code, text, seconds(1)));
        let cause = &verdict.cause;
        assert_eq!(cause.id, CauseId::ForcedClose, "{cause:?}");
        assert!(cause.summary.contains(&format!("closed channel 3 with {code}")) && cause.summary.contains(text), "{cause:?}");
        assert!(cause.advice.as_ref().is_some_and(|all| all.contains(advice)), "{text}: {cause:?}");
        assert!(signals(&verdict).contains(&"amqp_channel_close") && signals(&verdict).contains(&"amqp_close"));
    }
}

#[test]
fn an_error_that_does_not_explain_stays_in_evidence() {
    let text = "PRECONDITION_FAILED - unknown delivery tag 99";
    let twice = Conversation {
        channel_close: Some(failed(Side::Peer, 406, text, seconds(1))),
        ..closed(Side::Peer, 504, "CHANNEL_ERROR - second 'channel.open' seen")
    };
    for (what, verdict) in [
        ("opened twice", attribute(&arrives(Role::Client, Some(twice)))),
        ("another code", after(541, failed(Side::Peer, 406, text, seconds(1)))),
        ("after the close", after(504, failed(Side::Peer, 406, text, Duration::from_millis(1)))),
        ("by the client", after(504, failed(Side::Local, 406, text, seconds(1)))),
    ] {
        assert!(verdict.cause.summary.starts_with("the broker closed the connection with"), "{what}: {:?}", verdict.cause);
        assert!(signals(&verdict).contains(&"amqp_channel_close"), "{what}");
    }
}

/// `consumer_timeout` ends a channel. What ends the connection later is another matter.
#[test]
fn the_connection_may_die_of_something_else() {
    let text = "PRECONDITION_FAILED - delivery acknowledgement on channel 3 timed out";
    let with =
        |conversation: Conversation| Some(Conversation { channel_close: Some(failed(Side::Peer, 406, text, seconds(5))), ..conversation });
    let verdict = attribute(&arrives(Role::Client, with(open())));
    assert_eq!(verdict.cause.id, CauseId::PeerAborted);
    assert!(verdict.evidence.iter().any(|evidence| evidence.detail.contains("timed out")), "{verdict:#?}");
    check([("closed in order", arrives(Role::Client, with(closed(Side::Local, 200, "bye"))), "routine_close info")]);
}
