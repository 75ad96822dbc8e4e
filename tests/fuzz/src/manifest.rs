//! The manifest reader: whatever the bytes are, each document is a valid release that survives being written and read
//! again, or a list of problems that a person can find and a terminal can bear.

use fm_api::manifest;

/// A problem's text repeats no more than a little of what it speaks of.
const LONGEST_PROBLEM: usize = 4096;

pub(crate) fn check(bytes: &[u8]) {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    for document in manifest::read("any.yaml", bytes) {
        match document {
            Ok(release) => {
                let problems = fm_api::validate::release(&release);
                assert!(problems.is_empty(), "{problems:?}");
                let written = serde_json::to_vec(&release).expect("a release can be written");
                let again = manifest::read("again.json", &written);
                assert_eq!(again, [Ok(release)]);
            }
            Err(problems) => {
                assert!(!problems.is_empty() && problems.len() <= 100);
                for problem in problems {
                    // A YAML reader counts other line ends than ours too.
                    assert!(
                        problem
                            .line
                            .is_some_and(|line| line >= 1 && line <= lines + bytes.len())
                    );
                    assert!(problem.column.is_some_and(|column| column >= 1));
                    let text = problem.to_string();
                    assert!(text.len() <= LONGEST_PROBLEM, "{text}");
                    assert!(!text.chars().any(char::is_control), "{text:?}");
                }
            }
        }
    }
}
