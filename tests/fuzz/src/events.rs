//! Events read back, and questions to them. The first line is a question, the others are lines of a
//! file of events.

use rstblame::{
    output::pretty::{Style, render},
    query::Query,
    reader::event,
    story::Story,
};

/// What a terminal would obey.
fn is_obeyed(letter: char) -> bool {
    letter.is_control() && letter != '\n'
}

pub fn holds(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let question = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let asked = Query::parse(&question);
    if let Err(error) = &asked {
        assert!(!error.to_string().is_empty() && error.pointer(&question).lines().count() <= 2, "{question:?}");
    }
    let mut story = Story::default();
    for line in lines {
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(line)
            && let Ok(query) = &asked
        {
            // Whether a line is looked at as bytes or as a value.
            assert_eq!(query.matches_line(value.to_string().as_bytes()), query.matches(&value), "{question:?}: {value}");
        }
        let Ok(event) = event::read(line) else { continue };
        for columns in [20, 100] {
            for detail in 0..=2 {
                let text = render(&event, Style { columns, detail, ..Style::PLAIN });
                assert!(!text.contains(is_obeyed), "{text:?}");
            }
        }
        story.event(&event);
    }
    let paragraphs = story.paragraphs();
    assert!(!paragraphs.is_empty() && paragraphs.iter().all(|paragraph| !paragraph.text.contains(char::is_control)));
}
