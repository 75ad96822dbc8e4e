//! Docker, as this controller speaks with it: the library where it is faithful, the raw client where it is not.
//!
//! Every request has a time limit, because reads block without an error while Swarm elects a leader. What must never
//! happen: a spec that was read from Docker posted back (the library would lose its health check), or a login in a log
//! line or an error.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::RegistryLogin;
use crate::contents::{Kind, Object};
use crate::logs::Part;
use crate::raw::{Raw, escape};
use crate::read::{RawNetwork, RawNode, RawService, networks, read_nodes, read_service};
use crate::registry::{self, header, image};
use crate::world::{NAME_PREFIX, Node, Service, Task, label};

/// Longer than a leader election is not waited: the caller freezes and looks again.
const LIMIT: Duration = Duration::from_secs(10);

/// Why Docker did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DockerError {
    /// It does not answer, or Swarm cannot decide now: change nothing, look again later.
    #[error("{0}")]
    Silent(String),
    /// The service was changed meanwhile: look again, decide again.
    #[error("{0}")]
    Stale(String),
    /// It is not there.
    #[error("{0}")]
    Missing(String),
    /// Docker refuses, in its own words.
    #[error("{0}")]
    Refused(String),
}

impl DockerError {
    /// From an answer's status and words. Docker's statuses say little: a stale version and a bad constraint are both 500.
    pub(crate) fn from_answer(status: u16, words: &str) -> DockerError {
        const UNDECIDED: [&str; 5] = [
            "does not have a leader",
            "context deadline exceeded",
            "code = Unavailable",
            "code = DeadlineExceeded",
            "connection error",
        ];
        let words = words.to_owned();
        // A name that was taken since we looked is the same case as a version that grew.
        let taken = status == 409 && words.contains("name conflicts");
        if taken || words.contains("update out of sequence") {
            DockerError::Stale(words)
        } else if status == 503 || UNDECIDED.iter().any(|part| words.contains(part)) {
            DockerError::Silent(words)
        } else if status == 404 {
            DockerError::Missing(words)
        } else {
            DockerError::Refused(words)
        }
    }

    fn from_library(error: bollard::errors::Error) -> DockerError {
        if let bollard::errors::Error::DockerResponseServerError {
            status_code,
            message,
        } = error
        {
            DockerError::from_answer(status_code, &message)
        } else {
            DockerError::Silent(format!("Docker: {error}"))
        }
    }
}

/// The client.
#[derive(Clone)]
pub(crate) struct Docker {
    library: bollard::Docker,
    raw: Raw,
    /// For questions that Docker hands on.
    registries: Raw,
}

/// An image that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalImage {
    /// `sha256:…`
    pub(crate) id: String,
    /// `name@sha256:…` for each registry it came from or went to.
    pub(crate) digests: Vec<String>,
}

impl Docker {
    /// Connects lazily: that Docker does not answer shows at the first request.
    pub(crate) fn new(address: &str) -> Result<Docker, DockerError> {
        let library = if address.starts_with("unix://") {
            bollard::Docker::connect_with_unix(
                address,
                LIMIT.as_secs(),
                bollard::API_DEFAULT_VERSION,
            )
        } else {
            bollard::Docker::connect_with_http(
                address,
                LIMIT.as_secs(),
                bollard::API_DEFAULT_VERSION,
            )
        };
        Ok(Docker {
            raw: Raw::new(address, LIMIT)?,
            registries: Raw::new(address, registry::LIMIT)?,
            library: library.map_err(DockerError::from_library)?,
        })
    }

