//! Images `FROM scratch`, holding one static binary of ours.

use anyhow::{Context, Result};

use crate::{docker, run};

/// Images that were built for a test; they go with it, also when it fails.
#[derive(Debug, Default)]
pub struct Images {
    tags: Vec<String>,
}

impl Images {
    /// Builds `tag` from the static demo service, with this environment, and gives the image's id.
    ///
    /// # Errors
    /// When the service was not built statically (see `make build`) or Docker refuses.
    pub async fn build(&mut self, tag: &str, environment: &[(&str, &str)]) -> Result<String> {
        self.tags.push(tag.to_owned());
        build(tag, environment).await
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        remove(&self.tags);
    }
}

async fn build(tag: &str, environment: &[(&str, &str)]) -> Result<String> {
    let service = crate::program("demo-service")?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    std::fs::copy(&service, folder.path().join("app"))
        .with_context(|| format!("cannot copy {}", service.display()))?;
    let mut text = String::from("FROM scratch\nCOPY app /app\n");
    for (name, value) in environment {
        text.push_str(&format!("ENV {name}={value:?}\n"));
    }
    text.push_str("ENTRYPOINT [\"/app\"]\n");
    std::fs::write(folder.path().join("Dockerfile"), text)?;
    let path = folder.path().to_string_lossy().into_owned();
    Ok(run("docker", &["build", "-q", "-t", tag, &path])
        .await?
        .trim()
        .to_owned())
}

/// Removes images that we built or pulled; what is gone already is fine.
pub(crate) fn remove(images: &[String]) {
    for image in images {
        docker(&["image", "rm", "-f", image]);
    }
}
