//! `rstblame top`: events as they come, on a whole terminal.
//!
//! [`state`] is what is known and where the view stands, [`draw`] its picture; neither knows of
//! terminals or clocks. [`source`] is where lines come from. What happens on this host an agent of
//! this same program watches: what can go wrong with a terminal does not go wrong with it.

mod draw;
mod source;
mod state;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self as terminal, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{TopArgs, USAGE},
    query::QueryError,
    reader::event,
};
use source::{News, Source};
use state::{Action, Key, State};

/// Between two pictures at least.
const FRAME: Duration = Duration::from_millis(100);

/// How long the view has to end when it is told to.
const GRACE: Duration = Duration::from_secs(1);

/// Why there is no view.
#[derive(Debug, Error)]
pub enum TopError {
    #[error("rstblame top draws on a terminal, and standard output is none; rstblame events and rstblame summary write text")]
    NoTerminal,
    #[error("cannot open the events {}: {source}; name a file that rstblame capture --format json --output has written", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start an agent: {0}")]
    Agent(#[source] io::Error),
    #[error("the agent did not start: {0}")]
    Refused(String),
    #[error("not a question: {0}")]
    Question(#[from] QueryError),
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[source] io::Error),
}

/// Runs `rstblame top`.
pub fn run(args: &TopArgs) -> ExitCode {
    match top(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::log::failed(&error);
            if matches!(error, TopError::Question(_)) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn top(args: &TopArgs) -> Result<(), TopError> {
    if !io::stdout().is_terminal() {
        return Err(TopError::NoTerminal);
    }
    let mut state = State::default();
    if let Some(question) = &args.question {
        state.ask(question)?;
    }
    let source = Source::open(args)?;
    let stop = stopped().map_err(TopError::Terminal)?;
    // Puts the terminal back should anything panic.
    let mut screen = ratatui::try_init().map_err(TopError::Terminal)?;
    let ended = watch(&mut screen, &mut state, &source, &stop);
    ratatui::restore();
    ended.map_err(TopError::Terminal)
}

/// Draws until somebody has had enough.
fn watch(screen: &mut DefaultTerminal, state: &mut State, source: &Source, stop: &AtomicBool) -> io::Result<()> {
    let mut drawn = None::<Instant>;
    let mut changed = true;
    while !stop.load(Ordering::Relaxed) {
        // However much comes: keys and pictures have their turn.
        let began = Instant::now();
        while began.elapsed() < FRAME
            && let Ok(news) = source.news.try_recv()
        {
            take(state, news);
            changed = true;
        }
        if changed && drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
            screen.draw(|frame| draw::draw(frame, state, &source.name))?;
            (drawn, changed) = (Some(Instant::now()), false);
        }
        if !terminal::poll(FRAME)? {
            continue;
        }
        match terminal::read()? {
            terminal::Event::Key(key) if key.kind != KeyEventKind::Release => match key_of(key) {
                Some(Pressed::Interrupt) => return Ok(()),
                Some(Pressed::Key(key)) => match state.key(key) {
                    Action::Quit => return Ok(()),
                    Action::Save => state.notice = Some(save(state)),
                    Action::Nothing => {}
                },
                None => {}
            },
            _ => {}
        }
        changed = true;
    }
    Ok(())
}

fn take(state: &mut State, news: News) {
    match news {
        News::Line(line) if event::trim(&line).is_empty() => {}
        News::Line(line) => match event::read(&line) {
            Ok(event) => state.event(event, String::from_utf8_lossy(event::trim(&line)).into_owned()),
            Err(_) => state.unread += 1,
        },
        News::End(why) => state.ended = Some(why),
    }
}

enum Pressed {
    Key(Key),
    Interrupt,
}

/// What a key of the terminal means.
fn key_of(key: KeyEvent) -> Option<Pressed> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Pressed::Interrupt);
    }
    let key = match key.code {
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    };
    Some(Pressed::Key(key))
}

/// Writes what is listed to a file that was not there before; what to say of it.
fn save(state: &State) -> String {
    let name = format!("rstblame-{}.json", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S"));
    let listed = state.listed();
    let written = std::fs::File::create_new(&name)
        .and_then(|mut file| listed.iter().rev().try_for_each(|(_, entry)| writeln!(file, "{}", entry.line)));
    match written {
        Ok(()) => format!("{} events are in {name}", listed.len()),
        Err(error) => format!("{name} cannot be written: {error}"),
    }
}

/// Becomes true when this process is told to stop: the terminal is put back first.
fn stopped() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal)
    };
    let [terminate, hangup, interrupt] = signals;
    let (mut terminate, mut hangup, mut interrupt) = (terminate?, hangup?, interrupt?);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
        // Of a terminal that is gone crossterm reads for ever. The agent that was started ends with
        // this process.
        thread::sleep(GRACE);
        ratatui::restore();
        std::process::exit(0);
    })?;
    Ok(stop)
}
