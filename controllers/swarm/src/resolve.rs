//! From what the user wrote to what tasks run: the image pinned, the names of Swarm objects looked up, the spec rendered.
//!
//! An image of this machine comes first: a tag that was built again here means the new build. What must never happen: a
//! login in an error.

use std::collections::BTreeMap;

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::observed::Resolution;
use fm_api::release::Adopted;
use fm_api::target::{Resolve, ResolvedImage};
use fm_api::workload::Workload;
use serde_json::{Value, json};

use crate::docker::{Docker, DockerError, LocalImage};
use crate::render::{Identity, References, template};
use crate::{Endpoints, RegistryLogin};

/// Everything a resolution needs besides the request.
#[derive(Clone)]
pub(crate) struct Resolver {
    pub(crate) docker: Docker,
    pub(crate) installation: String,
    pub(crate) endpoints: Endpoints,
    pub(crate) logins: BTreeMap<String, RegistryLogin>,
}

/// Why it cannot be resolved, and whether trying again may help.
pub(crate) struct Failure {
    pub(crate) words: String,
    pub(crate) transient: bool,
}

impl Failure {
    fn lasting(words: impl Into<String>) -> Failure {
        Failure {
            words: words.into(),
            transient: false,
        }
    }
}

impl From<DockerError> for Failure {
    fn from(error: DockerError) -> Failure {
        Failure {
            transient: matches!(error, DockerError::Silent(_)),
            words: error.to_string(),
        }
    }
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
        if let Some(adopted) = &wanted.adopt {
            return self.as_it_runs(adopted, workload).await;
        }
        let auth = workload.registry_auth.as_deref();
        let pinned = self.pin(&workload.image, auth).await?;
        let references = self.references(workload).await?;
        let revision = RevisionId::of(workload, &pinned, &wanted.ports);
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
            let words = format!("the service {} is not there any more", adopted.name);
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

    /// The image as tasks are told it: by digest or id.
    pub(crate) async fn pin(&self, reference: &str, auth: Option<&str>) -> Result<String, Failure> {
        let login = match auth {
            None => None,
            Some(name) => Some(self.logins.get(name).ok_or_else(|| {
                let known: Vec<&str> = self.logins.keys().map(String::as_str).collect();
                Failure::lasting(format!(
                    "registryAuth `{name}` is not in frd's configuration; it has: {}",
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                ))
            })?),
        };
        if let Some(image) = self.docker.local_image(reference).await? {
            return Ok(pin_local(reference, &image));
        }
        if reference.starts_with("sha256:") {
            return Err(Failure::lasting(format!("No such image: {reference}")));
        }
        match self.docker.registry_digest(reference, login).await {
            Ok(digest) => Ok(format!("{}@{digest}", repository(reference))),
            Err(error) => Err(Failure {
                transient: is_transient(&error),
                words: format!(
                    "the image is not on this machine, and its registry cannot give it: {error}"
                ),
            }),
        }
    }

    async fn references(&self, workload: &Workload) -> Result<References, Failure> {
        for network in &workload.networks {
            if !self.docker.network_exists(network).await? {
                return Err(Failure::lasting(format!(
                    "Docker has no network named `{network}`"
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

/// The digest under which the image's registry knows it, or the image's id if no registry does. Tasks with either of them
/// do not ask a registry when the image is there, which costs seconds with a name that nobody resolves.
fn pin_local(reference: &str, image: &LocalImage) -> String {
    let wanted = familiar(repository(reference));
    let digest = image.digests.iter().find(|digest| {
        digest
            .split_once('@')
            .is_some_and(|(name, _)| familiar(name) == wanted)
    });
    digest.unwrap_or(&image.id).clone()
}

/// `registry:5000/team/shop:1.4@sha256:…` without tag and digest.
fn repository(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        // A colon before the last slash is the registry's port.
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

/// Docker shows names of its own registry shortened.
fn familiar(name: &str) -> &str {
    let short = name
        .strip_prefix("index.docker.io/")
        .or_else(|| name.strip_prefix("docker.io/"))
        .unwrap_or(name);
    short.strip_prefix("library/").unwrap_or(short)
}

/// Whether a registry's answer may be another one later without anybody doing anything.
fn is_transient(error: &DockerError) -> bool {
    const FINAL: [&str; 6] = [
        "denied",
        "unauthorized",
        "manifest unknown",
        "not found",
        "invalid reference",
        "no such manifest",
    ];
    match error {
        DockerError::Silent(_) | DockerError::Stale(_) => true,
        DockerError::Missing(_) => false,
        DockerError::Refused(words) => !FINAL.iter().any(|part| words.contains(part)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("shop", "shop")]
    #[case("shop:1.4", "shop")]
    #[case("registry:5000/team/shop", "registry:5000/team/shop")]
    #[case("registry:5000/team/shop:1.4", "registry:5000/team/shop")]
    #[case("shop:1@sha256:00", "shop")]
    fn a_repository_is_the_reference_without_tag_and_digest(
        #[case] reference: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(repository(reference), expected);
    }

    #[rstest]
    #[case::built_here("shop:1", &[], "sha256:1d")]
    #[case::from_a_registry("shop:1", &["shop@sha256:aa"], "shop@sha256:aa")]
    #[case::docker_hub_in_full("docker.io/library/nginx:1", &["nginx@sha256:aa"], "nginx@sha256:aa")]
    #[case::tagged_anew("mine/shop:1", &["other/shop@sha256:aa"], "sha256:1d")]
    fn a_local_image_is_pinned_by_its_registrys_digest_or_its_id(
        #[case] reference: &str,
        #[case] digests: &[&str],
        #[case] expected: &str,
    ) {
        let image = LocalImage {
            id: "sha256:1d".to_owned(),
            digests: digests.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(pin_local(reference, &image), expected);
    }

    #[test]
    fn a_registry_that_is_out_of_reach_is_asked_again_and_one_that_says_no_is_not() {
        let refused = |words: &str| is_transient(&DockerError::Refused(words.to_owned()));
        assert!(refused("dial tcp: lookup registry.invalid: i/o timeout"));
        assert!(!refused("manifest unknown"));
        assert!(!refused(
            "denied: requested access to the resource is denied"
        ));
    }
}
