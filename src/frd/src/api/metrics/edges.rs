//! What is wrong with the edges, every one that lives, and what endangers every release.

use std::collections::BTreeMap;

use fm_api::cluster::{ClusterProblem, Subject};
use fm_api::edge::Edge;
use fm_api::observed::TroubleKind;
use prometheus_client::registry::Registry;

use super::{gauges, word};

pub(super) fn troubles(registry: &mut Registry, edges: &[Edge]) {
    let up = gauges(
        registry,
        "edge_up",
        "Whether the HAProxy of a live edge answers",
    );
    let help = "What else is wrong with a live edge, by kind: see `frctl edge list`";
    let troubles = gauges(registry, "edge_troubles", help);
    for edge in edges.iter().filter(|edge| edge.live) {
        let named = vec![("edge", edge.name.clone())];
        let well = edge.problem.is_none() && !edge.haproxy.is_empty();
        up.get_or_create(&named).set(if well { 1.0 } else { 0.0 });
        // Zeros too: an alarm on a series that is not there never rings.
        let mut counts: BTreeMap<TroubleKind, f64> = TroubleKind::ALL
            .into_iter()
            .map(|kind| (kind, 0.0))
            .collect();
        for trouble in &edge.troubles {
            *counts.entry(trouble.kind).or_default() += 1.0;
        }
        for (kind, count) in counts {
            let mut labels = named.clone();
            labels.push(("kind", word(kind)));
            troubles.get_or_create(&labels).set(count);
        }
    }
}

/// Each subject has its series also while nothing is wrong, so that a rule can tell well from unseen.
pub(super) fn cluster(registry: &mut Registry, problems: &[ClusterProblem]) {
    let help = "What blocks or endangers every release now, as `frctl get --problems` lists it";
    let family = gauges(registry, "cluster_problems", help);
    for subject in Subject::ALL {
        let count = problems.iter().filter(|p| p.subject == subject).count();
        let labels = vec![("subject", subject.word().to_owned())];
        family.get_or_create(&labels).set(count as f64);
    }
}
