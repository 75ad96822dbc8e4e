//! What is known of images before anything is stored: whether one is gone, has moved, or is on one machine alone.
//!
//! It only looks, and nobody waits long for it. What must never happen: an image called gone that is only out of reach.

use std::collections::BTreeMap;
use std::time::Duration;

use fm_api::workload::Workload;

use crate::RegistryLogin;
use crate::capacity;
use crate::docker::Docker;
use crate::registry::{Images, pin_local};

/// Whoever applies something does not wait longer for a warning …
const PATIENCE: Duration = Duration::from_secs(3);
/// … and whoever goes back not longer for a refusal.
const LOOK: Duration = Duration::from_secs(10);

/// Looks for images.
#[derive(Clone)]
pub struct Catalogue {
    images: Images,
}

impl Catalogue {
    /// Of the Docker at this address, with these logins.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn new(docker: &str, logins: BTreeMap<String, RegistryLogin>) -> Result<Self, String> {
        let docker = Docker::new(docker).map_err(|error| error.to_string())?;
        let images = Images { docker, logins };
        Ok(Self { images })
    }

    /// Why a pinned image can be had nowhere any more; `None`: it can, or nobody knows.
    pub async fn gone(&self, pinned: &str, auth: Option<&str>) -> Option<String> {
        let asked = self.images.pin(pinned, auth, false);
        let failure = tokio::time::timeout(LOOK, asked).await.ok()?.err()?;
        if !failure.gone {
            return None;
        }
        // An id may be on another node, where its tasks ran.
        let alone = match pinned.starts_with("sha256:") {
            true => self.images.docker.rooms().await.ok()?.len() <= 1,
            false => true,
        };
        alone.then_some(failure.words)
    }

    /// What a tag means now, if that is another image than the pinned one.
    pub async fn moved(&self, workload: &Workload, pinned: &str) -> Option<String> {
        let image = &workload.image;
        if image.contains('@') || image.starts_with("sha256:") {
            return None;
        }
        let auth = workload.registry_auth.as_deref();
        let asked = self.images.pin(image, auth, true);
        let now = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
        (now != pinned).then_some(now)
    }

    /// That no registry knows this image, so that the other nodes cannot have it; with their names.
    pub async fn only_here(&self, workload: &Workload) -> Option<String> {
        let look = async {
            let image = self
                .images
                .docker
                .local_image(&workload.image)
                .await
                .ok()??;
            if pin_local(&workload.image, &image).contains('@') {
                return None;
            }
            let own = self.images.docker.own_node().await.ok()?;
            let nodes = self.images.docker.rooms().await.ok()?;
            let others = capacity::others(nodes, &workload.placement, &own);
            (!others.is_empty()).then(|| {
                format!(
                    "spec.workload.image: `{}` is on this machine and in no registry; the nodes {} reject its tasks unless \
                     they have this very image: push it to a registry, load it on each of them (`docker save`, \
                     `docker load`), or keep the tasks here by `placement.constraints`",
                    workload.image,
                    others.join(", ")
                )
            })
        };
        tokio::time::timeout(PATIENCE, look).await.ok()?
    }
}
