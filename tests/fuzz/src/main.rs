//! libFuzzer on one target, named by `FUZZ_TARGET`. `run.sh` builds it with coverage and calls it.

#![no_main]

use std::sync::OnceLock;

use fm_fuzz::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let Some(target) = fm_fuzz::target(&name) else {
            let names = fm_fuzz::TARGETS.map(|target| target.name);
            eprintln!("fuzz: FUZZ_TARGET names one of {names:?}");
            std::process::exit(2);
        };
        let _ = TARGET.set(target);
    },
    |data: &[u8]| {
        if let Some(target) = TARGET.get() {
            (target.check)(data);
        }
    }
);
