//! Assembles the snapshot of one release from the cache.
//!
//! What does not parse harms only itself: an unusable spec is part of the world, an unreadable observation is unknown.

use std::collections::BTreeMap;

use fm_api::dependency;
use fm_api::keys::{self, ReleaseKey};
use fm_api::observed::{Agent, HaproxyObserved};
use fm_api::operation::Operation;
use fm_api::problem::Problem;
use fm_api::release::Release;
use fm_api::status::{Phase, Status};
use fm_api::target::{RevisionRecord, Target};
use fm_runtime::{Cache, ReconcileError, decode};
use fm_store::Entry;
use serde::de::DeserializeOwned;

use crate::Options;
use crate::plan::{Other, Spec, World};

/// The snapshot, with what a write of it must expect unchanged.
pub(crate) struct Seen {
    /// The snapshot.
    pub(crate) world: World,
    /// The store's revision of the target; absent: there is none.
    pub(crate) target_revision: Option<u64>,
    /// Operations that cannot be read, with the reason.
    pub(crate) unreadable: Vec<(String, String)>,
}

/// The snapshot of one release.
pub(crate) fn world(
    cache: &Cache,
    key: &ReleaseKey,
    options: &Options,
    fresh_seed: u32,
) -> Result<Seen, ReconcileError> {
    let target = cache.get(&key.target());
    let target_revision = target.as_ref().map(|entry| entry.revision);
    // Without its own memory promotion would begin anew and forget stable: it rather does nothing.
    let target: Option<Target> =
        target
            .map(|entry| decode(&entry))
            .transpose()
            .map_err(|error| {
                ReconcileError::Terminal(format!(
                    "the stored target of {key} cannot be read: {error}"
                ))
            })?;
    let stored = cache.get(&key.release());
    let stored: Option<Release> = stored.and_then(|entry| decode(&entry).ok());
    let fellows = fellows(cache, key, stored.as_ref(), target.as_ref());
    let mut unreadable = Vec::new();
    let operations = operations(cache, key, &mut unreadable);
    let world = World {
        spec: cache
            .get(&key.release())
            .map(|entry| spec(cache, key, &entry)),
        target,
        records: records(cache, key),
        operations,
        swarm: read(cache, &key.observed_swarm()),
        live: cache
            .list(&keys::prefix("agents"))
            .iter()
            .filter_map(|entry| last_part(&entry.key))
            .collect(),
        draining: cache
            .list(&keys::prefix("edges"))
            .iter()
            .filter_map(|entry| last_part(&entry.key))
            .collect(),
        troubles: cache
            .list(&keys::prefix("agents"))
            .iter()
            .filter_map(|entry| {
                let agent: Agent = decode(entry).ok()?;
                let hurts = agent.troubles.into_iter().find(|one| one.kind.hurts());
                let words = agent.problem.or(hurts.map(|one| one.message))?;
                Some((last_part(&entry.key)?, words))
            })
            .collect(),
        haproxy: cache
            .list(&key.observed_haproxy_prefix())
            .iter()
            .filter_map(|entry| {
                let seen: HaproxyObserved = decode(entry).ok()?;
                Some((last_part(&entry.key)?, seen))
            })
            .collect(),
        verdict: read(cache, &key.verdict()),
        trials: cache
            .list(&key.trials_prefix())
            .iter()
            .filter_map(|entry| Some((last_part(&entry.key)?, decode(entry).ok()?)))
            .collect(),
        gates: read(cache, &key.observed_gates()),
        upstreams: upstreams(cache, key, stored.as_ref()),
        fellows,
        freezes: options.freeze.clone(),
        roles: options.roles.clone(),
        status: read(cache, &key.status()),
        fresh_seed,
    };
    Ok(Seen {
        world,
        target_revision,
        unreadable,
    })
}

/// What the release depends on, by its spec: without a usable one nothing begins.
fn upstreams(cache: &Cache, key: &ReleaseKey, spec: Option<&Release>) -> Vec<Other> {
    let all = spec.map(dependency::of).unwrap_or_default().into_iter();
    all.filter(|other| other != key)
        .map(|other| {
            let stored: Option<Release> = read(cache, &other.release());
            let there = stored.filter(|release| release.metadata.deleted_at.is_none());
            seen(cache, other, there.as_ref())
        })
        .collect()
}

/// The other releases of its group, by its spec, or by what was taken in of it while that cannot be used.
fn fellows(
    cache: &Cache,
    key: &ReleaseKey,
    spec: Option<&Release>,
    target: Option<&Target>,
) -> Vec<Other> {
    let settings = target.and_then(|target| target.settings.as_ref());
    let group = match spec {
        Some(release) => release.spec.group.as_deref(),
        None => settings.and_then(|settings| settings.group.as_deref()),
    };
    let Some(group) = group else {
        return Vec::new();
    };
    // Reading all of a namespace at each look would cost more than the whole rest of it.
    let named = format!("\"{group}\"");
    let may_be = |stored: &Entry| {
        stored.key != key.release()
            && std::str::from_utf8(&stored.value).is_ok_and(|text| text.contains(&named))
    };
    let stored = cache.list(&keys::releases_in(key.namespace()));
    let releases = stored
        .iter()
        .filter(|entry| may_be(entry))
        .filter_map(|entry| {
            let release: Release = decode(entry).ok()?;
            let there = release.metadata.deleted_at.is_none();
            (there && release.spec.group.as_deref() == Some(group)).then_some(release)
        });
    releases
        .map(|release| seen(cache, release.key(), Some(&release)))
        .collect()
}

