//! The defaults that depend on other fields. The others are in the types themselves.

use crate::quantity::Span;
use crate::release::Release;

/// Fills in every default that is still absent. Doing it twice changes nothing.
pub fn fill(release: &mut Release) {
    let spec = &mut release.spec;
    let timeout = spec.request_timeout();
    if spec.workload.stop_grace_period.is_none() {
        spec.workload.stop_grace_period = Some(Span::millis(timeout.as_millis() + 10_000));
    }
    if spec.analysis.bake.is_none() {
        let last_hold = spec
            .strategy
            .canary
            .as_ref()
            .and_then(|canary| canary.steps.last())
            .map_or(Span::ZERO, |step| step.hold);
        spec.analysis.bake = Some(
            Span::secs(60)
                .max(Span::millis(timeout.as_millis() * 2))
                .max(last_hold),
        );
    }
}
