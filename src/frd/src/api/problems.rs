//! `/v1/problems`: what blocks or endangers every release, cluster-wide, each with what to do. Planned purely from what the
//! store holds; where the store does not answer, that is the one problem.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use fm_api::cluster::{ClusterProblem, ClusterProblems, Subject};
use fm_api::daemon::Daemon;
use fm_api::edge::Edge;
use fm_api::keys;
use jiff::{SignedDuration, Timestamp};

use super::Api;
use super::doors::Shared;
use super::edges::named;
use super::error::{Answer, ApiError};

/// Controllers of which one daemon at a time does the work: without it this does not happen.
const LED: [(&str, &str); 3] = [
    ("promotion", "no rollout goes on, and none is rolled back"),
    ("swarm", "no task is started, scaled or removed"),
    (
        "analysis",
        "no canary is compared, so none is promoted and harm is not seen",
    ),
];

/// A HAProxy that starts, and an election, may take this long.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);

/// What the store tells of the cluster.
#[derive(Debug, Default)]
struct Cluster {
    /// Its address, and what is wrong with it.
    store: (String, Option<String>),
    /// Live daemons; `None` while they cannot be read.
    daemons: Option<Vec<Daemon>>,
    edges: Vec<Edge>,
    now: Timestamp,
}

pub(super) async fn list(State(api): State<Shared>) -> Answer<ClusterProblems> {
    Ok(Json(ClusterProblems {
        items: api.problems().await,
    }))
}

impl Api {
    async fn problems(&self) -> Vec<ClusterProblem> {
        self.problems_with(self.edges().await).await
    }

    /// The same, for who knows the edges already.
    pub(super) async fn problems_with(
        &self,
        edges: Result<Vec<Edge>, ApiError>,
    ) -> Vec<ClusterProblem> {
        let mut cluster = Cluster {
            store: (self.ctx.store.describe(), self.store_problem().await),
            now: self.ctx.clock.now(),
            ..Cluster::default()
        };
        let daemons = self.ctx.store.list(&keys::prefix("daemons")).await;
        match (daemons, edges) {
            (Ok(daemons), Ok(edges)) => {
                let daemons: BTreeMap<String, Daemon> = named(&daemons.entries);
                cluster.daemons = Some(daemons.into_values().collect());
                cluster.edges = edges;
            }
            (Err(error), _) => {
                cluster.store.1.get_or_insert(error.to_string());
            }
            (Ok(_), Err(_)) => {
                let words = "it was lost while it was read";
                cluster.store.1.get_or_insert(words.to_owned());
            }
        }
        plan(&cluster)
    }
}

fn plan(cluster: &Cluster) -> Vec<ClusterProblem> {
    let mut all = Vec::new();
    if let (name, Some(problem)) = &cluster.store {
        all.push(ClusterProblem {
            subject: Subject::Store,
            name: name.clone(),
            message: problem.clone(),
            next: "`frctl doctor`; HAProxy keeps the shares it has until the store is back"
                .to_owned(),
            since: None,
        });
    }
    if let Some(daemons) = &cluster.daemons {
        all.extend(LED.iter().filter_map(|led| undone(daemons, *led)));
        all.extend(daemons.iter().flat_map(unwell));
    }
    all.extend(
        cluster
            .edges
            .iter()
            .flat_map(|e| edge(e, cluster.now).into_iter().chain(troubles(e))),
    );
    all.sort_by(|a, b| (a.subject, &a.name).cmp(&(b.subject, &b.name)));
    all
}

