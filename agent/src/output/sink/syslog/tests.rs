#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::{Body, Encoder, Facility, escaped, hostname};
use crate::{event::Event, output::sink::item::Item};

fn encoder(facility: &str, body: Body) -> Encoder {
    Encoder { facility: Facility::named(facility).unwrap(), body, pid: 4711 }
}

fn reset() -> Item {
    let event: Event = serde_json::from_str(include_str!("../../../../testdata/events/rst.json")).unwrap();
    let Event::Rst(mut reset) = event else { unreachable!("the file is of a reset") };
    // The time of RFC 5424's examples, to the nanosecond.
    reset.timestamp = "2003-10-11T22:14:15.003999999Z".parse().unwrap();
    reset.message = "10.0.6.42 → broker".to_owned();
    Item::new(Event::Rst(reset))
}

/// A message taken apart by the grammar of RFC 5424, section 6.
struct Parsed {
    priority: u8,
    fields: Vec<String>,
    data: String,
    body: Vec<u8>,
}

fn parse(message: &[u8]) -> Parsed {
    let text = String::from_utf8(message.to_vec()).unwrap();
    let (priority, rest) = text.strip_prefix('<').unwrap().split_once('>').unwrap();
    let rest = rest.strip_prefix("1 ").unwrap();
    let mut fields: Vec<&str> = rest.splitn(6, ' ').collect();
    let rest = fields.pop().unwrap();
    assert!(rest.starts_with('['));
    let end = rest.find("] ").unwrap();
    Parsed {
        priority: priority.parse().unwrap(),
        fields: fields.into_iter().map(ToOwned::to_owned).collect(),
        data: rest[..=end].to_owned(),
        body: rest.as_bytes()[end + 2..].to_vec(),
    }
}

#[test]
fn a_message_has_the_parts_of_rfc_5424() {
    let message = parse(&encoder("local4", Body::Text).message(&reset()));
    // local4 and warning, as "<165>" of section 6.5 is local4 and notice.
    assert_eq!(message.priority, 20 * 8 + 4);
    assert_eq!(message.fields, ["2003-10-11T22:14:15.003999Z", "broker-1", "rstblame", "4711", "rst"]);
    assert_eq!(message.data, format!("[origin software=\"rstblame\" swVersion=\"{}\"]", env!("CARGO_PKG_VERSION")));
    assert_eq!(message.body, "\u{feff}10.0.6.42 → broker".as_bytes(), "MSG-UTF8 begins with a byte order mark");
}

#[test]
fn json_is_the_whole_event_without_a_byte_order_mark() {
    let item = reset();
    let message = parse(&encoder("daemon", Body::Json).message(&item));
    assert_eq!(serde_json::from_slice::<Event>(&message.body).unwrap(), *item.event());
}

#[test]
fn a_frame_begins_with_the_length_in_octets() {
    let (encoder, item) = (encoder("daemon", Body::Text), reset());
    let frame = encoder.counted(&item);
    let message = encoder.message(&item);
    assert!(message.len() > String::from_utf8(message.clone()).unwrap().chars().count(), "octets, not characters");
    assert_eq!(frame, [format!("{} ", message.len()).into_bytes(), message].concat());
}

#[test]
fn severities_are_those_of_the_rfc() {
    for (text, severity) in [
        (include_str!("../../../../testdata/events/agent_started.json"), 5),
        (include_str!("../../../../testdata/events/events_lost.json"), 4),
        (include_str!("../../../../testdata/events/agent_stopped.json"), 5),
    ] {
        let item = Item::new(serde_json::from_str(text).unwrap());
        assert_eq!(parse(&encoder("daemon", Body::Json).message(&item)).priority, 3 * 8 + severity);
    }
}

#[test]
fn what_the_grammar_forbids_is_left_out_or_escaped() {
    assert_eq!(hostname(None), "-");
    assert_eq!(hostname(Some("bröker 1")), "brker1");
    assert_eq!(hostname(Some(&"a".repeat(300))).len(), 255);
    // RFC 5424, section 6.3.3.
    assert_eq!(escaped("a\"b\\c]d"), "a\\\"b\\\\c\\]d");
}

#[test]
fn facilities_have_the_numbers_of_the_rfc() {
    for (name, number) in [("kern", 0), ("daemon", 3), ("cron", 9), ("local0", 16), ("local7", 23)] {
        let facility = Facility::named(name).unwrap();
        assert_eq!((facility.number(), facility.name()), (number, name));
    }
    assert_eq!(Facility::named("Daemon"), None);
}
