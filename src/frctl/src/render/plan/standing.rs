//! Which revision a manifest asks for, and what that comes to before any step: it may serve already, be on trial, wait for
//! somebody's word, or be one switch away. Pure.

use fm_api::gates::When;
use fm_api::http::View;
use fm_api::keys::RevisionId;
use fm_api::release::{OnNewRevision, Release, ReleaseSpec};
use fm_api::rollout::{Failed, Rollout, Stage};
use fm_api::target::{RevisionRecord, Target};
use jiff::Timestamp;

use super::{Planned, afterwards, asked, keep_previous, planned};

/// How the revision stands that a manifest asks for.
pub(super) enum Standing<'a> {
    /// It serves.
    Stable,
    /// Its rollout runs.
    OnTrial,
    /// It failed, and is not tried again by itself.
    Failed(&'a Failed),
    /// It is older than what this job has done for good.
    Behind(&'a str),
    /// It served before, and is kept until then.
    Warm(Timestamp),
    /// It is known, and has to come like any other.
    Gone,
}

/// A revision that is known already.
pub(super) struct Known<'a> {
    record: &'a RevisionRecord,
    pub(super) standing: Standing<'a>,
    /// Its image's tag may mean another image by now.
    moves: bool,
}

impl<'a> Known<'a> {
    /// The revision that a spec asks for, if there is one already.
    pub(super) fn of(
        spec: &ReleaseSpec,
        target: &'a Target,
        records: &'a [RevisionRecord],
        now: Timestamp,
    ) -> Option<Self> {
        let ports = spec.ports();
        let written = |record: &&RevisionRecord| {
            record.ports == ports && {
                let mut workload = record.workload.clone();
                if spec.workload.image == record.image.pinned {
                    workload.image.clone_from(&record.image.pinned);
                }
                workload == spec.workload
            }
        };
        // What was asked for last is not resolved again while it is written the same.
        let wanted = target.wanted.as_ref();
        let wanted = records.iter().find(|record| Some(&record.id) == wanted);
        let wanted = wanted.filter(|record| {
            target.resolve.is_none() && record.ports == ports && record.workload == spec.workload
        });
        let newest = || records.iter().rev().find(written);
        let record = wanted.or_else(newest)?;
        Some(Self {
            record,
            standing: standing(record, target, records, now),
            moves: wanted.is_none() && spec.workload.image != record.image.pinned && tagged(spec),
        })
    }

    fn name(&self) -> String {
        named(self.record)
    }

    /// What becomes of it where no step is taken; `None`: the strategy's steps are.
    pub(super) fn comes_to(&self, release: &Release, rollout: Option<&Rollout>) -> Option<Planned> {
        let (name, command) = (self.name(), crate::session::short(&release.key()));
        let mut one = match &self.standing {
            Standing::Gone => return None,
            Standing::Stable => planned(
                if rollout.is_some() { "then" } else { "nothing" },
                vec![format!("{name} serves already: no task starts")],
            ),
            Standing::OnTrial => planned(
                "running rollout",
                vec![format!(
                    "it is that of {name}, and goes on from where it is"
                )],
            ),
            Standing::Failed(failed) => planned(
                "waits",
                vec![
                    format!("{name} was taken back ({}): {}", failed.reason, failed.why),
                    format!(
                        "it is not tried again by itself: `frctl rollout retry {command}` begins it from the first step"
                    ),
                ],
            ),
            Standing::Behind(job) => planned(
                "waits",
                vec![
                    format!(
                        "{name} is older than what the job {job} has done for good, and does not begin by itself"
                    ),
                    format!(
                        "`frctl rollout undo {command} --to {} --force` lets it begin all the same",
                        self.record.number
                    ),
                ],
            ),
            Standing::Warm(until) => planned("back", vec![warm(&name, &release.spec, *until)]),
        };
        if self.moves {
            one.what.push(format!(
                "if {} means another image by now it is a new revision instead, rolled out by the steps",
                release.spec.workload.image
            ));
        }
        Some(one)
    }

    /// What follows once it serves, where it comes without steps.
    pub(super) fn follows(&self, spec: &ReleaseSpec) -> Option<Planned> {
        match &self.standing {
            Standing::Warm(_) => Some(planned("then", afterwards(spec, keep_previous(spec)))),
            Standing::Stable
            | Standing::OnTrial
            | Standing::Failed(_)
            | Standing::Behind(_)
            | Standing::Gone => None,
        }
    }
}

