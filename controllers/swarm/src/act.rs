//! Doing what a plan says, and saying so.
//!
//! Every update names the version that the decision was made on; a refused write means looking again, never forcing.

use std::collections::BTreeMap;

use fm_api::event::Severity;

use crate::RegistryLogin;
use crate::docker::{Docker, DockerError};
use crate::plan::{Action, RemoveReason, UpdateReason};

/// Does one action.
pub(crate) async fn perform(
    docker: &Docker,
    logins: &BTreeMap<String, RegistryLogin>,
    action: &Action,
) -> Result<(), DockerError> {
    // A login that the configuration no longer has is no reason to refuse: the image may be on the nodes already.
    let login = |name: &Option<String>| name.as_ref().and_then(|name| logins.get(name));
    match action {
        Action::Create(post) => docker.create(&post.spec, login(&post.login)).await,
        Action::Update {
            id, version, post, ..
        } => {
            docker
                .update(id, *version, &post.spec, login(&post.login))
                .await
        }
        Action::Remove { id, .. } => docker.remove(id).await,
    }
}

/// An action as an event: how much it matters, its reason, a sentence. `was_there`: the service that is created was seen
/// before, and nobody here has removed it.
pub(crate) fn describe(action: &Action, was_there: bool) -> (Severity, &'static str, String) {
    match action {
        Action::Create(post) if was_there => (
            Severity::Warning,
            "DriftRepaired",
            format!(
                "service {} was removed by somebody else and created again",
                post.name
            ),
        ),
        Action::Create(post) => (
            Severity::Normal,
            "ServiceCreated",
            format!(
                "created service {} with {} replicas",
                post.name, post.spec["Mode"]["Replicated"]["Replicas"]
            ),
        ),
        Action::Update { post, reason, .. } => {
            let name = &post.name;
            match reason {
                UpdateReason::Scale { from, to } => (
                    Severity::Normal,
                    "ServiceScaled",
                    format!("scaled service {name} from {from} to {to} replicas"),
                ),
                UpdateReason::Restart => (
                    Severity::Normal,
                    "ServiceRestarted",
                    format!("restarting the tasks of service {name}"),
                ),
                UpdateReason::Adopt => (
                    Severity::Normal,
                    "ServiceAdopted",
                    format!("service {name} is ours from now on; its tasks go on"),
                ),
                UpdateReason::GiveBack => (
                    Severity::Normal,
                    "ServiceGivenBack",
                    format!("service {name} is given back; its tasks go on"),
                ),
                UpdateReason::Changed => (
                    Severity::Normal,
                    "ServiceUpdated",
                    format!("posted the spec of service {name} again"),
                ),
                UpdateReason::Repair(found) => (
                    Severity::Warning,
                    "DriftRepaired",
                    format!(
                        "service {name} was changed by somebody else and put back: {}",
                        found.join("; ")
                    ),
                ),
            }
        }
        Action::Remove { name, reason, .. } => {
            let why = match reason {
                RemoveReason::NoRelease => "its release exists no more",
                RemoveReason::Namesake => "it belongs to a deleted release of the same name",
                RemoveReason::NotWanted => "its revision is not wanted any more",
            };
            (
                Severity::Normal,
                "ServiceRemoved",
                format!("removed service {name}: {why}"),
            )
        }
    }
}
