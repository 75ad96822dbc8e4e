//! Images `FROM scratch`, holding one static binary of ours.

use anyhow::{Context, Result};

use crate::run;

/// Builds `tag` from the static demo service, with this environment, and gives the image's id.
///
/// # Errors
/// When the service was not built statically (see `make build`) or Docker refuses.
pub async fn build(tag: &str, environment: &[(&str, &str)]) -> Result<String> {
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

/// Removes images that we built; one that is still used stays.
pub async fn remove(tags: &[String]) {
    for tag in tags {
        // It may be in use for another moment, or gone already: either is fine.
        let _ = run("docker", &["image", "rm", "-f", tag]).await;
    }
}
