//! Events in the forms of journald and syslog: taken apart by their specifications, they are what
//! went in.

use rstblame::{
    event::Event,
    output::sink::{Body, Facility, Item, SyslogEncoder, journal_entry},
};

pub fn holds(data: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Event>(data) else { return };
    let item = Item::new(event);
    let json = item.json().strip_suffix(b"\n").expect("a line ends");
    assert!(!json.contains(&b'\n'), "an event is one line");
    let again: Event = serde_json::from_slice(json).expect("a line is JSON");
    assert_eq!(serde_json::to_value(&again).ok(), serde_json::to_value(item.event()).ok());
    journal(&journal_entry(&item), json);
    for body in [Body::Json, Body::Text] {
        let encoder = SyslogEncoder { facility: Facility::DAEMON, body, pid: 7 };
        let message = encoder.message(&item);
        syslog(&message, (body == Body::Json).then_some(json));
        let counted = encoder.counted(&item);
        assert_eq!(counted.strip_prefix(format!("{} ", message.len()).as_bytes()), Some(message.as_slice()));
    }
}

/// <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
fn journal(mut rest: &[u8], json: &[u8]) {
    let mut names = Vec::new();
    let mut carried = None;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a field ends");
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let (name, value) = if let Some(at) = line.iter().position(|byte| *byte == b'=') {
            (&line[..at], &line[at + 1..])
        } else {
            let (length, after) = rest.split_first_chunk::<8>().expect("a length");
            let (value, after) = after.split_at(u64::from_le_bytes(*length) as usize);
            rest = after.strip_prefix(b"\n").expect("a value ends");
            (line, value)
        };
        assert!(
            name.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
                && name[0] != b'_'
                && name.len() <= 64
        );
        assert!(!names.contains(&name), "a field stands twice");
        names.push(name);
        if name == b"RSTBLAME_JSON" {
            carried = Some(value);
        }
    }
    assert_eq!(carried, Some(json));
}

/// RFC 5424, section 6.
fn syslog(message: &[u8], json: Option<&[u8]>) {
    // PRI VERSION, TIMESTAMP, HOSTNAME, APP-NAME, PROCID, MSGID, then the structured data and the
    // message.
    let parts: Vec<&[u8]> = message.splitn(7, |byte| *byte == b' ').collect();
    let [priority, time, host, name, pid, id, rest] = parts.try_into().expect("seven parts");
    assert!(priority.starts_with(b"<") && priority.ends_with(b">1"));
    assert!(time.ends_with(b"Z") && time.len() == 27, "{:?}", String::from_utf8_lossy(time));
    for (part, longest) in [(host, 255), (name, 48), (pid, 128), (id, 32)] {
        assert!(!part.is_empty() && part.len() <= longest && part.iter().all(u8::is_ascii_graphic));
    }
    assert!(rest.starts_with(b"[origin "));
    if let Some(json) = json {
        assert!(rest.ends_with(json));
    }
}
