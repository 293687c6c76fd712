//! Lines that cannot be an answer are passed over before they are parsed: by bytes that every
//! answer has.
//!
//! A comparison holds only for a line that has its member, and `=` only for one that has its text.
//! Both stand in a line as they are, unless whoever wrote it has escaped letters that need none:
//! a line with `\u` in it is always parsed. A `not` says nothing about bytes.

use memchr::memmem::Finder;

use super::{
    Expression, Wanted,
    value::{Comparison, Operand, Test},
};

/// What a line must have.
#[derive(Clone, Debug)]
pub(super) enum Prefilter {
    /// Nothing.
    Pass,
    Has(Box<Finder<'static>>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

impl Prefilter {
    /// What every answer to a question has.
    pub fn of(expression: &Expression, wanted: &Wanted) -> Self {
        match expression {
            Expression::All(all) => Self::all(all.iter().map(|one| Self::of(one, wanted)).collect()),
            Expression::Any(any) => {
                let any: Vec<Self> = any.iter().map(|one| Self::of(one, wanted)).collect();
                if any.iter().any(|one| matches!(one, Self::Pass)) { Self::Pass } else { Self::Any(any) }
            }
            Expression::Not(_) => Self::Pass,
            Expression::Compare { place, test } => {
                let member = wanted.name(*place).map_or(Self::Pass, |name| Self::has(&format!("\"{name}\"")));
                // The text is rarer than the member, and looked for first.
                let text = match test {
                    Test::Is(Comparison::Equal, Operand::Text(text)) | Test::Contains(text) => Self::plain(text),
                    Test::In(operands) => {
                        let any: Vec<Self> = operands.iter().map(Self::operand).collect();
                        if any.iter().any(|one| matches!(one, Self::Pass)) { Self::Pass } else { Self::Any(any) }
                    }
                    _ => Self::Pass,
                };
                Self::all(vec![text, member])
            }
        }
    }

    fn operand(operand: &Operand) -> Self {
        match operand {
            Operand::Text(text) => Self::plain(text),
            // What all addresses of an IPv4 network of whole bytes begin with; its members are
            // written in no other way.
            Operand::Network(ipnet::IpNet::V4(network)) => {
                let octets = network.network().octets();
                let [a, b, c, _] = octets;
                match network.prefix_len() {
                    8..16 => Self::plain(&format!("{a}.")),
                    16..24 => Self::plain(&format!("{a}.{b}.")),
                    24..32 => Self::plain(&format!("{a}.{b}.{c}.")),
                    32 => Self::plain(&network.addr().to_string()),
                    _ => Self::Pass,
                }
            }
            _ => Self::Pass,
        }
    }

    /// Text that no serialiser has to escape.
    fn plain(text: &str) -> Self {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b' '));
        if plain { Self::has(text) } else { Self::Pass }
    }

    fn has(text: &str) -> Self {
        if text.is_empty() { Self::Pass } else { Self::Has(Box::new(Finder::new(text).into_owned())) }
    }

    fn all(mut all: Vec<Self>) -> Self {
        all.retain(|one| !matches!(one, Self::Pass));
        if all.is_empty() { Self::Pass } else { Self::All(all) }
    }

    /// Whether a line may be an answer.
    pub fn may_match(&self, line: &[u8]) -> bool {
        self.has_all(line) || memchr::memmem::find(line, b"\\u").is_some()
    }

    fn has_all(&self, line: &[u8]) -> bool {
        match self {
            Self::Pass => true,
            Self::Has(finder) => finder.find(line).is_some(),
            Self::All(all) => all.iter().all(|one| one.has_all(line)),
            Self::Any(any) => any.iter().any(|one| one.has_all(line)),
        }
    }
}
