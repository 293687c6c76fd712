//! The picture of a state, as wide and as high as there is room. It changes nothing.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Block, Borders, Clear, Paragraph, Sparkline, Wrap},
};

use super::state::{Entry, Mode, Sort, State, Tally};
use crate::{
    model::Severity,
    output::pretty::{self, render},
};

/// Below that there is no room for anything but the list.
const SMALL: u16 = 20;

/// Lines of the selected event below the list.
const DETAIL: u16 = 8;

/// Names of each kind, with their border.
const TOTALS: u16 = 6;

/// Columns of a box of names at least.
const NARROW: u16 = 26;

const KEYS: &str = "? help  / filter  a all  s sort  p pause  enter whole event  w save  q quit";

const HELP: &str = "\
  up, down, k, j    select an event; page up, page down, home, end
  enter             the selected event in full; enter or escape: back
  /                 filter by a question, as in rstblame events --where:
                      cause = idle_timeout and peer in 10.0.6.0/24
                    enter keeps it, escape takes it back
  a                 list routine resets, too
  s                 the latest first, or the worst first
  p, space          let the list stand still; totals go on
  w                 write the listed events to a file, as JSON lines
  escape            back to the latest, without a question
  q, control-c      quit

  Totals are of connections that were lost or refused, or are about to be;
  what is as in normal operation is counted in the first line alone.";

/// Draws all of it. `source`: what is watched.
pub fn draw(frame: &mut Frame<'_>, state: &State, source: &str) {
    let area = frame.area();
    let [head, middle, foot] = Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(head_line(state, source)), head);
    match state.mode {
        Mode::Detail => detail(frame, state, middle, state.scrolled),
        _ if area.height < SMALL => list(frame, state, middle),
        _ => {
            let [totals, rate, events, selected] =
                Layout::vertical([Constraint::Length(TOTALS), Constraint::Length(2), Constraint::Min(3), Constraint::Length(DETAIL)])
                    .areas(middle);
            tallies(frame, state, totals);
            sparkline(frame, state, rate);
            list(frame, state, events);
            detail(frame, state, selected, 0);
        }
    }
    frame.render_widget(Paragraph::new(foot_line(state)), foot);
    if state.mode == Mode::Help {
        help(frame, middle);
    }
}

fn head_line<'a>(state: &State, source: &'a str) -> Line<'a> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans =
        vec![Span::styled("rstblame top  ", bold), Span::raw(source), Span::raw(format!("  {} events, {} lost", state.seen, state.lost))];
    if state.unread > 0 {
        spans.push(Span::raw(format!(", {} lines not understood", state.unread)));
    }
    if state.paused() {
        spans.push(Span::styled("  PAUSED", bold.fg(Color::Yellow)));
    }
    if let Some(ended) = &state.ended {
        spans.push(Span::styled(format!("  ENDED: {ended}"), bold));
    }
    Line::from(spans)
}

fn foot_line(state: &State) -> Line<'_> {
    if state.mode == Mode::Question {
        let mut spans =
            vec![Span::styled("filter: ", Style::new().add_modifier(Modifier::BOLD)), Span::raw(state.typed.as_str()), Span::raw("_")];
        if let Some(wrong) = &state.wrong {
            spans.push(Span::styled(format!("  {wrong}"), Style::new().fg(Color::Yellow)));
        }
        return Line::from(spans);
    }
    if let Some(notice) = &state.notice {
        return Line::styled(notice.as_str(), Style::new().add_modifier(Modifier::BOLD));
    }
    Line::styled(KEYS, Style::new().add_modifier(Modifier::DIM))
}

/// As many boxes of names as there is room for.
fn tallies(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let boxes = [("who", &state.who), ("why", &state.why), ("peers", &state.peers), ("processes", &state.processes)];
    let count = usize::from((area.width / NARROW).clamp(1, 4));
    let columns = Layout::horizontal(vec![Constraint::Fill(1); count]).split(area);
    for ((name, tally), place) in boxes.into_iter().zip(columns.iter()) {
        names(frame, name, tally, *place);
    }
}

