//! What is wrong with an object: where, what, and what is allowed instead. No owner; made by [`crate::manifest`] and [`crate::validate`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that is wrong. Without a file it speaks of an object that came by other ways.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file, as the user named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column, from 1, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The field, such as `spec.strategy.canary.steps[1].weight`; empty: the whole document.
    #[serde(default)]
    pub path: String,
    /// What is wrong, for people.
    pub message: String,
    /// What is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

impl Problem {
    /// A problem of the field `path`.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: harmless(message.into()),
            ..Self::default()
        }
    }

    /// The same, saying what is allowed.
    #[must_use]
    pub fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// The same, saying where it stands.
    #[must_use]
    pub fn at(mut self, file: &str, line: usize, column: usize) -> Self {
        self.file = Some(file.to_owned());
        self.line = Some(line);
        self.column = Some(column);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.allowed {
            Some(allowed) => write!(f, "; allowed: {allowed}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Adds a field's name to a path: `a.b`, or `a["b c"]` where the name is no plain word.
pub(crate) fn join(path: &mut String, name: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.len() <= LONGEST && name.chars().all(plain) {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
    } else {
        path.push('[');
        path.push_str(&quoted(name, '"'));
        path.push(']');
    }
}

/// A message may repeat what somebody wrote anywhere in it: nothing of that reaches a terminal as a command.
fn harmless(text: String) -> String {
    if !text.chars().any(char::is_control) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        if one.is_control() {
            out.extend(one.escape_debug());
        } else {
            out.push(one);
        }
    }
    out
}

/// What somebody wrote, between backquotes: cut to a readable length, and harmless to a terminal.
pub(crate) fn shown(text: &str) -> String {
    quoted(text, '`')
}

/// No more than this of what somebody wrote is repeated to them.
const LONGEST: usize = 60;

fn quoted(text: &str, quote: char) -> String {
    let mut cut: String = text
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    cut = cut.replace("\\'", "'").replace("\\\"", "\"");
    let more = if text.chars().nth(LONGEST).is_some() {
        "…"
    } else {
        ""
    };
    format!("{quote}{cut}{more}{quote}")
}
