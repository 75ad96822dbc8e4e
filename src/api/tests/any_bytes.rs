//! Whatever the bytes are, reading them ends in releases or problems, and never in a panic.

use fm_api::manifest;
use proptest::prelude::*;

const GOOD: &str = include_str!("manifests/good.yaml");

fn harmless(bytes: &[u8]) {
    for document in manifest::read("any.yaml", bytes) {
        match document {
            Ok(release) => assert_eq!(fm_api::validate::release(&release), Vec::new()),
            Err(problems) => {
                assert!(!problems.is_empty());
                for problem in problems {
                    assert!(problem.line.is_some_and(|line| line >= 1), "{problem}");
                    assert!(
                        !problem.to_string().chars().any(char::is_control),
                        "{problem:?}"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        harmless(&bytes);
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused(text in "([a-c0-9]|[-:?,{}\\[\\]&*!|>'\"%@` \n\t#~]|<<: |- |--- |\n\\.\\.\\.\n){0,120}") {
        harmless(text.as_bytes());
    }

    #[test]
    fn a_mutated_manifest_is_read_or_refused(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), "[ -~\n\t]{0,6}"), 1..6)) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (at, len, new) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            let end = (at + len.index(12)).min(bytes.len());
            bytes.splice(at..end, new.bytes());
        }
        harmless(&bytes);
    }

    #[test]
    fn any_json_is_valid_or_refused(text in "(\\{\"(spec|metadata|kind|a)\":|\\[|1|null|\"x\"|\\}|\\]|,){0,30}") {
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
            let _ = fm_api::validate::json(&value);
        }
    }
}
