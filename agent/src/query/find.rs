//! Out of a line, only what is asked for: the rest is passed over unread.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value that was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaf {
    Text(String),
    Number(f64),
    Truth(bool),
    /// It has members of its own.
    Object,
}

/// What was found, by place; of a list there may be several.
#[derive(Debug)]
pub(super) struct Found(Vec<Vec<Leaf>>);

impl Found {
    pub fn new(places: usize) -> Self {
        Self(vec![Vec::new(); places])
    }

    pub fn at(&self, place: usize) -> &[Leaf] {
        self.0.get(place).map_or(&[], Vec::as_slice)
    }
}

/// The members that are asked for, as a tree of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    root: Node,
    paths: Vec<&'static str>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: Vec<(&'static str, Self)>,
    place: Option<usize>,
}

impl Wanted {
    /// The place of a member, new or known.
    pub fn place(&mut self, path: &'static str) -> usize {
        if let Some(place) = self.paths.iter().position(|known| *known == path) {
            return place;
        }
        let place = self.paths.len();
        self.paths.push(path);
        self.root.insert(path, place);
        place
    }

    pub fn places(&self) -> usize {
        self.paths.len()
    }

    /// The last name of the member in a place.
    pub fn name(&self, place: usize) -> Option<&'static str> {
        self.paths.get(place)?.rsplit('.').next()
    }

    pub fn seed<'a>(&'a self, found: &'a mut Found) -> Seed<'a> {
        Seed { node: &self.root, found }
    }
}

impl Node {
    fn insert(&mut self, path: &'static str, place: usize) {
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let index = self.children.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.children.push((name, Self::default()));
            self.children.len() - 1
        });
        let Some((_, child)) = self.children.get_mut(index) else { return };
        match rest {
            Some(rest) => child.insert(rest, place),
            None => child.place = Some(place),
        }
    }
}

/// Reads a value, and keeps what is wanted of it.
pub(super) struct Seed<'a> {
    node: &'a Node,
    found: &'a mut Found,
}

impl Seed<'_> {
    fn keep(self, leaf: Leaf) {
        if let Some(found) = self.node.place.and_then(|place| self.found.0.get_mut(place)) {
            found.push(leaf);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Name(self.node))? {
            match child {
                Some(node) => map.next_value_seed(Seed { node, found: self.found })?,
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        self.keep(Leaf::Object);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Seed { node: self.node, found: self.found })?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.keep(Leaf::Text(text.to_owned()));
        Ok(())
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<(), E> {
        self.keep(Leaf::Truth(truth));
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of events beyond 2^53 are compared by their magnitude")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.keep(Leaf::Number(number as f64));
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of events beyond 2^53 are compared by their magnitude")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.keep(Leaf::Number(number as f64));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.keep(Leaf::Number(number));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The name of a member: the node of its value, if it is wanted.
struct Name<'a>(&'a Node);

impl<'de, 'a> DeserializeSeed<'de> for Name<'a> {
    type Value = Option<&'a Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Name<'a> {
    type Value = Option<&'a Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().find(|(known, _)| *known == name).map(|(_, node)| node))
    }
}
