//! Texts that are the same for many connections, kept once.

use std::collections::HashMap;

/// Texts that are kept. An address scan must not fill the memory.
const MOST: usize = 1 << 16;

/// Numbered texts; 0 is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Texts {
    /// The number of a text; 0 where there is no room left.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        if self.texts.len() >= MOST {
            return 0;
        }
        self.texts.push(text.to_owned());
        let number = u32::try_from(self.texts.len()).unwrap_or(0);
        self.numbers.insert(text.to_owned(), number);
        number
    }

    /// The text of a number.
    pub fn text(&self, number: u32) -> Option<&str> {
        self.texts.get(usize::try_from(number.checked_sub(1)?).ok()?).map(String::as_str)
    }
}
