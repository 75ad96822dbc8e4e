//! What this daemon's file lets nobody ask for, and what Docker and registries know of an image beforehand.

use fm_api::http::ApplyResult;
use fm_api::policy::RULE;
use fm_api::problem::Problem;
use fm_api::release::ReleaseSpec;

use super::{Api, ApiError, Decision};

impl Api {
    /// What this daemon's file allows nobody. What was so before, and what ran before, goes on; it is looked at again where it
    /// acts.
    pub(super) async fn check_admitted(
        &self,
        decision: &Decision,
        before: Option<&ReleaseSpec>,
    ) -> Result<(), ApiError> {
        let (key, spec) = (decision.release.key(), &decision.release.spec);
        let known = before
            .map(|before| self.refused(before))
            .unwrap_or_default();
        let same = before.is_some_and(|before| before.workload == spec.workload);
        let of_tasks = |problem: &Problem| problem.path.starts_with("spec.workload.");
        let mut problems = self.refused(spec);
        // Another image of the same mounts is asked for anew.
        problems.retain(|problem| !known.contains(problem) || (of_tasks(problem) && !same));
        if problems
            .iter()
            .any(|problem| problem.message.contains(RULE))
        {
            let (_, records) = self.records(&key).await?;
            if records.iter().any(|record| record.runs(&spec.workload)) {
                problems.retain(|problem| !of_tasks(problem) || !problem.message.contains(RULE));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        let what = format!("release {key}");
        Err(ApiError::invalid(&what, problems))
    }

    fn refused(&self, spec: &ReleaseSpec) -> Vec<Problem> {
        let mut problems = self.here.logins.problems(spec);
        problems.extend(self.here.policy.problems(spec));
        problems
    }

    /// What Docker and the registry know of the image that a person should know now.
    pub(super) async fn image_warnings(&self, result: &ApplyResult) -> Vec<String> {
        let Some(images) = &self.here.images else {
            return Vec::new();
        };
        let (key, spec) = (result.release.key(), &result.release.spec);
        let before = result.before.as_ref().map(|before| &before.spec.workload);
        let mut said = Vec::new();
        if before != Some(&spec.workload) {
            said.extend(images.only_here(&spec.workload).await);
        } else if result.message.is_none()
            && let Ok((_, records)) = self.records(&key).await
            && let Some(record) = records
                .iter()
                .rev()
                .find(|one| one.workload == spec.workload)
        {
            let moved = images.moved(&spec.workload, &record.image.pinned).await;
            said.extend(moved.map(|now| {
                format!(
                    "spec.workload.image: `{}` is another image by now ({now}; revision {} runs {}): \
                     `frctl set image {} {}`, or `frctl apply --pull`, rolls it out",
                    spec.workload.image, record.number, record.image.pinned, key.name(), spec.workload.image
                )
            }));
        }
        said
    }
}
