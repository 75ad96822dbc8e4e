//! What is said once, and again only when it has changed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The most things that are remembered; beyond, something may be said twice.
const MOST: usize = 10_000;

/// What was last said of each thing.
#[derive(Debug, Default)]
pub struct Said {
    last: Mutex<HashMap<String, String>>,
}

impl Said {
    /// Whether this is news of that thing. An empty text is no news: there is nothing to say any more.
    pub fn is_news(&self, about: &str, text: &str) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if text.is_empty() {
            last.remove(about);
            return false;
        }
        if last.get(about).is_some_and(|said| said == text) {
            return false;
        }
        if last.len() >= MOST {
            last.clear();
        }
        last.insert(about.to_owned(), text.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_said_once_until_it_changes_or_ends() {
        let said = Said::default();
        let news: Vec<bool> = ["a", "a", "b", "b", "", "", "b"]
            .iter()
            .map(|text| said.is_news("shop", text))
            .collect();
        assert_eq!(news, [true, false, true, false, false, false, true]);
        assert!(said.is_news("other", "b"));
    }
}