/// A controller whose work no daemon can do.
fn undone(daemons: &[Daemon], (controller, without): (&str, &str)) -> Option<ClusterProblem> {
    let stand = || {
        let each = daemons.iter();
        each.filter_map(|daemon| Some((daemon, daemon.controllers.get(controller)?)))
    };
    if stand().any(|(_, candidate)| candidate.unfit.is_none()) {
        return None;
    }
    let why: Vec<String> = stand()
        .map(|(daemon, candidate)| {
            let unfit = candidate.unfit.as_deref().unwrap_or_default();
            format!("{}: {unfit}", shown(daemon))
        })
        .collect();
    let (message, next) = if why.is_empty() {
        (
            format!("no live daemon runs it: {without}"),
            format!("start an frd with `--controllers {controller}` (or all of them)"),
        )
    } else {
        (
            format!("no daemon can do its work: {without} ({})", why.join("; ")),
            "mend what it names on one of them; `frctl doctor` there says more".to_owned(),
        )
    };
    Some(ClusterProblem {
        subject: Subject::Controller,
        name: controller.to_owned(),
        message,
        next,
        since: None,
    })
}

/// What a live daemon says of itself.
fn unwell(daemon: &Daemon) -> Vec<ClusterProblem> {
    let problem = |message: String, next: &str| ClusterProblem {
        subject: Subject::Daemon,
        name: shown(daemon),
        message,
        next: next.to_owned(),
        since: None,
    };
    let clock = daemon.clock.iter().map(|words| {
        problem(
            words.clone(),
            "set the clock there, and keep it by NTP (`timedatectl`)",
        )
    });
    // One trouble may keep it from several kinds of work.
    let mut kept: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (controller, candidate) in &daemon.controllers {
        if let Some(unfit) = &candidate.unfit {
            kept.entry(unfit).or_default().push(controller);
        }
    }
    let unfit = kept
        .into_iter()
        .filter(|(words, _)| daemon.clock.as_deref() != Some(*words));
    let unfit = unfit.map(|(words, controllers)| {
        problem(
            format!("it leaves {} to others: {words}", controllers.join(", ")),
            "`frctl doctor` there; until it is mended another daemon's loss stops this work",
        )
    });
    clock.chain(unfit).collect()
}

fn shown(daemon: &Daemon) -> String {
    if daemon.instance.is_empty() {
        daemon.identity.clone()
    } else {
        daemon.instance.clone()
    }
}

fn edge(edge: &Edge, now: Timestamp) -> Option<ClusterProblem> {
    let problem = |message: String, next: String| {
        Some(ClusterProblem {
            subject: Subject::Edge,
            name: edge.name.clone(),
            message,
            next,
            since: edge.since,
        })
    };
    if !edge.live {
        // One that led to nothing, or is being taken out, holds nobody up.
        if edge.releases.is_empty() || edge.draining.is_some() {
            return None;
        }
        return problem(
            format!(
                "its agent is gone, and its HAProxy may still serve: no share of {} rises, and what it may lead to stays",
                releases(edge)
            ),
            format!(
                "start its frd again; is it gone for good, `frctl edge forget {}`",
                edge.name
            ),
        );
    }
    let look = "`frctl doctor` there; frd's log has HAProxy's words".to_owned();
    match &edge.problem {
        Some(words) => problem(format!("HAProxy does not answer there: {words}"), look),
        None if edge.haproxy.is_empty()
            && edge
                .since
                .is_none_or(|since| now.duration_since(since) > PATIENCE) =>
        {
            problem("HAProxy has not answered there yet".to_owned(), look)
        }
        None => None,
    }
}

/// What a live edge says of itself besides.
fn troubles(edge: &Edge) -> impl Iterator<Item = ClusterProblem> {
    edge.troubles.iter().map(|trouble| {
        let next = match &trouble.keeps {
            Some(_) => format!(
                "mend it, or let the edge give up what it keeps: `frctl edge accept {}`",
                edge.name
            ),
            None => "`frctl doctor` there says more".to_owned(),
        };
        ClusterProblem {
            subject: Subject::Edge,
            name: edge.name.clone(),
            message: trouble.message.clone(),
            next,
            since: None,
        }
    })
}

/// The releases that an edge has reported on: a few by name.
fn releases(edge: &Edge) -> String {
    const SHOWN: usize = 3;
    let names = edge.releases.iter().take(SHOWN);
    let names: Vec<String> = names
        .map(|release| format!("{}/{}", release.namespace, release.name))
        .collect();
    match edge.releases.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
#[path = "problems_tests.rs"]
mod tests;
