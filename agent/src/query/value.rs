//! What a member's value is held against.

use std::{cmp::Ordering, net::IpAddr};

use ipnet::IpNet;
use jiff::Timestamp;

use super::{find::Leaf, members::Kind};
use crate::units;

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// It is there.
    Present,
    /// It compares so.
    Is(Comparison, Operand),
    Contains(String),
    In(Vec<Operand>),
    NotIn(Vec<Operand>),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value of a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Text(String),
    Number(f64),
    Truth(bool),
    Time(Timestamp),
    Network(IpNet),
}

impl Comparison {
    pub fn of(operator: &str) -> Self {
        match operator {
            "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => Self::Equal,
        }
    }

    const fn allows(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Operand {
    /// Reads a value of a member of this kind; what else it should have been, otherwise.
    pub fn read(text: &str, quoted: bool, path: &str, kind: &Kind) -> Result<Self, String> {
        match kind {
            Kind::Number => number(text, path).map(Self::Number),
            Kind::Truth => match text {
                "true" => Ok(Self::Truth(true)),
                "false" => Ok(Self::Truth(false)),
                _ => Err(format!("{path} is true or false, not {text:?}")),
            },
            Kind::Time => text.parse().map(Self::Time).map_err(|_| format!("{path} is a time; give it as 2026-06-29T02:10:00Z")),
            Kind::Words(words) if !quoted && !words.iter().any(|word| word == text) => {
                Err(match nearest(text, words.iter().map(String::as_str)) {
                    Some(word) => format!("{path} is never {text:?}; the nearest is {word:?}"),
                    None => format!("{path} is never {text:?}; it is one of {}", words.join(", ")),
                })
            }
            Kind::Object => Err(format!("{path} has no value of its own; ask for one of its members, such as {path}.…")),
            Kind::Words(_) | Kind::Text => Ok(Self::Text(text.to_owned())),
        }
    }

    /// Reads an element of a list: an address and a network stand for all that is in it.
    pub fn read_element(text: &str, quoted: bool, path: &str, kind: &Kind) -> Result<Self, String> {
        if *kind == Kind::Text && path.ends_with("address") {
            return text
                .parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map(Self::Network)
                .map_err(|_| format!("{text:?} is no address and no network; give one such as 10.0.6.0/24"));
        }
        Self::read(text, quoted, path, kind)
    }

    /// How a value of a line compares with this one; `None` if it does not.
    fn compare(&self, leaf: &Leaf) -> Option<Ordering> {
        match (self, leaf) {
            (Self::Text(text), Leaf::Text(value)) => Some(value.as_str().cmp(text)),
            (Self::Number(number), Leaf::Number(value)) => value.partial_cmp(number),
            (Self::Truth(truth), Leaf::Truth(value)) => Some(value.cmp(truth)),
            (Self::Time(time), Leaf::Text(value)) => Some(value.parse::<Timestamp>().ok()?.cmp(time)),
            (Self::Network(network), Leaf::Text(value)) => {
                let address: IpAddr = value.parse().ok()?;
                Some(if network.contains(&address) { Ordering::Equal } else { address.cmp(&network.network()).then(Ordering::Greater) })
            }
            _ => None,
        }
    }
}

impl Test {
    /// Whether a value passes.
    pub fn passes(&self, leaf: &Leaf) -> bool {
        match self {
            Self::Present => true,
            Self::Is(comparison, operand) => operand.compare(leaf).is_some_and(|ordering| comparison.allows(ordering)),
            Self::Contains(part) => matches!(leaf, Leaf::Text(text) if text.contains(part.as_str())),
            Self::In(operands) => operands.iter().any(|operand| operand.compare(leaf) == Some(Ordering::Equal)),
            Self::NotIn(operands) => operands.iter().all(|operand| operand.compare(leaf).is_some_and(Ordering::is_ne)),
        }
    }
}

/// A number, or a length of time in the member's own unit.
fn number(text: &str, path: &str) -> Result<f64, String> {
    if let Ok(number) = text.parse::<f64>() {
        return if number.is_finite() { Ok(number) } else { Err(format!("{path} is a number, not {text:?}")) };
    }
    let per_second = match path {
        path if path.ends_with("_ms") => 1e3,
        path if path.ends_with("_us") => 1e6,
        path if path.ends_with("_s") => 1.0,
        _ => return Err(format!("{path} is a number, not {text:?}")),
    };
    let time = units::duration(text).map_err(|_| format!("{path} is a length of time; give it as 350s, 5m or a number in its own unit"))?;
    Ok(time.as_secs_f64() * per_second)
}

/// The most similar of many, if one is similar at all.
pub(super) fn nearest<'a>(word: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// From 0 to 1.
    const SIMILAR: f64 = 0.7;
    all.map(|one| (strsim::jaro_winkler(one, word), one))
        .filter(|(similar, _)| *similar >= SIMILAR)
        .max_by(|(one, name), (other, other_name)| one.total_cmp(other).then_with(|| other_name.cmp(name)))
        .map(|(_, one)| one)
}
