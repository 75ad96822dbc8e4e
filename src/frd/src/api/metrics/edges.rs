//! What is wrong with the edges, every one that lives.

use std::collections::BTreeMap;

use fm_api::keys;
use fm_api::observed::{Agent, TroubleKind};
use prometheus_client::registry::Registry;

use super::super::Api;
use super::super::error::ApiError;
use super::super::stored::decode;
use super::{gauges, word};

impl Api {
    pub(super) async fn troubles(&self, registry: &mut Registry) -> Result<(), ApiError> {
        let up = gauges(
            registry,
            "edge_up",
            "Whether the HAProxy of a live edge answers",
        );
        let help = "What else is wrong with a live edge, by kind: see `frctl edge list`";
        let troubles = gauges(registry, "edge_troubles", help);
        let agents = self.ctx.store.list(&keys::prefix("agents")).await?;
        for agent in agents.entries.iter().filter_map(decode::<Agent>) {
            let edge = vec![("edge", agent.instance.clone())];
            let well = agent.problem.is_none() && !agent.haproxy.is_empty();
            up.get_or_create(&edge).set(if well { 1.0 } else { 0.0 });
            // Zeros too: an alarm on a series that is not there never rings.
            let mut counts: BTreeMap<TroubleKind, f64> = TroubleKind::ALL
                .into_iter()
                .map(|kind| (kind, 0.0))
                .collect();
            for trouble in &agent.troubles {
                *counts.entry(trouble.kind).or_default() += 1.0;
            }
            for (kind, count) in counts {
                let mut labels = edge.clone();
                labels.push(("kind", word(kind)));
                troubles.get_or_create(&labels).set(count);
            }
        }
        Ok(())
    }
}
