//! The reader of recorded traffic: each line is decided, or refused with its number and what is allowed.

use fm_analysis::replay::Replay;
use fm_api::criteria::WarmupSpan;
use fm_api::quantity::Span;
use fm_api::release::Release;
use fm_api::verdict::Decision;

/// An error's text repeats no more than a little of the line.
const LONGEST_ERROR: usize = 4096;

pub(crate) fn check(bytes: &[u8]) {
    let mut replay = Replay::new(&release());
    let mut decided = Decision::Wait;
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index as u64 + 1;
        match replay.line(&String::from_utf8_lossy(line)) {
            Ok(output) => {
                assert_eq!(output.tick, number);
                assert!(output.log_e_harm.is_finite() && output.log_e_ni.is_finite());
                assert!(output.lower >= -1.0 && output.upper <= 1.0);
                assert!(output.lower <= 1.0 && output.upper >= -1.0);
                assert!(decided == Decision::Wait || output.verdict == decided);
                decided = output.verdict;
                serde_json::to_string(&output).expect("a decision can be written");
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.starts_with(&format!("line {number}: ")), "{text}");
                assert!(text.len() <= LONGEST_ERROR, "{text}");
            }
        }
    }
}

fn release() -> Release {
    let mut release: Release = serde_json::from_str(
        r#"{"apiVersion":"fridaymorning.dev/v1","kind":"Release","metadata":{"name":"shop"},
            "spec":{"workload":{"image":"shop:1"},"strategy":{"canary":{"steps":[{"weight":50,"hold":"2s"}]}}}}"#,
    )
    .expect("it is a release");
    // So that a few lines get far.
    let analysis = &mut release.spec.analysis;
    analysis.warmup = WarmupSpan(Span::ZERO);
    analysis.bake = Some(Span::secs(1));
    analysis.guards.max_error_rate = Some(0.5);
    analysis.guards.min_requests = 2;
    release
}
