//! `frctl rollout promote NAME --candidate X`: what an experiment tried becomes what the manifest asks for.

use fm_api::experiment::{BASELINE, ExperimentTarget, SideResult};
use fm_api::http::View;
use fm_api::release::Release;

use crate::client::{Client, shown};
use crate::error::{Error, Exit, Result};
use crate::session::{Session, short};

/// Writes the candidate's workload as the new spec, and ends the experiment: it is rolled out like any other.
pub(super) async fn promote(
    session: &Session,
    name: &str,
    why: Option<&str>,
    candidate: &str,
) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(name)?;
    let view: View = shown(
        client
            .get(&format!("{}/view", Client::release(&key)))
            .await?,
    )?;
    let target = view.target.as_ref();
    let experiment = target.and_then(|target| target.experiment.as_ref());
    let Some(experiment) = experiment else {
        return Err(Error::new(format!("{} has no experiment", short(&key))));
    };
    if target.and_then(|target| target.wanted.as_ref()) != Some(&experiment.stable) {
        return Err(Error::new(format!(
            "another workload than the one that {candidate} was compared with was applied since"
        ))
        .hint("apply a manifest with what you want"));
    }
    let chosen = Chosen::of(experiment, candidate)?;
    let write = |release: &mut Release| chosen.write(release);
    super::edit::edit(
        session,
        &client,
        &key,
        &crate::client::Client::why(why),
        write,
    )
    .await?;
    Ok(Exit::Done)
}

/// What ran as a candidate.
struct Chosen<'a> {
    experiment: &'a ExperimentTarget,
    name: &'a str,
}

impl<'a> Chosen<'a> {
    fn of(experiment: &'a ExperimentTarget, name: &'a str) -> Result<Self> {
        let mut candidates = experiment.sides.iter().filter(|side| side.name != BASELINE);
        let names: Vec<&str> = candidates.clone().map(|side| side.name.as_str()).collect();
        let Some(side) = candidates.find(|side| side.name == name) else {
            return Err(Error::new(format!(
                "the experiment has no candidate `{}`; it has {}",
                name.escape_debug(),
                names.join(", ")
            )));
        };
        let outcome = side.outcome.as_ref();
        match outcome.map(|outcome| (outcome.result, &outcome.why)) {
            Some((SideResult::Harms | SideResult::Failed, why)) => Err(Error::new(format!(
                "{name} was taken out of the experiment: {}",
                crate::text::clean(why)
            ))
            .hint("a manifest with it can be applied all the same")),
            Some((SideResult::Good | SideResult::Inconclusive, _)) | None => {
                Ok(Self { experiment, name })
            }
        }
    }

    fn write(&self, release: &mut Release) {
        let spec = &mut release.spec;
        if let Some(candidate) = self.experiment.plan.candidate(self.name) {
            spec.workload = candidate.applied(&spec.workload);
        }
        // The same tag may mean another image by now; what was tried is this one.
        let ran = self.experiment.named(self.name);
        if let Some(image) = ran.and_then(|side| side.image.clone()) {
            spec.workload.image = image;
        }
        spec.experiment = None;
    }
}
