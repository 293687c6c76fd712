//! The rooms of the house: which modules may import which, and that no files import one another in
//! a circle.
//!
//! A room is a module of a crate's root. Rooms stand on floors; a room imports those below it and
//! nothing else. What `docs/architecture.md` says of them is held against [`AGENT`] and [`KERNEL`].

mod graph;

use std::{collections::BTreeMap, fmt::Write as _};

use graph::Graph;

use crate::{
    error::{Error, Result},
    workspace::Workspace,
};

/// A crate, and its floors from the ground up. Rooms of one floor do not know of each other.
struct House {
    crate_name: &'static str,
    root: &'static str,
    floors: &'static [&'static [&'static str]],
}

/// The agent: what everything stands on, the vocabulary, what is known of a host and of a
/// conversation, what is remembered of connections, where resets come from and what is made of
/// them, the contract, where it goes, and the commands.
const AGENT: House = House {
    crate_name: "rstblame",
    root: "agent/src/lib.rs",
    floors: &[
        &["clock", "decompress", "files", "limits", "progress", "signal", "text", "units"],
        &["log", "model"],
        &["amqp", "host"],
        &["privileges"],
        &["flow"],
        &["attribution", "join", "kernel"],
        &["event"],
        &["query", "story"],
        &["output", "reader"],
        &["metrics"],
        &["health"],
        &["http", "systemd"],
        &["cli"],
        &["config"],
        &["capture", "events", "explain", "pcap", "report", "summary", "top"],
        &["check", "daemon"],
    ],
};

/// The kernel programs.
const KERNEL: House =
    House { crate_name: "rstblame-ebpf", root: "agent-ebpf/src/main.rs", floors: &[&["ground"], &["record"], &["tap"], &["hooks"]] };

/// The lab: what every part of it needs, hosts, who talks between them, the agent under test, and
/// what it ought to say.
const LAB: House = House {
    crate_name: "rstblame-lab",
    root: "tests/src/lib.rs",
    floors: &[
        &["error"],
        &["poll", "workspace"],
        &["command", "figures"],
        &["hosts"],
        &["peers"],
        &["agents", "brokers"],
        &["proxies"],
        &["truths"],
    ],
};

/// All of them.
const HOUSES: [House; 3] = [KERNEL, AGENT, LAB];

/// Prints who imports whom.
///
/// # Errors
///
/// When a source file cannot be read or parsed.
pub fn print(workspace: &Workspace) -> Result<()> {
    for house in HOUSES {
        print!("{}", house.picture(&Graph::read(&workspace.root.join(house.root))?));
    }
    Ok(())
}

/// Holds the crates against their floors.
///
/// # Errors
///
/// [`Error::Rooms`] with every import that points up, every circle and every room without a floor.
pub fn check(workspace: &Workspace) -> Result<()> {
    let mut found = Vec::new();
    for house in HOUSES {
        found.extend(house.objections(&Graph::read(&workspace.root.join(house.root))?));
    }
    if found.is_empty() { Ok(()) } else { Err(Error::Rooms(found.join("\n"))) }
}

impl House {
    fn floor(&self, room: &str) -> Option<usize> {
        self.floors.iter().position(|floor| floor.contains(&room))
    }

    /// Every room from the ground up, with the rooms it imports and how often.
    fn picture(&self, graph: &Graph) -> String {
        let mut rooms: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for (from, to) in graph.between_rooms() {
            *rooms.entry(room(from)).or_default().entry(room(to)).or_default() += 1;
        }
        let mut text = format!("{}: {} files import one another {} times\n", self.crate_name, graph.files(), graph.imports().count());
        for floor in self.floors {
            for name in *floor {
                let below: Vec<String> = rooms.get(name).into_iter().flatten().map(|(room, count)| format!("{room} {count}")).collect();
                let below = if below.is_empty() { "nothing".to_owned() } else { below.join(", ") };
                let _infallible = writeln!(text, "  {name:<12} imports {below}");
            }
        }
        for circle in graph.circles() {
            let _infallible = writeln!(text, "  circle: {}", circle.join(" -> "));
        }
        text
    }