fn warm(name: &str, spec: &ReleaseSpec, until: Timestamp) -> String {
    let until = until.strftime("%H:%M:%S UTC");
    if spec.routes.is_empty() {
        format!(
            "{name} served before, and its service stays until {until}: its tasks start again, without steps and gates"
        )
    } else {
        format!(
            "{name} is warm until {until}: it gets all requests in one change of weight, without steps and gates"
        )
    }
}

/// Whether a registry may answer something else for the image.
fn tagged(spec: &ReleaseSpec) -> bool {
    let image = &spec.workload.image;
    !image.contains("@sha256:") && !image.starts_with("sha256:")
}

fn named(record: &RevisionRecord) -> String {
    format!("revision {} ({})", record.number, record.workload.image)
}

fn standing<'a>(
    record: &RevisionRecord,
    target: &'a Target,
    records: &[RevisionRecord],
    now: Timestamp,
) -> Standing<'a> {
    let trial = target.rollout.as_ref();
    let trial = trial.filter(|rollout| rollout.stage != Stage::RollingBack);
    let number = |id: &RevisionId| {
        let known = records.iter().find(|known| known.id == *id);
        known.map(|known| known.number)
    };
    let leaving = target.leaving.get(&record.id);
    let until = leaving.and_then(|leaving| leaving.warm_until.filter(|_| !leaving.inspected));
    if target.stable.as_ref() == Some(&record.id) {
        Standing::Stable
    } else if trial.is_some_and(|rollout| rollout.revision == record.id) {
        Standing::OnTrial
    } else if let Some(failed) = target.failed.get(&record.id) {
        Standing::Failed(failed)
    } else if let Some(job) = target
        .behind(record, number)
        .filter(|_| target.let_back.as_ref() != Some(&record.id))
    {
        Standing::Behind(job)
    } else if let Some(until) = until.filter(|until| now < *until) {
        Standing::Warm(until)
    } else {
        Standing::Gone
    }
}

/// The rollout that runs and has not been promoted yet.
pub(super) fn running(target: &Target) -> Option<&Rollout> {
    let rollout = target.rollout.as_ref();
    rollout.filter(|rollout| target.stable.as_ref() != Some(&rollout.revision))
}

/// What becomes of a rollout that runs, and whether the manifest is refused because of it.
pub(super) fn of_running(
    before: Option<&Release>,
    spec: &ReleaseSpec,
    view: &View,
    known: Option<&Known<'_>>,
) -> Option<(Planned, bool)> {
    let target = view.target.as_ref()?;
    let rollout = running(target)?;
    let canary = view.status.as_ref()?.canary.as_ref()?;
    let name = format!("revision {} ({})", canary.number, canary.image);
    if rollout.stage == Stage::RollingBack {
        let what = format!("{name} is being taken back already");
        return Some((planned("running rollout", vec![what]), false));
    }
    let standing = known.map(|known| &known.standing);
    if matches!(standing, Some(Standing::OnTrial)) {
        return None;
    }
    let stable = matches!(standing, Some(Standing::Stable));
    let ran = target.ran.get(&rollout.revision);
    let locked = ran.and_then(|ran| ran.irreversible.as_deref());
    let refuses = before.is_some_and(|old| old.spec.on_new_revision == OnNewRevision::Reject);
    // Whoever asks for what failed, or for stable, waits for nothing.
    let replaces = stable
        || spec.on_new_revision == OnNewRevision::Replace
        || matches!(standing, Some(Standing::Failed(_)));
    let mut what = Vec::new();
    if refuses && !stable {
        what.push(format!(
            "apply is refused while the rollout of {name} runs, unless forced"
        ));
        return Some((planned("running rollout", what), true));
    }
    if target.stable.is_none() {
        what.push(format!(
            "{name} serves nothing yet: it goes, and the new one is the first"
        ));
        return Some((planned("running rollout", what), false));
    }
    match locked {
        Some(job) if stable => what.push(format!(
            "{name} stops where it is, and a person decides: what its job {job} did cannot be undone"
        )),
        Some(job) if replaces => what.push(format!(
            "{name} goes on until it is stable, for what its job {job} did cannot be undone: the new one waits"
        )),
        Some(_) | None if replaces => {
            what.push(format!(
                "{name} is taken back, stable carries everything meanwhile"
            ));
            what.extend(asked(spec, &[When::AfterRollback], None));
        }
        Some(_) | None => what.push(format!(
            "the new revision waits until the rollout of {name} has ended"
        )),
    }
    Some((planned("running rollout", what), false))
}
