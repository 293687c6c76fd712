//! The file as a whole: the story in markup, the data, and the assets, whose digests are the only
//! ones that the page's policy lets run.

use std::{fmt::Write as _, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{ReportError, rows::Rows};
use crate::{
    flow::idle,
    reader::Counts,
    story::{Paragraph, Part, Story},
};

const PAGE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/style.css");
/// In this order: one scope for all of them, and none of it outside.
const SCRIPTS: [&str; 5] = [
    include_str!("assets/data.js"),
    include_str!("assets/charts.js"),
    include_str!("assets/table.js"),
    include_str!("assets/detail.js"),
    include_str!("assets/main.js"),
];

/// Incidents that are read without asking for more.
const AT_ONCE: usize = 6;

/// The page about these files.
///
/// # Errors
///
/// [`ReportError::Json`], [`ReportError::Compress`].
pub fn of(files: &[PathBuf], story: &Story, rows: Rows, counts: &Counts) -> Result<String, ReportError> {
    let (data, pieces) = rows.finish(idle::defaults().collect())?;
    let script = format!("(() => {{\n\"use strict\";\n{}}})();\n", SCRIPTS.concat());
    let (mut told, mut more, mut after, mut unseen) = (String::new(), String::new(), String::new(), String::new());
    let mut incidents = 0;
    for paragraph in story.paragraphs() {
        let place = match paragraph.part {
            Part::Opening | Part::First => &mut told,
            Part::Incident if incidents < AT_ONCE => &mut told,
            Part::Incident | Part::Others => &mut more,
            Part::Routine => &mut after,
            Part::NotSeen => &mut unseen,
        };
        incidents += usize::from(paragraph.part == Part::Incident);
        put(place, &paragraph);
    }
    if !more.is_empty() {
        let _infallible = write!(told, "<details><summary>The other incidents</summary>{more}</details>");
    }
    told.push_str(&after);
    if !counts.is_whole() {
        let _infallible = write!(unseen, "<p>Of these files, {}.</p>", escaped(&counts.to_string()));
    }
    if unseen.is_empty() {
        unseen.push_str("<p>Nothing that the agents know of.</p>");
    }
    let mut details = String::new();
    for (number, piece) in pieces.iter().enumerate() {
        // Base64 has nothing in it that could end the element.
        let _infallible = writeln!(details, "<script id=\"detail-{number}\" type=\"application/gzip\">{piece}</script>");
    }
    let values = [
        ("script_hash", digest(&script)),
        ("style_hash", digest(STYLE)),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("title", escaped(&title(files))),
        ("source", escaped(&source(files))),
        ("style", STYLE.to_owned()),
        ("story", told),
        ("unseen", unseen),
        ("data", json(&data)?),
        ("details", details),
        ("script", script),
    ];
    Ok(filled(&values))
}

/// The page with a value in each place. What a value holds is not looked at again.
fn filled(values: &[(&str, String)]) -> String {
    let mut page = String::with_capacity(PAGE.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = PAGE;
    while let Some((before, behind)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, behind) = behind.split_once("}}").unwrap_or((behind, ""));
        page.extend(values.iter().find(|(place, _)| *place == name).map(|(_, value)| value.as_str()));
        rest = behind;
    }
    page + rest
}

fn put(place: &mut String, paragraph: &Paragraph) {
    let Paragraph { part, severity, text, advice, .. } = paragraph;
    let (text, severity) = (escaped(text), severity.token());
    let _infallible = match part {
        Part::Opening => write!(place, "<p class=\"opening\">{text}</p>"),
        Part::Incident | Part::Others => {
            let advice = advice.as_ref().map(|advice| format!("<p class=\"do\">What to do: {}</p>", escaped(advice))).unwrap_or_default();
            write!(place, "<div class=\"told {severity}\"><p><span class=\"tag {severity}\">{severity}</span> {text}</p>{advice}</div>")
        }
        Part::First | Part::Routine | Part::NotSeen => write!(place, "<p>{text}</p>"),
    };
}

/// As text of HTML, wherever it stands (HTML Living Standard, section 13.1.2).
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// JSON that may stand in a `script` element: nothing in it ends the element or begins a comment.
fn json(data: &impl Serialize) -> Result<String, ReportError> {
    Ok(serde_json::to_string(data)?.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"))
}

/// What a policy allows an element by (CSP Level 3, section 2.3.1).
fn digest(text: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(text))
}

fn title(files: &[PathBuf]) -> String {
    match files {
        [one] if one.as_os_str() != "-" => format!("Who ended these AMQP connections: {}", name(one)),
        _ => "Who ended these AMQP connections".to_owned(),
    }
}

fn source(files: &[PathBuf]) -> String {
    const NAMED: usize = 3;
    let names: Vec<String> = files.iter().take(NAMED).map(|file| name(file)).collect();
    match files.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more files", names.join(", ")),
    }
}

/// Its last part: where it lay is nobody's business who gets the report.
fn name(file: &std::path::Path) -> String {
    match file.file_name() {
        Some(name) if file.as_os_str() != "-" => name.to_string_lossy().into_owned(),
        _ => "standard input".to_owned(),
    }
}