fn seen(cache: &Cache, key: ReleaseKey, release: Option<&Release>) -> Other {
    let status: Option<Status> = read(cache, &key.status());
    let refused = status.is_some_and(|status| status.phase == Phase::Invalid);
    // What does not parse is there, too.
    let stored = cache.get(&key.release());
    let unreadable = |entry: &Entry| decode::<Release>(entry).is_err();
    Other {
        generation: release.map(|release| release.metadata.generation.unwrap_or_default()),
        invalid: stored.is_some_and(|entry| refused || unreadable(&entry)),
        target: read(cache, &key.target()),
        key,
    }
}

fn last_part(key: &str) -> Option<String> {
    key.rsplit('/').next().map(str::to_owned)
}

/// What is unreadable is unknown.
fn read<T: DeserializeOwned>(cache: &Cache, key: &str) -> Option<T> {
    let entry = cache.get(key)?;
    match decode(&entry) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(key, error, "cannot be read: taken as unknown");
            None
        }
    }
}

fn records(cache: &Cache, key: &ReleaseKey) -> BTreeMap<fm_api::keys::RevisionId, RevisionRecord> {
    cache
        .list(&key.revisions_prefix())
        .iter()
        .filter_map(|entry| {
            let record: RevisionRecord = decode(entry).ok()?;
            Some((record.id.clone(), record))
        })
        .collect()
}

fn operations(
    cache: &Cache,
    key: &ReleaseKey,
    unreadable: &mut Vec<(String, String)>,
) -> Vec<Operation> {
    let mut asked = Vec::new();
    for entry in cache.list(&key.operations_prefix()) {
        let id = last_part(&entry.key).unwrap_or_default();
        match decode::<Operation>(&entry) {
            // The key names it: another id inside would never be removed.
            Ok(operation) => asked.push(Operation { id, ..operation }),
            Err(error) => unreadable.push((id, error)),
        }
    }
    asked
}

/// The stored spec. One that was put straight into the store may be anything.
fn spec(cache: &Cache, key: &ReleaseKey, entry: &Entry) -> Spec {
    let value: serde_json::Value = match serde_json::from_slice(&entry.value) {
        Ok(value) => value,
        Err(error) => {
            return Spec {
                uid: String::new(),
                generation: 0,
                deleted: false,
                orphan: false,
                remove_adopted: false,
                body: Err(vec![format!("it is no JSON: {error}")]),
            };
        }
    };
    let metadata = &value["metadata"];
    Spec {
        uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
        generation: metadata["generation"].as_u64().unwrap_or(0),
        deleted: !metadata["deletedAt"].is_null(),
        orphan: metadata["orphan"] == true,
        remove_adopted: metadata["removeAdopted"] == true,
        body: usable(cache, key, &value).map(Box::new),
    }
}

fn usable(
    cache: &Cache,
    key: &ReleaseKey,
    value: &serde_json::Value,
) -> Result<Release, Vec<String>> {
    let release = fm_api::validate::json(value)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    if release.key() != *key {
        return Err(vec![format!(
            "it says {} and is stored as {key}",
            release.key()
        )]);
    }
    if release
        .metadata
        .uid
        .as_deref()
        .unwrap_or_default()
        .is_empty()
    {
        return Err(vec![
            "metadata.uid: it was not applied through the API".to_owned(),
        ]);
    }
    if let Some(problem) = waits_for_itself(cache, key, &release) {
        return Err(vec![problem.to_string()]);
    }
    if release.spec.routes.is_empty() {
        return Ok(release);
    }
    let others: Vec<Release> = cache
        .list(&keys::releases_prefix())
        .iter()
        .filter(|entry| entry.key != key.release() && names_a_host_of(&entry.value, &release))
        .filter_map(|entry| decode(entry).ok())
        .collect();
    match fm_api::validate::routes_conflict(&release, others.iter()) {
        Some(problem) => Err(vec![problem.to_string()]),
        None => Ok(release),
    }
}

/// Two who change the store at once can each write what only together is a circle.
fn waits_for_itself(cache: &Cache, key: &ReleaseKey, release: &Release) -> Option<Problem> {
    if release.spec.depends_on.is_empty() && release.spec.group.is_none() {
        return None;
    }
    let others: Vec<Release> = cache
        .list(&keys::releases_prefix())
        .iter()
        .filter(|entry| entry.key != key.release() && waits(&entry.value))
        .filter_map(|entry| decode(entry).ok())
        .collect();
    dependency::cycle(release, others.iter())
}

/// Whether a stored release may wait for others; spares reading all of them at every look.
fn waits(stored: &[u8]) -> bool {
    std::str::from_utf8(stored)
        .is_ok_and(|text| text.contains("\"dependsOn\"") || text.contains("\"group\""))
}

/// Whether a stored release may claim one of our hosts; spares reading all the others at every look.
fn names_a_host_of(stored: &[u8], release: &Release) -> bool {
    let Ok(text) = std::str::from_utf8(stored) else {
        return false;
    };
    let mut hosts = release.spec.routes.iter().flat_map(|route| &route.hosts);
    hosts.any(|host| text.contains(&format!("\"{host}\"")))
}
