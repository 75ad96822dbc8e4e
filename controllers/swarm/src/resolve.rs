//! From what the user wrote to what tasks run: the image pinned, the names of Swarm objects looked up, the spec rendered.
//!
//! An image of this machine comes first: a tag that was built again here means the new build. What must never happen: a
//! login in an error.

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::Resolution;
use fm_api::policy::Policy;
use fm_api::problem::Problem;
use fm_api::release::Adopted;
use fm_api::target::{Resolve, ResolvedImage};
use fm_api::workload::Workload;
use fm_runtime::Cache;
use serde_json::{Value, json};

use crate::Endpoints;
use crate::docker::Docker;
use crate::registry::{Failure, Images};
use crate::render::{Identity, References, template};

/// Everything a resolution needs besides the request.
#[derive(Clone)]
pub(crate) struct Resolver {
    pub(crate) docker: Docker,
    pub(crate) images: Images,
    pub(crate) installation: String,
    pub(crate) endpoints: Endpoints,
    pub(crate) policy: Policy,
    pub(crate) cache: Cache,
}

impl Resolver {
    /// Answers a resolve request; that it cannot be resolved is an answer too.
    pub(crate) async fn resolve(
        &self,
        key: &ReleaseKey,
        uid: &str,
        wanted: &Resolve,
    ) -> Resolution {
        let mut answer = Resolution {
            generation: wanted.generation,
            image: None,
            service: None,
            error: None,
            transient: false,
        };
        match self.render(key, uid, wanted).await {
            Ok((image, service)) => {
                answer.image = Some(image);
                answer.service = Some(service);
            }
            Err(failure) => {
                answer.error = Some(failure.words);
                answer.transient = failure.transient;
            }
        }
        answer
    }

    async fn render(
        &self,
        key: &ReleaseKey,
        uid: &str,
        wanted: &Resolve,
    ) -> Result<(ResolvedImage, Value), Failure> {
        let workload = &wanted.workload;
        // It may have come into the store by another way than the API.
        let refused = self.policy.workload(workload);
        if let Some(adopted) = &wanted.adopt {
            admitted(&refused)?;
            return self.as_it_runs(adopted, workload).await;
        }
        let auth = workload.registry_auth.as_deref();
        let pinned = self.images.pin(&workload.image, auth, wanted.pull).await?;
        let references = self.references(workload).await?;
        let revision = RevisionId::of(workload, &pinned, &wanted.ports);
        // What ran before a rule came may run again: no rule holds the way back.
        if self.cache.get(&key.revision(&revision)).is_none() {
            admitted(&refused)?;
        }
        let identity = Identity {
            installation: &self.installation,
            key,
            uid,
            revision: &revision,
        };
        let service = template(
            identity,
            workload,
            &pinned,
            &wanted.ports,
            &references,
            self.endpoints,
        )
        .map_err(Failure::lasting)?;
        let image = ResolvedImage {
            reference: workload.image.clone(),
            pinned,
        };
        Ok((image, service))
    }

    /// A service that was there before is kept exactly as it is.
    async fn as_it_runs(
        &self,
        adopted: &Adopted,
        workload: &Workload,
    ) -> Result<(ResolvedImage, Value), Failure> {
        let Some(service) = self.docker.service(&adopted.id).await? else {
            let words = format!(
                "the service {} is not there any more: apply another image",
                adopted.name
            );
            return Err(Failure::lasting(words));
        };
        let mut spec = service.spec;
        spec["Mode"] = json!({ "Replicated": {} });
        let image = &spec["TaskTemplate"]["ContainerSpec"]["Image"];
        let image = ResolvedImage {
            reference: workload.image.clone(),
            pinned: image.as_str().unwrap_or_default().to_owned(),
        };
        Ok((image, spec))
    }

    async fn references(&self, workload: &Workload) -> Result<References, Failure> {
        for network in &workload.networks {
            if !self.docker.network_exists(network).await? {
                return Err(Failure::lasting(format!(
                    "Docker has no network named `{network}`: create it, or name another"
                )));
            }
        }
        let mut references = References::default();
        if !workload.secrets.is_empty() {
            references.secrets = self.docker.secrets().await?;
        }
        if !workload.configs.is_empty() {
            references.configs = self.docker.configs().await?;
        }
        Ok(references)
    }
}

/// Whether nothing is refused.
pub(crate) fn admitted(problems: &[Problem]) -> Result<(), Failure> {
    match problems.first() {
        None => Ok(()),
        Some(problem) => Err(Failure::lasting(problem.to_string())),
    }
}
