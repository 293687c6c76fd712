//! Who imports whom: the modules of a crate, read as the compiler would, tests left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

use crate::error::{Error, Result};

/// The modules of a crate that have a file, by their path from its root, and what each imports.
pub struct Graph {
    imports: BTreeMap<String, BTreeSet<String>>,
}

/// A module with a file of its own.
struct Module {
    path: Vec<String>,
    file: syn::File,
}

impl Graph {
    /// Reads the crate with this root.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or parsed.
    pub fn read(root: &Path) -> Result<Self> {
        Self::parse(root, &|path| fs::read_to_string(path).ok())
    }

    /// The same, with another way to come by the text of a file.
    pub fn parse(root: &Path, text: &dyn Fn(&Path) -> Option<String>) -> Result<Self> {
        let mut modules = Vec::new();
        collect(root, Vec::new(), text, &mut modules)?;
        let known: BTreeSet<Vec<String>> = modules.iter().map(|module| module.path.clone()).collect();
        let mut names = BTreeMap::new();
        for module in &modules {
            for item in &module.file.items {
                if let Item::Use(item) = item
                    && !matches!(item.vis, Visibility::Inherited)
                {
                    for (path, name) in leaves(&item.tree) {
                        if let Some(target) = absolute(&path, &module.path, &known) {
                            names.insert([module.path.as_slice(), &[name]].concat(), target);
                        }
                    }
                }
            }
        }
        let imports = modules.iter().filter(|module| !module.path.is_empty()).map(|module| {
            let mut paths = Paths { module: &module.path, depth: 0, found: Vec::new() };
            paths.visit_file(&module.file);
            let targets = paths.found.iter().filter_map(|path| target(absolute(path, &module.path, &known)?, &known, &names));
            // What belongs together by its place, parent and child, is one thing.
            let apart =
                targets.filter(|target| !target.is_empty() && !target.starts_with(&module.path) && !module.path.starts_with(target));
            (module.path.join("::"), apart.map(|target| target.join("::")).collect())
        });
        Ok(Self { imports: imports.collect() })
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.imports.len()
    }

    /// Every import of one file from another.
    pub fn imports(&self) -> impl Iterator<Item = (&str, &str)> {
        self.imports.iter().flat_map(|(from, to)| to.iter().map(move |to| (from.as_str(), to.as_str())))
    }

    /// Those that leave their room.
    pub fn between_rooms(&self) -> impl Iterator<Item = (&str, &str)> {
        self.imports().filter(|(from, to)| super::room(from) != super::room(to))
    }

    /// Modules of the crate's root.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        let mut rooms: Vec<&str> = self.imports.keys().map(|module| super::room(module)).collect();
        rooms.dedup();
        rooms.into_iter()
    }

    /// Files that import one another, directly or by others: each circle once, by its members.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> = self.imports.keys().map(|from| (from.as_str(), self.reach(from))).collect();
        let both = |one: &str, other: &str| reached.get(one).is_some_and(|all| all.contains(other));
        let mut circles: Vec<Vec<&str>> = Vec::new();
        for from in self.imports.keys().map(String::as_str) {
            if both(from, from) && !circles.iter().any(|circle| circle.contains(&from)) {
                circles.push(self.imports.keys().map(String::as_str).filter(|to| both(from, to) && both(to, from)).collect());
            }
        }
        circles
    }

    fn reach<'a>(&'a self, from: &'a str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(next) = open.pop() {
            for to in self.imports.get(next).into_iter().flatten() {
                if reached.insert(to.as_str()) {
                    open.push(to);
                }
            }
        }
        reached
    }
}

fn collect(file: &Path, path: Vec<String>, text: &dyn Fn(&Path) -> Option<String>, modules: &mut Vec<Module>) -> Result<()> {
    let objection = |what: String| Error::Rooms(format!("{}: {what}", file.display()));
    let source = text(file).ok_or_else(|| objection("cannot be read".to_owned()))?;
    let parsed = syn::parse_file(&source).map_err(|error| objection(error.to_string()))?;
    let stem = file.file_stem().unwrap_or_default();
    let directory = file.parent().unwrap_or(Path::new(""));
    let below = if ["mod", "lib", "main"].iter().any(|name| stem == *name) { directory.to_owned() } else { directory.join(stem) };
    for item in &parsed.items {
        if let Item::Mod(ItemMod { ident, content: None, attrs, .. }) = item
            && !is_test(attrs)
        {
            let places: [PathBuf; 2] = [below.join(format!("{ident}.rs")), below.join(ident.to_string()).join("mod.rs")];
            let child = places.into_iter().find(|place| text(place).is_some());
            let child = child.ok_or_else(|| objection(format!("there is no file of the module {ident}")))?;
            collect(&child, [path.as_slice(), &[ident.to_string()]].concat(), text, modules)?;
        }
    }
    modules.push(Module { path, file: parsed });
    Ok(())
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

/// Paths that a module names.
struct Paths<'a> {
    module: &'a [String],
    /// Inline modules around.
    depth: usize,
    found: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            self.depth += 1;
            visit::visit_item_mod(self, item);
            self.depth -= 1;
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for (path, _) in leaves(&item.tree) {
            self.take(path);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.take(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

impl Paths<'_> {
    /// An inline module's `super` is this file.
    fn take(&mut self, path: Vec<String>) {
        let supers = path.iter().take_while(|segment| *segment == "super").count();
        if self.depth == 0 || supers == 0 {
            self.found.push(path);
        } else if supers >= self.depth {
            let own = ["crate".to_owned()].into_iter().chain(self.module.iter().cloned());
            let up = self.module.len() + 1 - (supers - self.depth).min(self.module.len());
            self.found.push(own.take(up).chain(path.into_iter().skip(supers)).collect());
        }
    }
}

/// The paths of a tree, each with the name that it has here.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    match tree {
        UseTree::Path(path) => leaves(&path.tree)
            .into_iter()
            .map(|(rest, name)| {
                let own = path.ident.to_string();
                let name = if name == "self" { own.clone() } else { name };
                let rest = if rest == ["self"] { Vec::new() } else { rest };
                ([vec![own], rest].concat(), name)
            })
            .collect(),
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(rename) => vec![(vec![rename.ident.to_string()], rename.rename.to_string())],
        UseTree::Glob(_) => vec![(Vec::new(), "*".to_owned())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// A path from the root of the crate; `None` for one that leaves the crate.
fn absolute(path: &[String], module: &[String], known: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let supers = path.iter().take_while(|segment| *segment == "super").count();
            Some([module.get(..module.len().checked_sub(supers)?)?, path.get(supers..)?].concat())
        }
        _ => {
            let child = [module, std::slice::from_ref(first)].concat();
            known.contains(&child).then(|| [module, path].concat())
        }
    }
}

/// The file that what a path leads to is in, through names that modules give on.
fn target(path: Vec<String>, known: &BTreeSet<Vec<String>>, names: &BTreeMap<Vec<String>, Vec<String>>) -> Option<Vec<String>> {
    let mut path = path;
    // No chain of names is so long.
    for _ in 0..16 {
        let module = (0..=path.len()).rev().find_map(|length| path.get(..length).filter(|prefix| known.contains(*prefix)))?.to_vec();
        let Some(next) = path.get(..=module.len()).and_then(|name| names.get(name)) else { return Some(module) };
        path = [next.as_slice(), path.get(module.len() + 1..)?].concat();
    }
    None
}
