//! `…/adopt`: a running Swarm service becomes the first revision of a release, as it is.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use fm_api::http::{AdoptRequest, ApplyResult};
use fm_api::keys::ReleaseKey;
use fm_api::problem::Problem;
use fm_api::release::Release;
use fm_api::validate;
use fm_swarm::{AdoptError, Candidate};
use serde_json::{Value, json};

use super::Api;
use super::apply::Wish;
use super::body;
use super::contents::Query;
use super::doors::Shared;
use super::error::{Answer, ApiError};
use super::extract::{Key, Params, Who};

pub(super) async fn adopt(
    State(api): State<Shared>,
    Key(key): Key,
    Params(query): Params<Query>,
    Who(who): Who,
    body: Body,
) -> Answer<ApplyResult> {
    let asked: AdoptRequest = serde_json::from_value(body::json(body).await?).map_err(|error| {
        ApiError::request(format!("the body is not what is asked for: {error}"))
    })?;
    let services = api.here.services.as_ref().ok_or_else(|| {
        ApiError::refused("this frd has no Docker to look into; ask one at a manager of the Swarm")
    })?;
    if api.stored(&key).await?.is_some() {
        return Err(ApiError::conflict(format!(
            "there is a release {key} already; a service becomes a new one"
        )));
    }
    let found = services
        .candidate(&asked.service)
        .await
        .map_err(|error| match error {
            AdoptError::Missing(_) => ApiError::not_found(error.to_string()),
            AdoptError::Refused(words) => ApiError::refused(words),
            AdoptError::Docker(words) => ApiError::unavailable(words),
        })?;
    if let (Some(stack), false) = (&found.stack, asked.from_stack) {
        return Err(ApiError::refused(format!(
            "the service {} belongs to the stack {stack}: `docker stack deploy` and `rm` would change it behind our back. \
             Take it out of the stack's file, and adopt it with --from-stack",
            found.adopted.name
        )));
    }
    let release = release(&key, &asked, &found, api.here.overlay)?;
    let wish = Wish {
        release,
        who,
        roles: Vec::new(),
        dry_run: query.is_dry(),
        force: false,
        pull: false,
        if_generation: None,
        adopted: Some(found.adopted.clone()),
        word: None,
        why: None,
    };
    let mut result = api.apply(wish).await?;
    let left = found.left.iter();
    result.warnings.extend(left.map(|what| {
        format!("the service goes on as it is, but a next revision will not have: {what}")
    }));
    Ok(Json(result))
}

/// The release that says what runs.
fn release(
    key: &ReleaseKey,
    asked: &AdoptRequest,
    found: &Candidate,
    overlay: bool,
) -> Result<Release, ApiError> {
    let routes = if asked.hosts.is_empty() {
        json!([])
    } else {
        json!([{ "hosts": asked.hosts, "port": port(asked, found, overlay)? }])
    };
    let mut workload = found.workload.clone();
    if asked.shared {
        let written = workload
            .mounts
            .iter_mut()
            .filter(|mount| mount.is_written_unshared());
        written.for_each(|mount| mount.shared = true);
    }
    let workload: Value =
        serde_json::to_value(&workload).map_err(|error| ApiError::internal(error.to_string()))?;
    let manifest = json!({
        "apiVersion": fm_api::release::API_VERSION,
        "kind": fm_api::release::KIND,
        "metadata": { "namespace": key.namespace(), "name": key.name() },
        "spec": {
            "replicas": found.replicas,
            "workload": workload,
            "routes": routes,
            "strategy": { "canary": { "steps": [
                { "weight": 10, "hold": "2m" }, { "weight": 50, "hold": "5m" },
            ] } },
        },
    });
    let what = format!("the release that {} would become", found.adopted.name);
    let release: Release =
        validate::json(&manifest).map_err(|problems| ApiError::invalid(&what, problems))?;
    let written = validate::refused_today(&release);
    if written.is_empty() {
        return Ok(release);
    }
    // Of a mount as a whole it is said that tasks would write it side by side.
    let whole = |path: &str| path.starts_with("spec.workload.mounts[") && path.ends_with(']');
    let hint = |problem: Problem| match whole(&problem.path) {
        true => problem.allowed("--shared, if the program is made for that"),
        false => problem,
    };
    Err(ApiError::invalid(
        &what,
        written.into_iter().map(hint).collect(),
    ))
}

/// The port by which HAProxy reaches each of its tasks.
fn port(asked: &AdoptRequest, found: &Candidate, overlay: bool) -> Result<u16, ApiError> {
    let name = &found.adopted.name;
    if overlay {
        if found.workload.networks.is_empty() {
            return Err(ApiError::refused(format!(
                "{name} is in no network in which HAProxy could reach it"
            )));
        }
        return asked
            .port
            .ok_or_else(|| ApiError::refused("name the container's port with --port"));
    }
    match (asked.port, found.host_ports.as_slice()) {
        (Some(port), ports) if ports.contains(&port) => Ok(port),
        (None, [one]) => Ok(*one),
        (None, [_, _, ..]) => Err(ApiError::refused(format!(
            "{name} publishes the ports {:?}: name one with --port",
            found.host_ports
        ))),
        (port, _) => Err(ApiError::refused(format!(
            "HAProxy could not reach the tasks of {name} one by one: {} is not published with mode=host{}. Adopt it without \
             --host; routes that you apply then come with the next revision, which publishes them",
            port.map_or("no port".to_owned(), |port| format!("port {port}")),
            if found.ingress_ports.is_empty() {
                ""
            } else {
                " but through Swarm's own balancing"
            },
        ))),
    }
}

impl Api {
    /// What serves can only stay if it is known what that is.
    pub(super) async fn check_orphan(&self, key: &ReleaseKey) -> Result<(), ApiError> {
        let target = self.target(key).await?;
        let Some(target) = target.filter(|target| target.stable.is_some()) else {
            return Err(ApiError::refused(format!(
                "{key} has no stable revision whose service could stay"
            )));
        };
        if let Some(rollout) = &target.rollout {
            return Err(ApiError::refused(format!(
                "the rollout of revision {} is running: abort it or wait for its end, then it is clear which service stays",
                rollout.revision
            )));
        }
        Ok(())
    }
}
