//! Events to send, and what came of them.

use crate::event::Event;

fn example(text: &str) -> Event {
    serde_json::from_str(text).unwrap()
}

pub fn started() -> Event {
    example(include_str!("../../../../testdata/events/agent_started.json"))
}

pub fn stopped() -> Event {
    example(include_str!("../../../../testdata/events/agent_stopped.json"))
}

/// A reset that tells its number.
pub fn numbered(number: u64) -> Event {
    let Event::Rst(mut reset) = example(include_str!("../../../../testdata/events/rst.json")) else {
        unreachable!("the file is of a reset")
    };
    reset.id = format!("n-{number}");
    Event::Rst(reset)
}

/// The numbers of the resets among these lines.
pub fn ids(lines: &[String]) -> Vec<u64> {
    lines
        .iter()
        .filter_map(|line| match serde_json::from_str(line).unwrap() {
            Event::Rst(reset) => Some(reset.id.strip_prefix("n-").unwrap().parse().unwrap()),
            _ => None,
        })
        .collect()
}
