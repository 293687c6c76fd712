//! Lines out of what wraps them: the journal's entries, documents, JSON, pieces.

use serde_json::Value;

use super::{
    FEW, LARGEST_LINE, Line, LogReader, Opening, clean,
    gather::{Document, after_tag, assigned, is_member, may_be_json, unquoted_field},
    message,
    object::{self, Taken},
    one_line, remember,
    stamp::Stamp,
    wrap::{self, Piece},
};

impl LogReader {
    pub(super) fn raw_line(&mut self, raw: &str) {
        if std::mem::take(&mut self.length_follows) {
            // systemd's JOURNAL_EXPORT_FORMATS: eight bytes of length, least significant first.
            let after = raw.char_indices().nth(8).map_or("", |(at, _)| raw.get(at..).unwrap_or_default());
            let line = clean::clean(after).into_owned();
            return self.journal_message(&line, &line);
        }
        let line = clean::clean(raw);
        let trimmed = line.trim();
        if let Some(document) = &mut self.document {
            if document.push(&line) {
                self.end_document();
            }
            return;
        }
        if trimmed.is_empty() || trimmed.starts_with("```") && trimmed.len() < 12 && !trimmed.contains(' ') {
            return;
        }
        if trimmed == "MESSAGE" {
            self.length_follows = true;
            return;
        }
        if let Some(time) = trimmed.strip_prefix("__REALTIME_TIMESTAMP=") {
            self.journal = self.clock.whole(time);
            return;
        }
        if let Some(message) = trimmed.strip_prefix("MESSAGE=") {
            return self.journal_message(message, &line);
        }
        if trimmed.starts_with(|c: char| c.is_ascii_uppercase()) && trimmed.contains(" [s=") {
            self.journal = wrap::peel(&self.clock, trimmed).time;
            return;
        }
        if self.journal.is_some() && is_member(trimmed) {
            return;
        }
        if memchr::memchr(b'"', trimmed.as_bytes()).is_some()
            && let Some(taken) = assigned(&self.clock, trimmed)
        {
            return self.taken(taken, &line);
        }
        self.plain(&line, &line);
    }

    fn journal_message(&mut self, message: &str, raw: &str) {
        let taken = Taken { text: message.to_owned(), time: self.journal.clone(), ..Taken::default() };
        self.taken(taken, raw);
    }

    /// A line as it stands in a file.
    pub(super) fn plain(&mut self, line: &str, raw: &str) {
        let mut peeled = wrap::peel(&self.clock, line);
        if peeled.time.is_none() && peeled.level.is_none() && self.held.mends(&self.clock, raw) {
            return;
        }
        let source = one_line(&peeled.source.join(" "));
        if self.is_piece(peeled.piece, &source) {
            // What had been peeled off belongs to the piece, if the piece begins in the middle of a
            // record.
            let text = after_tag(line).unwrap_or(peeled.text);
            if let Some(text) = self.put_together(peeled.piece, &source, text) {
                let time = peeled.outer.or(peeled.time);
                self.taken(Taken { text, time, source: vec![source], ..Taken::default() }, raw);
            }
            return;
        }
        if peeled.text.starts_with(['{', '['])
            && let Some(done) = self.json(peeled.text, raw, &source)
        {
            return done;
        }
        if !peeled.is_record()
            && !message::begins(peeled.text)
            && let Some(at) = peeled.text.find("{\"")
            && let (Some(before), Some(text)) = (peeled.text.get(..at), peeled.text.get(at..))
            && let Some(Ok(value)) = serde_json::Deserializer::from_str(text).into_iter::<Value>().next()
        {
            let source = one_line(&[source.as_str(), before.trim()].join(" "));
            for mut taken in object::taken(&self.clock, &value) {
                if taken.source.is_empty() {
                    taken.source.push(source.clone());
                }
                taken.time = taken.time.or_else(|| peeled.time.clone());
                self.taken(taken, raw);
            }
            return;
        }
        let field = unquoted_field(line, peeled.text);
        if let Some(field) = &field {
            peeled.text = field;
        }
        peeled.level = peeled.level.or(peeled.severity);
        let record = peeled.is_record();
        if record && peeled.text.trim().is_empty() {
            if peeled.pid.is_some() {
                self.seen.rabbitmq = true;
            }
            let opening = Opening {
                source,
                time: peeled.time,
                outer: peeled.outer,
                level: peeled.level,
                pid: peeled.pid.map(str::to_owned),
                raw: raw.to_owned(),
                report: peeled.report,
            };
            self.seen.rabbitmq |= opening.report;
            self.openings.retain(|other| other.source != opening.source);
            remember(&mut self.openings, opening, FEW);
            return;
        }
        self.seen.rabbitmq |= peeled.report;
        let (time, outer, level, pid) = (peeled.time, peeled.outer, peeled.level, peeled.pid);
        let mut first = true;
        for text in clean::unfolded(peeled.text) {
            let line = Line {
                source: source.clone(),
                time: time.clone(),
                outer: outer.clone(),
                level,
                pid,
                // What was folded into one line of syslog is one message.
                record: record || !first,
                text: &text,
                raw,
            };
            self.read(line);
            first = false;
        }
    }

