//! Match rules: which requests reach a named side whatever the weight. Pure.
//!
//! Each rule has a word: its place times two, and one more where it leads to stable. HAProxy looks everything up and the
//! lowest word decides, so the first rule that fits does. What must never happen: one release's rule moving another's requests.

use fm_api::release::{Criterion, Side};

use super::{Desired, Input};
use crate::names;

/// More than any rule's word: no rule fits.
pub const NO_RULE: u16 = 9999;

impl Desired {
    /// The release's rules in their order.
    pub(super) fn add_matches(&mut self, input: &Input<'_>) {
        let mut paths: Vec<(String, u16)> = Vec::new();
        for (place, rule) in (0u16..NO_RULE / 2).zip(&input.target.match_rules) {
            let word = place * 2 + u16::from(rule.to == Side::Stable);
            let taken = match rule.criterion() {
                Some(Criterion::Header(name, value)) => self.by_header(input, name, value, word),
                Some(Criterion::Cookie(name, value)) => self.by_cookie(input, name, value, word),
                Some(Criterion::Path(path)) => match names::path_key(path) {
                    Some(path) => {
                        paths.push((path, word));
                        true
                    }
                    None => false,
                },
                None => false,
            };
            if !taken {
                self.problem(
                    input.key,
                    "a match rule was left out: it holds characters that are not allowed"
                        .to_owned(),
                );
            }
        }
        // HAProxy finds the longest prefix alone, so each carries the first word of all that hold it.
        for (path, _) in &paths {
            let holding = paths
                .iter()
                .filter(|(wide, _)| path.starts_with(wide.as_str()));
            if let Some(word) = holding.map(|(_, word)| *word).min() {
                self.force_paths
                    .insert(format!("{}|p|{path}", input.key), word);
            }
        }
    }

    fn by_header(&mut self, input: &Input<'_>, name: &str, value: &str, word: u16) -> bool {
        let name = names::header_name(name).filter(|_| names::is_header_value(value));
        let Some(name) = name else { return false };
        let key = format!("{}|h|{name}|{value}", input.key);
        self.force.entry(key).or_insert(word);
        self.headers.insert(name);
        true
    }

    fn by_cookie(&mut self, input: &Input<'_>, name: &str, value: &str, word: u16) -> bool {
        if !(names::is_cookie_name(name) && names::is_header_value(value)) {
            return false;
        }
        let key = format!("{}|c|{name}|{value}", input.key);
        self.force.entry(key).or_insert(word);
        self.cookies.insert(name.to_owned());
        true
    }
}
