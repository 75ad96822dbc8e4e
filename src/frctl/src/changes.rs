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

/// What the change from `old` to `new` leads to, part by part.
pub(crate) fn changes(old: &Release, new: &Release) -> Vec<Change> {
    let mut found = Vec::new();
    let mut say = |different: bool, part, effect, revision| {
        if different {
            found.push(Change {
                part,
                effect,
                revision,
            });
        }
    };
    let (before, after) = (&old.spec, &new.spec);
    let ports = before.ports() != after.ports();
    say(
        before.workload != after.workload,
        "workload",
        "a new revision, rolled out by the steps",
        true,
    );
    say(
        ports,
        "ports of the routes",
        "a new revision, rolled out by the steps",
        true,
    );
    say(
        before.replicas != after.replicas,
        "replicas",
        "at once, no new revision",
        false,
    );
    say(
        before.routes != after.routes,
        "routes",
        if ports {
            "with the new revision"
        } else {
            "at once, no new revision"
        },
        false,
    );
    say(
        before.match_rules != after.match_rules,
        "match",
        "at once, no new revision",
        false,
    );
    say(
        before.affinity != after.affinity,
        "affinity",
        "at once, no new revision",
        false,
    );
    say(
        before.strategy != after.strategy,
        "strategy",
        "for a running rollout and later ones, no new revision",
        false,
    );
    say(
        before.analysis != after.analysis,
        "analysis",
        "a running rollout gathers its evidence anew, no new revision",
        false,
    );
    let rules = before.on_failure != after.on_failure
        || before.on_new_revision != after.on_new_revision
        || before.on_control_loss != after.on_control_loss
        || before.progress_deadline != after.progress_deadline
        || before.drift != after.drift
        || before.history_limit != after.history_limit;
    say(rules, "rules", "from now on, no new revision", false);
    let (before, after) = (&old.metadata, &new.metadata);
    say(
        before.labels != after.labels || before.annotations != after.annotations,
        "labels or annotations",
        "at once; nothing that runs is touched",
        false,
    );
    found
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
    plain
}
