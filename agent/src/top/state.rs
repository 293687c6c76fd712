//! What the view knows and where it stands: events and keys in, nothing out. No terminal, no clock.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use crate::{
    event::{Event, ResetEvent},
    model::Severity,
    output::pretty::{is_routine, resets},
    query::{Query, QueryError},
    story::words::{self, Outcome},
};

/// Events that can be looked at; the oldest make room.
const KEPT: usize = 5000;

/// Names that are counted of one kind. What comes when there are as many is counted as others.
const NAMES: usize = 1000;

/// What stands for names for which there is no room.
const OTHERS: &str = "others";

/// Seconds of which the rate is known.
const SECONDS: usize = 3600;

/// One event that can be looked at.
pub struct Entry {
    pub event: Event,
    /// The line it came in.
    pub line: String,
    pub severity: Severity,
    /// Whether it answers the question that is asked just now.
    answers: bool,
}

/// Connections by a name.
#[derive(Default)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn add(&mut self, name: &str, count: u64) {
        let name = if self.0.len() < NAMES || self.0.contains_key(name) { name } else { OTHERS };
        *self.0.entry(name.to_owned()).or_default() += count;
    }

    /// The most frequent.
    pub fn most(&self, number: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.0.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        all.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        all.truncate(number);
        all
    }
}

/// In which order events are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The latest first.
    Time,
    /// The worst first, of them the latest.
    Severity,
}

/// What keys are for just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    List,
    /// A question is being typed.
    Question,
    /// The selected event fills the screen.
    Detail,
    Help,
}

/// A key that was pressed, as far as it means anything here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// What is to be done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Nothing,
    Quit,
    /// Write what is shown to a file.
    Save,
}

/// The view.
pub struct State {
    pub mode: Mode,
    pub sort: Sort,
    /// Routine resets are listed as well.
    pub all: bool,
    /// The list stands still. Totals go on.
    paused_at: Option<u64>,
    entries: VecDeque<Entry>,
    /// Events that came, whether kept or not: the number of the first that is kept is known by it.
    came: u64,
    pub who: Tally,
    pub why: Tally,
    pub peers: Tally,
    pub processes: Tally,
    /// Connections that were lost, and all that was told of.
    pub lost: u64,
    pub seen: u64,
    /// By second, the latest at the end.
    rate: VecDeque<(i64, u64)>,
    /// As it is typed.
    pub typed: String,
    query: Option<Query>,
    /// Why what is typed is no question.
    pub wrong: Option<String>,
    /// Number of the event that is selected; none: the first of the list.
    selected: Option<u64>,
    /// Lines of a detail that were scrolled away.
    pub scrolled: u16,
    /// Something to say in the last line.
    pub notice: Option<String>,
    /// Lines that were no events.
    pub unread: u64,
    /// The stream has ended.
    pub ended: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            mode: Mode::List,
            sort: Sort::Time,
            all: false,
            paused_at: None,
            entries: VecDeque::new(),
            came: 0,
            who: Tally::default(),
            why: Tally::default(),
            peers: Tally::default(),
            processes: Tally::default(),
            lost: 0,
            seen: 0,
            rate: VecDeque::new(),
            typed: String::new(),
            query: None,
            wrong: None,
            selected: None,
            scrolled: 0,
            notice: None,
            unread: 0,
            ended: None,
        }
    }
}

impl State {
    /// Takes in a line that holds an event.
    pub fn event(&mut self, event: Event, line: String) {
        let severity = match &event {
            Event::Rst(reset) | Event::ConnectionEnded(reset) => {
                self.count(reset, 1, event_time(&event));
                reset.severity
            }
            // It was counted when it was told first; its verdict then is not known any more.
            Event::RstRevised(reset) => reset.severity,
            Event::RstSuppressed(folded) | Event::EndingsSuppressed(folded) => {
                let count = resets(&event);
                match &folded.sample {
                    Some(sample) => self.count(sample, count, Some(folded.last)),
                    None => self.seen += count,
                }
                folded.sample.as_ref().map_or(Severity::Warning, |sample| sample.severity)
            }
            Event::AgentStopped(_) => {
                self.ended = Some("the agent that wrote this has stopped".to_owned());
                return;
            }
            Event::EventsLost(_) => Severity::Error,
            Event::AgentStarted(_) => {
                self.ended = None;
                return;
            }
            Event::AgentReloaded(_) => return,
        };
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        let answers = self.query.as_ref().is_none_or(|query| query.matches_line(line.as_bytes()));
        self.entries.push_back(Entry { event, line, severity, answers });
        self.came += 1;
    }

    fn count(&mut self, reset: &ResetEvent, count: u64, at: Option<Timestamp>) {
        self.seen += count;
        if let Some(at) = at {
            self.tick(at, count);
        }
        // What is as in normal operation is no reason to look at anybody.
        if reset.severity == Severity::Info {
            return;
        }
        if Outcome::of(reset.effect) == Outcome::Lost {
            self.lost += count;
        }
        self.who.add(&words::sender(reset), count);
        self.why.add(reset.cause.id.token(), count);
        let peer = &reset.network.peer;
        self.peers.add(&peer.name.clone().unwrap_or_else(|| peer.address.to_string()), count);
        if let Some(process) = &reset.process {
            self.processes.add(&process.executable.name, count);
        }
    }

    fn tick(&mut self, at: Timestamp, count: u64) {
        let second = at.as_second();
        // A line or two out of order, of several hosts, belong where they are late.
        match self.rate.iter_mut().rev().take(8).find(|(known, _)| *known == second) {
            Some((_, known)) => *known += count,
            None => self.rate.push_back((second, count)),
        }
        while self.rate.len() > SECONDS {
            self.rate.pop_front();
        }
    }

