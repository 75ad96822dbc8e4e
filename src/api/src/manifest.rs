//! Reads manifests: YAML or JSON text with any number of documents, each reported on its own.
//!
//! Pure and without a way to panic: whatever the bytes are, every document is a release or a list of problems.

mod scalar;
mod tree;

use std::sync::Arc;

use serde_json::Value;

pub use crate::problem::Problem;
use crate::release::Release;
use crate::validate;

/// One document of a file: a release with every default filled in, or everything that is wrong with it.
pub type Document = Result<Release, Vec<Problem>>;

/// The largest file.
const LARGEST: usize = 1024 * 1024;
/// No more problems than this are told of one document; who has mended them sees the next.
const MOST_PROBLEMS: usize = 100;

/// A document that could be read as text: a tree in which every value knows its place. Whether it is a release is
/// not known yet.
///
/// Who has a server to ask sends the [`value`](Draft::value) there, and [`place`](Draft::place)s what the server finds
/// wrong: the server has the last word, and compiling the schema only to hear the same would cost more than all the rest.
#[derive(Debug, Clone)]
pub struct Draft {
    source: Arc<str>,
    root: tree::Node,
}

impl Draft {
    /// What is written there, without defaults.
    #[must_use]
    pub fn value(&self) -> Value {
        self.root.to_json()
    }

    /// The release with every default filled in.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn validate(&self) -> Document {
        validate::written(&self.value()).map_err(|found| self.place(found))
    }

    /// The same problems, with file, line and column, in order.
    #[must_use]
    pub fn place(&self, problems: Vec<Problem>) -> Vec<Problem> {
        let placed = problems.into_iter().take(MOST_PROBLEMS).map(|problem| {
            let mark = self.root.locate(&problem.path);
            problem.at(&self.source, mark.line, mark.column)
        });
        ordered(placed.collect())
    }
}

/// Reads every document of a file; `source_name` is what the problems call it.
///
/// Empty documents and those of comments alone are left out.
#[must_use]
pub fn read(source_name: &str, bytes: &[u8]) -> Vec<Document> {
    drafts(source_name, bytes)
        .into_iter()
        .map(|draft| draft.and_then(|draft| draft.validate()))
        .collect()
}

/// Reads every document of a file as text alone; `source_name` is what the problems call it.
///
/// Empty documents and those of comments alone are left out.
#[must_use]
pub fn drafts(source_name: &str, bytes: &[u8]) -> Vec<Result<Draft, Vec<Problem>>> {
    if bytes.len() > LARGEST {
        let wrong = format!(
            "the file has {} bytes, more than the maximum {LARGEST}",
            bytes.len()
        );
        return vec![Err(vec![
            Problem::new("", wrong)
                .allowed("files of at most 1 MiB")
                .at(source_name, 1, 1),
        ])];
    }
    let source: Arc<str> = source_name.into();
    let broken = not_utf8(bytes);
    let text = String::from_utf8_lossy(bytes);
    let mut found = tree::read(&text).into_iter().peekable();
    let mut documents = Vec::new();
    while let Some((first, parsed)) = found.next() {
        let begin = if documents.is_empty() { 0 } else { first };
        let end = found.peek().map_or(usize::MAX, |(line, _)| *line);
        // What does not read as text is not judged as text.
        let inside = broken
            .iter()
            .find(|(line, _, _)| (begin..end).contains(line));
        if let Some((line, column, byte)) = inside {
            documents.push(Some(Err(vec![undecodable(*byte).at(
                source_name,
                *line,
                *column,
            )])));
            continue;
        }
        documents.push(match parsed {
            Ok(root) => root.map(|root| draft(&source, root)),
            Err(fault) => Some(Err(vec![placed(source_name, *fault)])),
        });
    }
    documents.into_iter().flatten().collect()
}

fn draft(source: &Arc<str>, root: tree::Node) -> Result<Draft, Vec<Problem>> {
    let faults = root.faults();
    if faults.is_empty() {
        let source = Arc::clone(source);
        return Ok(Draft { source, root });
    }
    let problems = faults.into_iter().take(MOST_PROBLEMS);
    Err(ordered(
        problems.map(|fault| placed(source, fault)).collect(),
    ))
}

fn placed(source_name: &str, fault: tree::Fault) -> Problem {
    fault
        .problem
        .at(source_name, fault.mark.line, fault.mark.column)
}

fn ordered(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    problems.dedup();
    problems
}

fn undecodable(byte: u8) -> Problem {
    Problem::new("", format!("the byte 0x{byte:02X} is no UTF-8")).allowed("text in UTF-8")
}

/// Line, column and value of every byte that does not belong to UTF-8 text.
fn not_utf8(bytes: &[u8]) -> Vec<(usize, usize, u8)> {
    let (mut line, mut column) = (1, 1);
    let mut broken = Vec::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\n' {
                (line, column) = (line + 1, 1);
            } else {
                column += 1;
            }
        }
        if let Some(byte) = chunk.invalid().first() {
            broken.push((line, column, *byte));
            column += 1;
        }
    }
    broken
}
