//! Reads manifests: YAML or JSON text with any number of documents.

pub use crate::problem::Problem;
use crate::release::Release;

/// One document of a file: a release with every default filled in, or everything that is wrong with it.
pub type Document = Result<Release, Vec<Problem>>;

/// Reads every document of a file; `source_name` is what the problems call it.
#[must_use]
pub fn read(source_name: &str, bytes: &[u8]) -> Vec<Document> {
    let text = String::from_utf8_lossy(bytes);
    let value: Result<Vec<serde_json::Value>, _> = serde_saphyr::from_multiple(&text);
    match value {
        Ok(values) => values.iter().map(crate::validate::json).collect(),
        Err(error) => vec![Err(vec![Problem::new("", error.to_string()).at(source_name, 1, 1)])],
    }
}
