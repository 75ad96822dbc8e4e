//! Reads manifests: YAML or JSON text with any number of documents, each reported on its own.
//!
//! Pure and without a way to panic: whatever the bytes are, every document is a release or a list of problems.

mod scalar;
mod tree;

pub use crate::problem::Problem;
use crate::release::Release;
use crate::validate;

/// One document of a file: a release with every default filled in, or everything that is wrong with it.
pub type Document = Result<Release, Vec<Problem>>;

/// The largest file.
const LARGEST: usize = 1024 * 1024;
/// No more problems than this are told of one document; who has mended them sees the next.
const MOST_PROBLEMS: usize = 100;

/// Reads every document of a file; `source_name` is what the problems call it.
///
/// Empty documents and those of comments alone are left out.
#[must_use]
pub fn read(source_name: &str, bytes: &[u8]) -> Vec<Document> {
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
    let broken = not_utf8(bytes);
    let text = String::from_utf8_lossy(bytes);
    let found = tree::read(&text);
    let mut documents = Vec::new();
    for (index, (first, parsed)) in found.iter().enumerate() {
        let end = found.get(index + 1).map_or(usize::MAX, |(line, _)| *line);
        let begin = if index == 0 { 0 } else { *first };
        // What does not read as text is not judged as text.
        let inside: Vec<Problem> = broken
            .iter()
            .filter(|(line, _, _)| (begin..end).contains(line))
            .take(1)
            .map(|(line, column, byte)| undecodable(*byte).at(source_name, *line, *column))
            .collect();
        if !inside.is_empty() {
            documents.push(Err(inside));
            continue;
        }
        match parsed {
            Ok(None) => {}
            Ok(Some(root)) => documents.push(document(source_name, root)),
            Err(fault) => documents.push(Err(vec![fault.problem.clone().at(
                source_name,
                fault.mark.line,
                fault.mark.column,
            )])),
        }
    }
    documents
}

fn document(source_name: &str, root: &tree::Node) -> Document {
    let faults = root.faults();
    let mut problems: Vec<Problem> = if faults.is_empty() {
        let found = match validate::json(&root.to_json()) {
            Ok(release) => return Ok(release),
            Err(found) => found,
        };
        let placed = |problem: Problem| {
            let mark = root.locate(&problem.path);
            problem.at(source_name, mark.line, mark.column)
        };
        found.into_iter().take(MOST_PROBLEMS).map(placed).collect()
    } else {
        let placed = |fault: tree::Fault| {
            fault
                .problem
                .at(source_name, fault.mark.line, fault.mark.column)
        };
        faults.into_iter().take(MOST_PROBLEMS).map(placed).collect()
    };
    problems.sort();
    problems.dedup();
    Err(problems)
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
