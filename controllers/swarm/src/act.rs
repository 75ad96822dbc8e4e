//! Doing what a plan says, and saying so.
//!
//! Every update names the version that the decision was made on; a refused write means looking again, never forcing.

use std::collections::BTreeMap;

use fm_api::event::Severity;

use crate::RegistryLogin;
use crate::docker::{Docker, DockerError};
use crate::plan::{Action, RemoveReason, UpdateReason};
use crate::registry::image;

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
            // What runs can be scaled, and taken back, also with the login of another server: it stays here.
            let own = login(&post.login).filter(|login| login.check(image(&post.spec)).is_ok());
            docker.update(id, *version, &post.spec, own).await
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::plan::Post;

    /// A Docker that agrees to everything; what it was asked.
    async fn docker() -> (Docker, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, requests) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 16 * 1024];
                let read = stream.read(&mut request).await.unwrap();
                asked
                    .send(String::from_utf8_lossy(&request[..read]).into_owned())
                    .unwrap();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                stream.write_all(answer).await.unwrap();
            }
        });
        (Docker::new(&format!("tcp://{address}")).unwrap(), requests)
    }

    #[tokio::test]
    async fn a_registrys_login_goes_with_its_own_images_alone() {
        let (docker, mut requests) = docker().await;
        let login = RegistryLogin {
            server: "registry.example.com".to_owned(),
            username: "robot".to_owned(),
            password: "hunter2".to_owned(),
        };
        let logins = BTreeMap::from([("main".to_owned(), login)]);
        let post = |image: &str| Post {
            revision: fm_api::keys::RevisionId::new("1111111111"),
            name: "fm_a_b_1".to_owned(),
            spec: json!({ "TaskTemplate": { "ContainerSpec": { "Image": image } } }),
            login: Some("main".to_owned()),
        };
        let update = |image: &str| Action::Update {
            id: "s".to_owned(),
            version: 1,
            post: post(image),
            reason: UpdateReason::Changed,
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        let own = format!("registry.example.com/shop@{digest}");
        let other = format!("evil.example.net/shop@{digest}");
        for (action, sent) in [
            (Action::Create(post(&own)), true),
            (update(&own), true),
            (Action::Create(post(&digest)), false),
            (update(&other), false),
        ] {
            perform(&docker, &logins, &action).await.unwrap();
            let request = requests.recv().await.unwrap().to_ascii_lowercase();
            assert_eq!(request.contains("x-registry-auth"), sent, "{request}");
        }
        let refused = perform(&docker, &logins, &Action::Create(post(&other))).await;
        let said = refused.unwrap_err().to_string();
        assert!(
            said.contains("registry.example.com") && said.contains("evil.example.net"),
            "{said}"
        );
        let asked = docker.registry_digest(&other, logins.get("main")).await;
        assert!(matches!(asked, Err(DockerError::Refused(_))), "{asked:?}");
        assert!(requests.try_recv().is_err(), "Docker was asked");
    }
}
