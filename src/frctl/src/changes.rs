//! What a change of a release leads to: a new revision, or something at once. Pure.

use fm_api::release::Release;

/// What one changed part leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The part.
    pub(crate) part: &'static str,
    /// What it leads to.
    pub(crate) effect: &'static str,
    /// Whether a new revision comes of it.
    pub(crate) revision: bool,
}

const REVISION: &str = "a new revision, rolled out by the steps";
const AT_ONCE: &str = "at once, no new revision";

/// What the change from `old` to `new` leads to, part by part.
pub(crate) fn changes(old: &Release, new: &Release) -> Vec<Change> {
    let (meta, after_meta) = (&old.metadata, &new.metadata);
    let (before, after) = (&old.spec, &new.spec);
    let ports = before.ports() != after.ports();
    let rules = before.on_failure != after.on_failure
        || before.on_new_revision != after.on_new_revision
        || before.on_control_loss != after.on_control_loss
        || before.progress_deadline != after.progress_deadline
        || before.drift != after.drift
        || before.keep_failed != after.keep_failed
        || before.rollback != after.rollback
        || before.history_limit != after.history_limit;
    let labels = meta.labels != after_meta.labels || meta.annotations != after_meta.annotations;
    let routes = if ports {
        "with the new revision"
    } else {
        AT_ONCE
    };
    let parts = [
        ("workload", before.workload != after.workload, REVISION),
        ("ports of the routes", ports, REVISION),
        ("replicas", before.replicas != after.replicas, AT_ONCE),
        ("routes", before.routes != after.routes, routes),
        ("match", before.match_rules != after.match_rules, AT_ONCE),
        ("affinity", before.affinity != after.affinity, AT_ONCE),
        (
            "strategy",
            before.strategy != after.strategy,
            "for a running rollout and later ones, no new revision",
        ),
        (
            "analysis",
            before.analysis != after.analysis,
            "a running rollout gathers its evidence anew, no new revision",
        ),
        (
            "experiment",
            before.experiment != after.experiment,
            "candidates and a baseline beside stable; one that runs ends, and none is promoted by itself",
        ),
        ("rules", rules, "from now on, no new revision"),
        (
            "labels or annotations",
            labels,
            "at once; nothing that runs is touched",
        ),
    ];
    parts
        .into_iter()
        .filter(|(_, different, _)| *different)
        .map(|(part, _, effect)| Change {
            part,
            effect,
            revision: effect == REVISION,
        })
        .collect()
}

/// The release without what the server adds: ready to be applied again, anywhere.
pub(crate) fn portable(release: &Release) -> Release {
    let mut plain = release.clone();
    let meta = &mut plain.metadata;
    meta.uid = None;
    meta.generation = None;
    meta.created_at = None;
    meta.deleted_at = None;
    meta.changed_by = None;
    meta.adopted = None;
    meta.orphan = false;
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        let text = include_str!("../tests/views/fresh.json");
        let view: fm_api::http::View = serde_json::from_str(text).unwrap();
        view.release.unwrap()
    }

    fn parts(change: impl Fn(&mut Release)) -> Vec<(&'static str, bool)> {
        let old = release();
        let mut new = old.clone();
        change(&mut new);
        changes(&old, &new)
            .iter()
            .map(|change| (change.part, change.revision))
            .collect()
    }

    #[test]
    fn only_what_runs_and_its_ports_make_a_revision() {
        assert_eq!(parts(|_| {}), []);
        assert_eq!(
            parts(|new| new.spec.workload.image = "shop:2".to_owned()),
            [("workload", true)]
        );
        assert_eq!(parts(|new| new.spec.replicas = 9), [("replicas", false)]);
        assert_eq!(
            parts(|new| new.spec.routes[0].port = 9090),
            [("ports of the routes", true), ("routes", false)]
        );
        assert_eq!(
            parts(|new| new.spec.routes[0].hosts.push("b.example.com".to_owned())),
            [("routes", false)]
        );
        assert_eq!(parts(|new| new.spec.history_limit = 3), [("rules", false)]);
    }

    #[test]
    fn what_the_server_adds_is_not_applied_again() {
        let plain = portable(&release());
        assert!(plain.metadata.uid.is_none() && plain.metadata.generation.is_none());
        assert!(plain.metadata.created_at.is_none() && plain.metadata.changed_by.is_none());
        assert_eq!(plain.metadata.labels, release().metadata.labels);
    }
}