fn names(frame: &mut Frame<'_>, title: &str, tally: &Tally, area: Rect) {
    let block = Block::new().borders(Borders::ALL).title(format!(" {title} "));
    let inner = block.inner(area);
    let most = tally.most(usize::from(inner.height));
    let digits = most.iter().map(|(_, count)| count.to_string().len()).max().unwrap_or(0);
    let room = usize::from(inner.width).saturating_sub(digits + 1);
    let lines: Vec<Line<'_>> = most
        .into_iter()
        .map(|(name, count)| Line::raw(format!("{count:>digits$} {}", pretty::columns::elide_middle(name, room))))
        .collect();
    let text = if lines.is_empty() { Text::styled("nothing yet", Style::new().add_modifier(Modifier::DIM)) } else { Text::from(lines) };
    frame.render_widget(Paragraph::new(text).block(block), area);
}

/// The rate, in steps that a person can name.
fn sparkline(frame: &mut Frame<'_>, state: &State, area: Rect) {
    const LABEL: u16 = 22;
    let [label, bars] = Layout::horizontal([Constraint::Length(LABEL), Constraint::Min(1)]).areas(area);
    let count = usize::from(bars.width);
    // The finest in which all of it has room.
    let all = state.rates(1, i64::MAX).iter().sum::<u64>();
    let span = [1, 5, 15].into_iter().find(|span| state.rates(count, *span).iter().sum::<u64>() == all).unwrap_or(60);
    let rates = state.rates(count, span);
    let most = rates.iter().max().copied().unwrap_or(0);
    let text = vec![Line::raw(format!("events in {span} s")), Line::raw(format!("most: {most}"))];
    frame.render_widget(Paragraph::new(text), label);
    frame.render_widget(Sparkline::default().data(rates), bars);
}

fn list(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let listed = state.listed();
    let position = state.position(&listed);
    let order = if state.sort == Sort::Time { "latest first" } else { "worst first" };
    let asked = if state.typed.trim().is_empty() { String::new() } else { format!(", where {}", state.typed.trim()) };
    let routine = if state.all { "" } else { ", without routine" };
    let title = format!(" {} events, {order}{routine}{asked} ", listed.len());
    let block = Block::new().borders(Borders::TOP).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let rows = usize::from(inner.height);
    // The selected one stays in sight.
    let first = position.saturating_sub(rows.saturating_sub(1));
    let lines: Vec<Line<'_>> = listed
        .iter()
        .enumerate()
        .skip(first)
        .take(rows)
        .map(|(at, (_, entry))| {
            let style = if at == position { Style::new().add_modifier(Modifier::REVERSED) } else { colour(entry.severity) };
            Line::styled(row(entry, usize::from(inner.width)), style)
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

/// An event in one line: the first two of those that a person reads, who lost what and why.
fn row(entry: &Entry, columns: usize) -> String {
    let text = render(&entry.event, pretty::Style { columns, ..pretty::Style::PLAIN });
    let parts: Vec<&str> = text.lines().take(2).map(str::trim).collect();
    let row = parts.join("  ");
    let row = cut(&row, columns);
    format!("{row}{}", " ".repeat(columns.saturating_sub(pretty::columns::width(&row))))
}

/// As much of a text as has room.
fn cut(text: &str, columns: usize) -> String {
    if pretty::columns::width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        kept.push(letter);
        if pretty::columns::width(&kept) >= columns {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}

fn colour(severity: Severity) -> Style {
    match severity {
        Severity::Error => Style::new().fg(Color::Red),
        Severity::Warning => Style::new().fg(Color::Yellow),
        Severity::Info => Style::new().add_modifier(Modifier::DIM),
    }
}

/// The selected event with its evidence.
fn detail(frame: &mut Frame<'_>, state: &State, area: Rect, scrolled: u16) {
    let listed = state.listed();
    let whole = state.mode == Mode::Detail;
    let block = Block::new().borders(Borders::TOP).title(if whole { " event " } else { " selected " });
    let text = match listed.get(state.position(&listed)) {
        Some((_, entry)) => {
            let detail = if whole { 2 } else { 1 };
            render(&entry.event, pretty::Style { columns: usize::from(area.width), detail, ..pretty::Style::PLAIN })
        }
        None if state.seen == 0 => "Nothing has happened yet.".to_owned(),
        None => "No event is listed: a lists routine ones, escape takes the question back.".to_owned(),
    };
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).scroll((scrolled, 0)).block(block), area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines = u16::try_from(HELP.lines().count()).unwrap_or(u16::MAX).saturating_add(2);
    let place = Rect { height: area.height.min(lines), ..area };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(HELP).block(Block::new().borders(Borders::ALL).title(" keys ")), place);
}
