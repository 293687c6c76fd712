//! What a benchmark or a soak found: printed for people, and written down for `cargo xtask report`.

use std::{env, fmt::Write as _, fs};

use crate::{LabError, Result, Value, json, workspace};

/// Names the variable with the machine, the commit and the time, as JSON; `cargo xtask bench` and
/// `cargo xtask soak` set it.
const RUN: &str = "RSTBLAME_RUN";

/// Columns of a bar that is as long as any.
const BAR: u8 = 50;

/// Whether what is written will be known to be of which machine and commit.
pub fn is_recorded() -> bool {
    env::var_os(RUN).is_some()
}

/// The figures of one benchmark so far.
#[derive(Default)]
pub struct Figures {
    /// Those before the last.
    tables: Vec<Table>,
    last: Table,
}

#[derive(Default)]
struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    plots: Vec<String>,
    notes: Vec<String>,
    limits: Vec<(String, bool)>,
}

impl Figures {
    /// Begins a table. Its first column says what the others are the figures of.
    pub fn table(&mut self, title: impl Into<String>, columns: &[&str]) {
        let table = Table { title: title.into(), columns: columns.iter().map(|&column| column.to_owned()).collect(), ..Table::default() };
        println!("{}:", table.title);
        println!("{}", table.line(&table.columns));
        self.tables.push(std::mem::replace(&mut self.last, table));
    }

    /// One row of the table that was begun last.
    pub fn row(&mut self, what: impl Into<String>, figures: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = std::iter::once(what.into()).chain(figures).collect();
        let table = &mut self.last;
        println!("{}", table.line(&cells));
        table.rows.push(cells);
    }

    /// What has to be known to read the table.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        println!("  {note}");
        self.last.notes.push(note);
    }

    /// Whether a limit is kept.
    pub fn limit(&mut self, what: impl Into<String>, kept: bool) {
        let what = what.into();
        println!("  limit {what}: {}", if kept { "kept" } else { "BROKEN" });
        self.last.limits.push((what, kept));
    }

    /// Bars for the figures of one column, which have to begin with numbers.
    pub fn plot(&mut self, column: &str) {
        let text = self.last.plot(column);
        print!("{text}");
        self.last.plots.push(text);
    }

    /// Whether no limit is broken.
    pub fn kept(&self) -> bool {
        self.all().flat_map(|table| &table.limits).all(|(_, kept)| *kept)
    }

    /// Writes `target/bench/NAME.json`.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`].
    pub fn write(&self, name: &str) -> Result<()> {
        let directory = workspace::root().join("target/bench");
        let path = directory.join(format!("{name}.json"));
        // A benchmark that is started by hand does not say of which commit it is, and
        // `cargo xtask report` leaves it out.
        let run: Value = env::var(RUN).ok().and_then(|run| serde_json::from_str(&run).ok()).unwrap_or_default();
        let tables: Vec<Value> = self.all().map(Table::json).collect();
        let text = format!("{:#}\n", json!({"name": name, "run": run, "kept": self.kept(), "tables": tables}));
        let written = fs::create_dir_all(&directory).and_then(|()| fs::write(&path, text));
        written.map_err(|error| LabError::io(format!("write {}", path.display()), error))
    }

    fn all(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().chain([&self.last]).filter(|table| !table.title.is_empty())
    }
}

impl Table {
    /// The first column to the left, the others to the right, below their heads.
    fn line(&self, cells: &[String]) -> String {
        let mut line = String::from(" ");
        for (number, cell) in cells.iter().enumerate() {
            let head = self.columns.get(number).map_or(0, |head| head.chars().count());
            // Writing to a string does not fail.
            let _ = if number == 0 { write!(line, " {cell:<48}") } else { write!(line, " {cell:>width$}", width = head.max(12)) };
        }
        line
    }

    fn plot(&self, column: &str) -> String {
        let Some(number) = self.columns.iter().position(|name| name == column) else { return String::new() };
        let value = |row: &Vec<String>| row.get(number)?.split(' ').next()?.parse::<f64>().ok();
        let most = self.rows.iter().filter_map(value).fold(f64::MIN_POSITIVE, f64::max);
        let mut text = format!("  {column} over {}\n", self.columns.first().map_or("", String::as_str));
        for row in &self.rows {
            let (Some(what), Some(value)) = (row.first(), value(row)) else { continue };
            let bar: String = (0..BAR).map(|at| if f64::from(at) < value / most * f64::from(BAR) { '#' } else { ' ' }).collect();
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {what:>10} |{bar}| {value}");
        }
        text
    }

    fn json(&self) -> Value {
        let limits: Vec<Value> = self.limits.iter().map(|(what, kept)| json!({"what": what, "kept": kept})).collect();
        json!({"title": self.title, "columns": self.columns, "rows": self.rows, "plots": self.plots, "notes": self.notes, "limits": limits})
    }
}
