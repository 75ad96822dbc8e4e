//! What a person should know of what is stored, and what is no reason to refuse it. Pure.

use fm_api::freeze::{self, Freeze};
use fm_api::loosening::Kept;
use fm_api::quantity::Weight;
use fm_api::release::{Release, ReleaseSpec};
use fm_api::target::Target;
use jiff::Timestamp;

use super::{Wish, same_revision};

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

/// What the rollout that runs must still pass, whatever this manifest says.
pub(super) fn kept_rules(target: Option<&Target>, wish: &Wish) -> Option<String> {
    let target = target?;
    let (rollout, before) = (target.rollout.as_ref()?, target.settings.as_ref()?);
    let told = Kept::of(rollout, before, &wish.release.spec, &wish.roles).told()?;
    Some(format!(
        "this manifest asks for less than the rollout that runs must pass: {told} still holds for it, and no more for the \
         next one; who may pass it does so with `frctl rollout promote`"
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

/// What comes of it that somebody asks anew what the image of the same spec is.
pub(super) fn asks_anew(before: Option<&ReleaseSpec>, now: &Release, pull: bool) -> Option<String> {
    let same = pull && before == Some(&now.spec);
    same.then(|| {
        format!(
            "asks anew what {} is: another image than before is rolled out by the strategy, the same one changes nothing",
            now.spec.workload.image
        )
    })
}