    /// Whether a text is one of several pieces of a line.
    fn is_piece(&self, piece: Piece, source: &str) -> bool {
        match piece {
            Piece::Whole => false,
            Piece::Partial => true,
            Piece::Last => self.pieces.iter().any(|(other, _)| other == source),
        }
    }

    /// Takes in a piece of a line; returns the line when it is whole.
    fn put_together(&mut self, piece: Piece, source: &str, text: &str) -> Option<String> {
        let before = self.pieces.iter().position(|(other, _)| other == source).and_then(|at| self.pieces.remove(at));
        let mut whole = before.map_or_else(String::new, |(_, text)| text);
        if whole.len() < LARGEST_LINE {
            whole.push_str(text);
        }
        if piece == Piece::Partial {
            remember(&mut self.pieces, (source.to_owned(), whole), FEW);
            return None;
        }
        Some(whole)
    }

    /// JSON, whole or the beginning of a document over several lines; `None` if it is neither.
    fn json(&mut self, text: &str, raw: &str, source: &str) -> Option<()> {
        match serde_json::from_str(text) {
            Ok(value) => {
                self.records(&value, source, None, raw);
                Some(())
            }
            Err(error) if error.is_eof() && may_be_json(text) => {
                let mut document = Document::default();
                document.push(text);
                self.document = Some(document);
                Some(())
            }
            Err(_) => None,
        }
    }

    /// All records of a value; `source` and `time` are those of what it stands in.
    fn records(&mut self, value: &Value, source: &str, time: Option<&Stamp>, raw: &str) {
        for mut taken in object::taken(&self.clock, value) {
            if !source.is_empty() {
                taken.source.insert(0, source.to_owned());
            }
            taken.time = taken.time.or_else(|| time.cloned());
            self.taken(taken, raw);
        }
    }

    pub(super) fn end_document(&mut self) {
        let Some(document) = self.document.take() else { return };
        let text = document.text;
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => {
                for taken in object::taken(&self.clock, &value) {
                    let raw = taken.text.clone();
                    self.taken(taken, &raw);
                }
            }
            Err(_) => self.give_up(&text),
        }
    }

    /// Lines that were taken for a document and are none.
    pub(super) fn give_up(&mut self, text: &str) {
        for line in text.lines() {
            let peeled = wrap::peel(&self.clock, line);
            if !peeled.text.starts_with(['{', '[']) {
                self.plain(line, line);
            }
        }
    }

    /// What was taken out of a wrapper.
    fn taken(&mut self, taken: Taken, raw: &str) {
        let source = taken.source.join(" ");
        if self.is_piece(taken.piece, &source) {
            if let Some(text) = self.put_together(taken.piece, &source, &taken.text) {
                self.taken(Taken { text, piece: Piece::Whole, ..taken }, raw);
            }
            return;
        }
        // What is repeated is the whole line, with the first of its texts.
        let mut text_raw = Some(raw);
        let several = taken.text.trim_end().contains('\n');
        let described = taken.pid.is_some() || taken.level.is_some();
        for text in taken.text.lines() {
            let text = clean::clean(text);
            if text.trim().is_empty() {
                continue;
            }
            // JSON in JSON.
            if text.starts_with('{')
                && let Ok(value) = serde_json::from_str(&text)
            {
                self.records(&value, &source, taken.time.as_ref(), raw);
                continue;
            }
            let own = wrap::peel(&self.clock, &text);
            let inner_source = own.source.join(" ");
            let source = [source.as_str(), inner_source.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
            if own.is_record() && own.text.trim().is_empty() {
                self.plain(&text, raw);
                continue;
            }
            for part in clean::unfolded(own.text) {
                let line = Line {
                    source: source.clone(),
                    time: own.time.clone().or_else(|| taken.time.clone().filter(|_| described)),
                    outer: taken.time.clone().filter(|_| own.time.is_some() || !described),
                    level: own.level.or(taken.level),
                    pid: own.pid.or(taken.pid.as_deref()),
                    record: own.is_record() || taken.pid.is_some() || (several && text_raw.is_none()),
                    text: &part,
                    raw: text_raw.take().unwrap_or_default(),
                };
                self.read(line);
            }
        }
    }
}
