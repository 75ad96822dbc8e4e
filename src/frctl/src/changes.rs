//! What a change of a release leads to: a new revision, or something at once. Pure.

use fm_api::release::{Release, ReleaseSpec};

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
const FROM_NOW: &str = "from now on, no new revision";

/// What the change from `old` to `new` leads to, part by part.
pub(crate) fn changes(old: &Release, new: &Release) -> Vec<Change> {
    let (meta, after_meta) = (&old.metadata, &new.metadata);
    let (before, after) = (&old.spec, &new.spec);
    let ports = before.ports() != after.ports();
    // One by one: of a field that is added it must be said, too, when it acts.
    let ReleaseSpec {
        replicas,
        workload,
        routes: led,
        affinity,
        match_rules,
        strategy,
        analysis,
        experiment,
        depends_on,
        group,
        before_traffic,
        webhooks,
        freeze,
        on_failure,
        rollback,
        keep_failed,
        on_new_revision,
        on_control_loss,
        progress_deadline,
        drift,
        history_limit,
    } = before;
    let rules = *on_failure != after.on_failure
        || *on_new_revision != after.on_new_revision
        || *on_control_loss != after.on_control_loss
        || *progress_deadline != after.progress_deadline
        || *drift != after.drift
        || *keep_failed != after.keep_failed
        || *rollback != after.rollback
        || *history_limit != after.history_limit;
    let gates = *before_traffic != after.before_traffic
        || *webhooks != after.webhooks
        || *freeze != after.freeze;
    let others = *depends_on != after.depends_on || *group != after.group;
    let labels = meta.labels != after_meta.labels || meta.annotations != after_meta.annotations;
    let routes = if ports {
        "with the new revision"
    } else {
        AT_ONCE
    };
    let parts = [
        ("workload", *workload != after.workload, REVISION),
        ("ports of the routes", ports, REVISION),
        ("replicas", *replicas != after.replicas, AT_ONCE),
        ("routes", *led != after.routes, routes),
        ("match", *match_rules != after.match_rules, AT_ONCE),
        ("affinity", *affinity != after.affinity, AT_ONCE),
        (
            "strategy",
            *strategy != after.strategy,
            "for a running rollout and later ones, no new revision",
        ),
        (
            "analysis",
            *analysis != after.analysis,
            "a running rollout gathers its evidence anew, no new revision",
        ),
        (
            "experiment",
            *experiment != after.experiment,
            "candidates and a baseline beside stable; one that runs ends, and none is promoted by itself",
        ),
        ("gates", gates, FROM_NOW),
        ("dependsOn or group", others, FROM_NOW),
        ("rules", rules, FROM_NOW),
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
    meta.changed_roles.clear();
    meta.pulled = None;
    meta.changed_why = None;
    meta.adopted = None;
    meta.orphan = false;
    meta.remove_adopted = false;
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
        assert_eq!(
            parts(|new| new.spec.group = Some("web".to_owned())),
            [("dependsOn or group", false)]
        );
    }

    #[test]
    fn what_the_server_adds_is_not_applied_again() {
        let plain = portable(&release());
        assert!(plain.metadata.uid.is_none() && plain.metadata.generation.is_none());
        assert!(plain.metadata.created_at.is_none() && plain.metadata.changed_by.is_none());
        assert_eq!(plain.metadata.labels, release().metadata.labels);
    }
}
