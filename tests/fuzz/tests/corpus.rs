//! Plays the committed corpora: what fuzzing has found stays found.

use std::fs;
use std::path::Path;

/// All corpora together stay small.
const LARGEST: u64 = 200 * 1024;

#[test]
fn what_must_hold_holds_for_every_committed_input() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut bytes = 0;
    for target in fm_fuzz::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpora.join(target.name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            bytes += input.len() as u64;
            inputs += 1;
            println!("{}", path.display());
            (target.check)(&input);
        }
        assert!(inputs >= 5, "{} has only {inputs} inputs", target.name);
    }
    assert!(bytes <= LARGEST, "the corpora have {bytes} bytes");
}

#[test]
fn every_corpus_has_its_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(corpora).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(fm_fuzz::target(&name).is_some(), "{name}");
    }
}
