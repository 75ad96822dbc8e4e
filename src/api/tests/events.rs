//! The list of events' reasons is that of the code: what a channel may wait for is said by somebody, and nothing else.
#![expect(
    clippy::unwrap_used,
    reason = "a test's own steps: they fail with what is wrong"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fm_api::event::REASONS;
use fm_api::status::reasons;

/// Where a rule stops a rollout, the event's reason is the word for why. Analysis' own are named as its type has them.
const ENDINGS: [&str; 14] = [
    "ErrorsHarm",
    "ClientErrorsHarm",
    "LatencyHarm",
    "ErrorGuard",
    "SaturationGuard",
    "MetricFailed",
    "MetricInconclusive",
    "DeadlinePassed",
    reasons::CRASH_LOOP,
    reasons::PROGRESS_DEADLINE,
    reasons::TAKEN_BACK_WITH_GROUP,
    reasons::WEBHOOK_FAILED,
    reasons::BEFORE_TRAFFIC_FAILED,
    reasons::STABLE_REAPPLIED,
];

/// Every file of the program itself.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.contains("test") || name == "target" {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The word in quotes at the beginning of this text.
fn quoted(text: &str) -> Option<&str> {
    let (word, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    let fits = word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphabetic());
    fits.then_some(word)
}

/// Words that stand where a reason stands: after a severity, or before the text of what happened.
fn said(text: &str, found: &mut BTreeSet<String>) {
    for (at, _) in text.match_indices("everity") {
        let rest = &text[at + "everity".len()..];
        let rest = rest.trim_start_matches(|c: char| c == ':' || c.is_ascii_alphanumeric());
        found.extend(rest.strip_prefix(',').and_then(quoted).map(str::to_owned));
    }
    for (at, _) in text.match_indices('(') {
        let Some(word) = quoted(&text[at + 1..]) else {
            continue;
        };
        let after = text[at + 1..].trim_start()[word.len() + 2..].trim_start();
        let told = after.strip_prefix(',').map(str::trim_start);
        if told.is_some_and(|told| told.starts_with("text") || told.starts_with("format!")) {
            found.insert(word.to_owned());
        }
    }
}

#[test]
fn every_reason_that_the_code_gives_is_listed_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    sources(&root.join("controllers"), &mut files);
    let mut found: BTreeSet<String> = ENDINGS.map(str::to_owned).into();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let own = text.split("#[cfg(test)]").next().unwrap_or_default();
        said(own, &mut found);
    }
    let listed: BTreeSet<String> = REASONS.map(str::to_owned).into();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let unsaid: Vec<_> = listed.difference(&found).collect();
    assert!(
        unlisted.is_empty() && unsaid.is_empty(),
        "not listed in REASONS: {unlisted:?}; listed, and said by nobody: {unsaid:?}"
    );
}
