//! What the schema cannot say of a release.

use crate::problem::Problem;
use crate::release::Release;

/// Everything that is wrong with a typed release, by field path.
#[must_use]
pub fn release(_release: &Release) -> Vec<Problem> {
    Vec::new()
}

/// Reads a release from JSON: schema, types, defaults, meaning.
///
/// # Errors
/// Everything that is wrong with it, in order, each once.
pub fn json(value: &serde_json::Value) -> Result<Release, Vec<Problem>> {
    let mut read: Release = serde_json::from_value(value.clone())
        .map_err(|error| vec![Problem::new("", error.to_string())])?;
    crate::defaults::fill(&mut read);
    let problems = release(&read);
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

/// Whether another release has an older claim on one of `release`'s hosts and paths.
///
/// The older `createdAt` wins, then the smaller uid; a release without `createdAt` is younger than all others.
pub fn routes_conflict<'a>(
    _release: &Release,
    _others: impl Iterator<Item = &'a Release>,
) -> Option<Problem> {
    None
}