    /// Events of each of the latest `bars` spans of so many seconds, the latest last.
    pub fn rates(&self, bars: usize, span: i64) -> Vec<u64> {
        let mut rates = vec![0; bars];
        let Some(latest) = self.rate.iter().map(|(second, _)| *second).max() else { return rates };
        for (second, count) in &self.rate {
            let back = usize::try_from((latest - second) / span.max(1)).unwrap_or(usize::MAX);
            if let Some(bar) = bars.checked_sub(back.saturating_add(1)).and_then(|at| rates.get_mut(at)) {
                *bar += count;
            }
        }
        rates
    }

    /// Whether the list stands still.
    pub const fn paused(&self) -> bool {
        self.paused_at.is_some()
    }

    /// The events that are listed, in the order of the list, with their numbers.
    pub fn listed(&self) -> Vec<(u64, &Entry)> {
        let first = self.came - self.entries.len() as u64;
        let until = self.paused_at.unwrap_or(u64::MAX);
        let shown = |entry: &Entry| entry.answers && (self.all || !is_routine(&entry.event));
        let numbered = (first..).zip(&self.entries).take_while(|(number, _)| *number < until);
        let mut listed: Vec<(u64, &Entry)> = numbered.filter(|(_, entry)| shown(entry)).collect();
        listed.reverse();
        if self.sort == Sort::Severity {
            listed.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.severity));
        }
        listed
    }

    /// Where in the list the selected event is.
    pub fn position(&self, listed: &[(u64, &Entry)]) -> usize {
        self.selected.and_then(|selected| listed.iter().position(|(number, _)| *number == selected)).unwrap_or(0)
    }

    /// Asks a question from the beginning.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn ask(&mut self, question: &str) -> Result<(), QueryError> {
        self.query = if question.trim().is_empty() { None } else { Some(Query::parse(question)?) };
        question.clone_into(&mut self.typed);
        for entry in &mut self.entries {
            entry.answers = self.query.as_ref().is_none_or(|query| query.matches_line(entry.line.as_bytes()));
        }
        Ok(())
    }

    /// Takes in a key.
    pub fn key(&mut self, key: Key) -> Action {
        self.notice = None;
        match self.mode {
            Mode::Question => self.key_of_question(key),
            Mode::Help => self.mode = Mode::List,
            Mode::Detail => return self.key_of_detail(key),
            Mode::List => return self.key_of_list(key),
        }
        Action::Nothing
    }

    fn key_of_question(&mut self, key: Key) {
        match key {
            Key::Char(letter) => self.typed.push(letter),
            Key::Backspace => drop(self.typed.pop()),
            Key::Enter => {
                self.mode = Mode::List;
                return;
            }
            Key::Escape => {
                self.typed.clear();
                self.mode = Mode::List;
            }
            _ => return,
        }
        // Half a question is none: what was asked before holds until it is one again.
        let typed = std::mem::take(&mut self.typed);
        self.wrong = self.ask(&typed).err().map(|error| error.to_string());
        self.typed = typed;
    }

    const fn key_of_detail(&mut self, key: Key) -> Action {
        match key {
            Key::Char('q') => return Action::Quit,
            Key::Down | Key::Char('j') => self.scrolled = self.scrolled.saturating_add(1),
            Key::Up | Key::Char('k') => self.scrolled = self.scrolled.saturating_sub(1),
            Key::PageDown | Key::Char(' ') => self.scrolled = self.scrolled.saturating_add(10),
            Key::PageUp => self.scrolled = self.scrolled.saturating_sub(10),
            Key::Home => self.scrolled = 0,
            Key::Enter | Key::Escape | Key::Backspace => self.mode = Mode::List,
            _ => {}
        }
        Action::Nothing
    }

    fn key_of_list(&mut self, key: Key) -> Action {
        match key {
            Key::Char('q') => return Action::Quit,
            Key::Char('w') => return Action::Save,
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Char('/') => self.mode = Mode::Question,
            Key::Char('a') => self.all = !self.all,
            Key::Char('s') => self.sort = if self.sort == Sort::Time { Sort::Severity } else { Sort::Time },
            Key::Char('p' | ' ') => self.paused_at = if self.paused() { None } else { Some(self.came) },
            Key::Enter => {
                (self.mode, self.scrolled) = (Mode::Detail, 0);
                self.select(|position, _| position);
            }
            Key::Escape => {
                self.selected = None;
                self.wrong = None;
                // Nothing to ask is no wrong question.
                let _always = self.ask("");
            }
            Key::Up | Key::Char('k') => self.select(|position, _| position.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.select(|position, _| position + 1),
            Key::PageUp => self.select(|position, _| position.saturating_sub(10)),
            Key::PageDown => self.select(|position, _| position + 10),
            Key::Home => self.selected = None,
            Key::End => self.select(|_, count| count),
            _ => {}
        }
        Action::Nothing
    }

    /// Selects another one by where it stands, and how many there are.
    fn select(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let listed = self.listed();
        let last = listed.len().saturating_sub(1);
        let position = to(self.position(&listed), listed.len()).min(last);
        self.selected = listed.get(position).map(|(number, _)| *number);
    }
}

const fn event_time(event: &Event) -> Option<Timestamp> {
    match event {
        Event::Rst(reset) | Event::ConnectionEnded(reset) => Some(reset.timestamp),
        _ => None,
    }
}