    fn objections(&self, graph: &Graph) -> Vec<String> {
        let name = self.crate_name;
        let mut found: Vec<String> = graph
            .rooms()
            .filter(|room| self.floor(room).is_none())
            .map(|room| format!("{name}: the room {room} has no floor in xtask/src/rooms/mod.rs"))
            .collect();
        for (from, to) in graph.between_rooms() {
            if self.floor(room(to)) >= self.floor(room(from)) {
                found.push(format!("{name}: {from} imports {to}, which is not below it"));
            }
        }
        found.extend(graph.circles().into_iter().map(|circle| format!("{name}: a circle of files: {}", circle.join(" -> "))));
        found
    }
}

/// The room of a module.
fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{HOUSES, House, graph::Graph};

    fn graph(files: &[(&str, &str)]) -> Graph {
        Graph::parse(Path::new("src/lib.rs"), &|path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        })
        .unwrap_or_else(|error| unreachable!("{error}"))
    }

    const HOUSE: House = House { crate_name: "house", root: "src/lib.rs", floors: &[&["low"], &["high", "wing"]] };

    #[test]
    fn arrows_point_down() {
        let files = [
            ("src/lib.rs", "pub mod low; pub mod high; mod wing;"),
            ("src/low.rs", "pub struct Low;"),
            ("src/high/mod.rs", "mod part; pub use part::Part; use crate::low::Low;"),
            ("src/high/part.rs", "pub struct Part; fn f() { crate::low::g(super::super::low::Low) }"),
            ("src/wing.rs", ""),
        ];
        assert_eq!(HOUSE.objections(&graph(&files)), Vec::<String>::new());
        let up = [files[0], ("src/low.rs", "use crate::high::Part;"), files[2], files[3], files[4]];
        let found = HOUSE.objections(&graph(&up));
        assert_eq!(found.first().map(String::as_str), Some("house: low imports high::part, which is not below it"), "{found:?}");
        assert_eq!(found.len(), 2, "and a circle with what imports it: {found:?}");
        let aside = [files[0], files[1], files[2], files[3], ("src/wing.rs", "fn f(part: crate::high::Part) {}")];
        assert_eq!(HOUSE.objections(&graph(&aside)), ["house: wing imports high::part, which is not below it"]);
        let unknown = [("src/lib.rs", "mod low; mod attic;"), ("src/low.rs", ""), ("src/attic.rs", "")];
        assert_eq!(HOUSE.objections(&graph(&unknown)), ["house: the room attic has no floor in xtask/src/rooms/mod.rs"]);
    }

    #[test]
    fn tests_are_free_and_parents_know_their_children() {
        let files = [
            ("src/lib.rs", "mod low; mod high; mod wing;"),
            ("src/low.rs", "#[cfg(test)] mod tests { use crate::high::Part; }"),
            ("src/high.rs", "mod a; mod b; pub struct Top; use a::A; use b::B;"),
            ("src/high/a.rs", "use super::Top; pub struct A;"),
            ("src/high/b.rs", "use super::a::A; pub struct B;"),
            ("src/wing.rs", ""),
        ];
        assert_eq!(HOUSE.objections(&graph(&files)), Vec::<String>::new());
        let circle = [files[0], files[1], files[2], ("src/high/a.rs", "use super::b::B; pub struct A;"), files[4], files[5]];
        assert_eq!(HOUSE.objections(&graph(&circle)), ["house: a circle of files: high::a -> high::b"]);
    }

    #[test]
    fn no_room_stands_twice() {
        for house in HOUSES {
            let mut rooms = house.floors.concat();
            let count = rooms.len();
            rooms.sort_unstable();
            rooms.dedup();
            assert_eq!(rooms.len(), count, "{}", house.crate_name);
        }
    }
}