    /// All services whose names are like ours, ours or not, and those that were there before and are ours since.
    pub(crate) async fn services(&self) -> Result<Vec<Service>, DockerError> {
        let named = json!({ "name": [NAME_PREFIX] });
        let adopted = json!({ "label": [label::ADOPTED] });
        let (mut found, others) = tokio::try_join!(
            self.raw.get::<Vec<RawService>>("/services", Some(&named)),
            self.raw.get::<Vec<RawService>>("/services", Some(&adopted)),
        )?;
        // A service of ours that was given back may have been adopted again.
        found.extend(
            others
                .into_iter()
                .filter(|other| !other.is_named(NAME_PREFIX)),
        );
        let attached = found
            .iter()
            .any(|service| networks(&service.spec).is_some_and(|list| !list.is_empty()));
        let names = if attached {
            self.network_names().await?
        } else {
            BTreeMap::new()
        };
        Ok(found
            .into_iter()
            .map(|service| read_service(service, &names))
            .collect())
    }

    /// All tasks of services that carry our label, also while a removed service's tasks still stop; and those of the
    /// services `adopted`, which keep the labels that their service had when they began.
    pub(crate) async fn tasks(
        &self,
        installation: &str,
        adopted: &[String],
    ) -> Result<Vec<Task>, DockerError> {
        let filters = json!({ "label": [format!("{}={installation}", label::MANAGED_BY)] });
        let mut tasks: Vec<Task> = self.raw.get("/tasks", Some(&filters)).await?;
        if !adopted.is_empty() {
            let filters = json!({ "service": adopted });
            let more: Vec<Task> = self.raw.get("/tasks", Some(&filters)).await?;
            tasks.retain(|task| !adopted.contains(&task.service_id));
            tasks.extend(more);
        }
        Ok(tasks)
    }

