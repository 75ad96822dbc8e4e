//! What a person should know of what is stored, and what is no reason to refuse it. Pure.

use fm_api::freeze::{self, Freeze};
use fm_api::quantity::Weight;
use fm_api::release::ReleaseSpec;
use jiff::Timestamp;

use super::same_revision;

/// What a freeze window does to what is asked for, if one holds now; previews are never frozen.
pub(in crate::api) fn frozen(
    before: Option<&ReleaseSpec>,
    after: &ReleaseSpec,
    of_all: &[Freeze],
    now: Timestamp,
) -> Option<String> {
    if after.strategy.preview.is_some() || before.is_some_and(|before| same_revision(before, after))
    {
        return None;
    }
    let frozen = freeze::frozen(after.freeze.iter().chain(of_all), now)?;
    let until = frozen.until.strftime("%Y-%m-%d %H:%M:%S UTC");
    let why = frozen.message.map(|message| format!(": {message}"));
    Some(format!(
        "frozen until {until}{}; nothing begins before then",
        why.unwrap_or_default()
    ))
}

/// What a person should know, and what is no reason to refuse.
pub(super) fn warnings(before: Option<&ReleaseSpec>, after: &ReleaseSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    let image = &after.workload.image;
    let last = image.rsplit('/').next().unwrap_or(image);
    if !image.contains('@')
        && !image.starts_with("sha256:")
        && (!last.contains(':') || last.ends_with(":latest"))
    {
        warnings.push(format!(
            "spec.workload.image: `{image}` names no version: what it means is looked up once, when it is applied"
        ));
    }
    if let Some(before) = before {
        if before.routes != after.routes && before.ports() == after.ports() {
            warnings.push(
                "spec.routes: a change of routes is in force at once, without a canary".to_owned(),
            );
        }
        if before.replicas > 0 && after.replicas == 0 {
            warnings.push(
                "spec.replicas: 0 stops every task; requests will have nowhere to go".to_owned(),
            );
        }
    }
    if after.analysis.disabled {
        warnings.push(
            "spec.analysis.disabled: a bad canary is not taken back by its errors".to_owned(),
        );
    } else if let Some(canary) = &after.strategy.canary
        && !after.routes.is_empty()
        && !canary
            .steps
            .iter()
            .any(|step| step.weight != Weight::FULL && !step.weight.is_zero())
    {
        warnings.push(
            "spec.strategy.canary.steps: no step leaves stable a share to compare the canary with, so a person will \
             have to promote it"
                .to_owned(),
        );
    }
    warnings
}