    /// A service by its name or id, with the names of networks instead of their ids.
    pub(crate) async fn service(&self, name: &str) -> Result<Option<Service>, DockerError> {
        let path = format!("/services/{}", escape(name));
        match self.raw.get::<RawService>(&path, None).await {
            Ok(found) => Ok(Some(read_service(found, &self.network_names().await?))),
            Err(DockerError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All services that carry a label, and their tasks.
    pub(crate) async fn labelled(
        &self,
        label: &str,
    ) -> Result<(Vec<Service>, Vec<Task>), DockerError> {
        let filters = json!({ "label": [label] });
        let found: Vec<RawService> = self.raw.get("/services", Some(&filters)).await?;
        if found.is_empty() {
            return Ok(<_>::default());
        }
        let none = BTreeMap::new();
        let services = found.into_iter().map(|found| read_service(found, &none));
        let tasks = self.raw.get("/tasks", Some(&filters)).await?;
        Ok((services.collect(), tasks))
    }

    /// The end of what a service's tasks wrote, in Docker's frames, no more than `most` bytes of it.
    pub(crate) async fn log(&self, id: &str, most: u64) -> Result<Bytes, DockerError> {
        let path = format!("/services/{}/logs?stdout=1&stderr=1&tail=200", escape(id));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.raw.bytes(&path, most).await
    }

    /// A service's log as Docker sends it, in frames that name their task.
    pub(crate) async fn log_stream(
        &self,
        id: &str,
        part: Part,
        follow: bool,
    ) -> Result<Incoming, DockerError> {
        let tail = part.tail.map_or("all".to_owned(), |tail| tail.to_string());
        let since = part.since.map_or("0".to_owned(), |since| {
            let nanoseconds = since.subsec_nanosecond().max(0);
            format!("{}.{nanoseconds:09}", since.as_second().max(0))
        });
        let path = format!(
            "/services/{}/logs?details=1&timestamps=1&stdout=1&stderr=1&tail={tail}&since={since}&follow={}",
            escape(id),
            u8::from(follow)
        );
        self.raw.stream(&path).await
    }

    /// All nodes.
    pub(crate) async fn nodes(&self) -> Result<BTreeMap<String, Node>, DockerError> {
        let nodes: Vec<RawNode> = self.raw.get("/nodes", None).await?;
        Ok(read_nodes(nodes))
    }

    /// The id of the node that Docker is.
    pub(crate) async fn own_node(&self) -> Result<String, DockerError> {
        let info: Value = self.raw.get("/info", None).await?;
        let id = info["Swarm"]["NodeID"].as_str().unwrap_or_default();
        Ok(id.to_owned())
    }

    /// Reads something that only its reader types.
    pub(crate) async fn read<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        filters: Option<&Value>,
    ) -> Result<T, DockerError> {
        self.raw.get(path, filters).await
    }

    async fn network_names(&self) -> Result<BTreeMap<String, String>, DockerError> {
        let found: Vec<RawNetwork> = self.raw.get("/networks", None).await?;
        Ok(found.into_iter().map(|n| (n.id, n.name)).collect())
    }

    /// Whether a Swarm network of this name exists.
    pub(crate) async fn network_exists(&self, name: &str) -> Result<bool, DockerError> {
        Ok(self.network_names().await?.values().any(|n| n == name))
    }

    /// The ids of all Swarm secrets by name.
    pub(crate) async fn secrets(&self) -> Result<BTreeMap<String, String>, DockerError> {
        let found = limited(LIMIT, self.library.list_secrets(None)).await?;
        Ok(found
            .into_iter()
            .filter_map(|secret| Some((secret.spec?.name?, secret.id?)))
            .collect())
    }

    /// The ids of all Swarm configs by name.
    pub(crate) async fn configs(&self) -> Result<BTreeMap<String, String>, DockerError> {
        let found = limited(LIMIT, self.library.list_configs(None)).await?;
        Ok(found
            .into_iter()
            .filter_map(|config| Some((config.spec?.name?, config.id?)))
            .collect())
    }

    /// A config or secret by its name.
    pub(crate) async fn object(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Object>, DockerError> {
        let path = format!("{}/{}", kind.path(), escape(name));
        match self.raw.get(&path, None).await {
            Ok(object) => Ok(Some(object)),
            Err(DockerError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All configs or secrets of this installation.
    pub(crate) async fn objects(
        &self,
        kind: Kind,
        installation: &str,
    ) -> Result<Vec<Object>, DockerError> {
        let filters = json!({ "label": [format!("{}={installation}", label::MANAGED_BY)] });
        self.raw.get(kind.path(), Some(&filters)).await
    }

    /// Creates a config or secret. The spec holds its content: it goes into no log line.
    pub(crate) async fn create_object(&self, kind: Kind, spec: &Value) -> Result<(), DockerError> {
        let path = format!("{}/create", kind.path());
        self.raw.post(&path, spec, None).await.map(drop)
    }

    /// Changes the labels of a config or secret.
    pub(crate) async fn update_object(
        &self,
        kind: Kind,
        object: &Object,
        spec: &Value,
    ) -> Result<(), DockerError> {
        let version = object.version.index;
        let path = format!("{}/{}/update?version={version}", kind.path(), object.id);
        self.raw.post(&path, spec, None).await.map(drop)
    }

    /// Removes a config or secret.
    pub(crate) async fn remove_object(&self, kind: Kind, id: &str) -> Result<(), DockerError> {
        let removed = match kind {
            Kind::Secret => limited(LIMIT, self.library.delete_secret(id)).await,
            Kind::Config => limited(LIMIT, self.library.delete_config(id)).await,
        };
        match removed {
            Err(DockerError::Missing(_)) => Ok(()),
            other => other,
        }
    }

    /// An image of this machine; `None` when it is not here.
    pub(crate) async fn local_image(
        &self,
        reference: &str,
    ) -> Result<Option<LocalImage>, DockerError> {
        match limited(LIMIT, self.library.inspect_image(reference)).await {
            Ok(image) => Ok(image.id.map(|id| LocalImage {
                id,
                digests: image.repo_digests.unwrap_or_default(),
            })),
            Err(DockerError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The digest that an image reference has in its registry.
    pub(crate) async fn registry_digest(
        &self,
        reference: &str,
        login: Option<&RegistryLogin>,
    ) -> Result<String, DockerError> {
        let login = header(login, reference)?;
        let found = self.registries.inspect(reference, login.as_deref()).await?;
        found.descriptor.digest.ok_or_else(|| {
            DockerError::Refused(format!("the registry names no digest for {reference}"))
        })
    }

    /// Creates a service from exactly this spec.
    pub(crate) async fn create(
        &self,
        spec: &Value,
        login: Option<&RegistryLogin>,
    ) -> Result<(), DockerError> {
        let login = header(login, image(spec))?;
        self.raw
            .post("/services/create", spec, login.as_deref())
            .await
            .map(drop)
    }

    /// Replaces a service's spec with exactly this one, if it still has this version.
    pub(crate) async fn update(
        &self,
        id: &str,
        version: u64,
        spec: &Value,
        login: Option<&RegistryLogin>,
    ) -> Result<(), DockerError> {
        let path = format!("/services/{}/update?version={version}", escape(id));
        let login = header(login, image(spec))?;
        self.raw.post(&path, spec, login.as_deref()).await.map(drop)
    }

    /// Removes a service; one that is not there any more is no error.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), DockerError> {
        match limited(LIMIT, self.library.delete_service(id)).await {
            Err(DockerError::Missing(_)) => Ok(()),
            other => other,
        }
    }

    /// Events that may change what we see: everything swarm-wide, and this node's own containers and images.
    pub(crate) fn events(
        &self,
    ) -> impl Stream<Item = Result<EventMessage, bollard::errors::Error>> + use<> {
        let mut filters = HashMap::new();
        filters.insert(
            "type",
            vec![
                "service",
                "node",
                "network",
                "secret",
                "config",
                "image",
                "container",
            ],
        );
        // Without these names every health check would be three events.
        filters.insert(
            "event",
            vec![
                "create",
                "update",
                "remove",
                "start",
                "die",
                "health_status",
                "pull",
                "tag",
                "load",
                "import",
                "push",
            ],
        );
        let options = EventsOptionsBuilder::default().filters(&filters).build();
        self.library.events(Some(options))
    }
}

async fn limited<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, DockerError> {
    match tokio::time::timeout(limit, asked).await {
        Ok(answer) => answer.map_err(DockerError::from_library),
        Err(_) => Err(DockerError::Silent(format!(
            "Docker did not answer within {} s",
            limit.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_says_a_stale_version_with_500_and_only_its_words_tell() {
        let stale = "rpc error: code = Unknown desc = update out of sequence";
        assert!(matches!(
            DockerError::from_answer(500, stale),
            DockerError::Stale(_)
        ));
        assert!(matches!(
            DockerError::from_answer(409, "name conflicts with an existing object"),
            DockerError::Stale(_)
        ));
        let constraint =
            "rpc error: code = Unknown desc = constraint expected one operator from ==, !=";
        assert!(matches!(
            DockerError::from_answer(500, constraint),
            DockerError::Refused(_)
        ));
        let leaderless = "rpc error: code = Unknown desc = The swarm does not have a leader.";
        assert!(matches!(
            DockerError::from_answer(500, leaderless),
            DockerError::Silent(_)
        ));
        assert!(matches!(
            DockerError::from_answer(503, "This node is not a swarm manager."),
            DockerError::Silent(_)
        ));
    }

    /// Why services are not read through the library and posted back.
    #[test]
    fn the_library_loses_the_health_check_of_a_spec_it_reads() {
        let spec = json!({ "TaskTemplate": { "ContainerSpec": { "Healthcheck": { "Test": ["CMD", "/x"] } } } });
        let read: bollard::models::ServiceSpec = serde_json::from_value(spec).unwrap();
        let again = serde_json::to_string(&read).unwrap();
        assert!(!again.contains("/x"), "{again}");
    }

    /// Why tasks are not read through the library.
    #[test]
    fn the_library_does_not_know_a_tasks_networks() {
        let task = json!({ "ID": "t", "NetworksAttachments": [{ "Addresses": ["10.0.1.5/24"] }] });
        let read: bollard::models::Task = serde_json::from_value(task).unwrap();
        assert!(!serde_json::to_string(&read).unwrap().contains("10.0.1.5"));
    }
}
