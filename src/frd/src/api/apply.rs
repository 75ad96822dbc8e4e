//! Storing a release: what changes is decided by a pure function, and stored by compare-and-swap.

use fm_api::branch;
use fm_api::dependency;
use fm_api::event::Severity;
use fm_api::freeze::Freeze;
use fm_api::http::{ApplyOutcome, ApplyResult};
use fm_api::keys::{self, ReleaseKey, RevisionId};
use fm_api::operation::Operation;
use fm_api::release::{Adopted, OnNewRevision, Release, ReleaseSpec};
use fm_api::target::Target;
use fm_api::validate;
use fm_store::{Expect, Listing, StoreError, Txn};
use jiff::Timestamp;

use super::Api;
use super::error::ApiError;
use super::operations::said;
use super::stored::{Stored, decode, encode};

mod admission;
mod warnings;

pub(super) use warnings::frozen;
use warnings::{asks_anew, kept_rules, warnings};

/// How often a change is decided again because somebody else was faster.
const ATTEMPTS: usize = 8;

/// A wish to store a release.
pub(super) struct Wish {
    pub(super) release: Release,
    pub(super) who: String,
    /// The roles of who wishes it.
    pub(super) roles: Vec<String>,
    /// In the words of who wishes it.
    pub(super) why: Option<String>,
    pub(super) dry_run: bool,
    /// Go on where a rule of the release says no.
    pub(super) force: bool,
    /// Ask anew what the image's tag means.
    pub(super) pull: bool,
    pub(super) if_generation: Option<u64>,
    /// The service that its first revision runs in already.
    pub(super) adopted: Option<Adopted>,
    /// A person's word that is stored with it, or not at all.
    pub(super) word: Option<Operation>,
}

/// What is to be stored.
#[derive(Debug)]
struct Decision {
    outcome: ApplyOutcome,
    release: Release,
    spec_changed: bool,
}

impl Api {
    /// Stores a release that was validated, and says what has no room.
    pub(super) async fn apply(&self, wish: Wish) -> Result<ApplyResult, ApiError> {
        let mut result = self.store(wish).await?;
        let said = self.image_warnings(&result).await;
        result.warnings.extend(said);
        if result.result != ApplyOutcome::Unchanged
            && let Some(capacity) = &self.here.capacity
        {
            let key = result.release.key();
            let target = self.target(&key).await.ok().flatten();
            let before = result.before.as_ref().map(|before| &before.spec);
            let stay = target
                .as_ref()
                .map(|target| stay(target, before, &result.release.spec));
            let wanted = fm_swarm::Wanted {
                key: &key,
                stable: target.as_ref().and_then(|target| target.stable.as_ref()),
                stay: stay.as_deref().unwrap_or_default(),
                before,
                after: &result.release.spec,
            };
            // Not under the lock: others' changes do not wait for Docker.
            let said = capacity.warnings(wanted).await;
            result.warnings.extend(said);
        }
        Ok(result)
    }

    async fn store(&self, wish: Wish) -> Result<ApplyResult, ApiError> {
        let key = wish.release.key();
        let uid = (self.ids)();
        let _one_at_a_time = self.changes.lock().await;
        for _ in 0..ATTEMPTS {
            // Both are round trips to the store: one wait serves for the two.
            let (stored, all) = tokio::try_join!(self.stored(&key), self.all_releases())?;
            let before = stored.as_ref().and_then(|stored| stored.spec().cloned());
            let decision = decide(stored.as_ref(), &wish, &uid, self.ctx.clock.now())?;
            check_today(&decision, before.as_ref(), &self.here.freeze)?;
            self.check_admitted(&decision, before.as_ref()).await?;
            check_routes(&decision, before.as_ref(), &all)?;
            check_dependencies(&decision, &all)?;
            if let Some(before) = &before {
                self.check_adopting(&decision.release, before).await?;
            }
            if let Some(before) = &before
                && !wish.force
            {
                self.check_running(&key, before, &decision.release.spec)
                    .await?;
            }
            let mut warnings = warnings(before.as_ref(), &decision.release.spec);
            warnings.extend(self.frozen(&wish, before.as_ref(), &decision).await?);
            if decision.spec_changed && before.is_some() {
                let target = self.target(&key).await?;
                warnings.extend(kept_rules(target.as_ref(), &wish));
            }
            let result = ApplyResult {
                warnings,
                before: stored.as_ref().and_then(|stored| stored.release.clone()),
                result: decision.outcome,
                message: asks_anew(before.as_ref(), &decision.release, wish.pull),
                release: decision.release,
            };
            if wish.dry_run || result.result == ApplyOutcome::Unchanged {
                return Ok(result);
            }
            self.check_room(&wish, &result.release.spec).await?;
            let expect = match &stored {
                Some(stored) => Expect::Unchanged(key.release(), stored.revision),
                None => Expect::Absent(key.release()),
            };
            let mut txn = Txn::new()
                .expect(expect)
                .put(key.release(), encode(&result.release)?);
            if let Some(word) = &wish.word {
                txn = said(txn, &key, word)?;
            }
            match self.ctx.store.commit(txn).await {
                Ok(_) => {
                    self.tell(
                        &key,
                        before.as_ref(),
                        &result.release,
                        decision.spec_changed,
                    )
                    .await;
                    return Ok(result);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApiError::conflict(format!(
            "{key} is being changed by others all the time; try again"
        )))
    }

    /// Every release as it is stored.
    async fn all_releases(&self) -> Result<Listing, ApiError> {
        Ok(self.ctx.store.list(&keys::releases_prefix()).await?)
    }

    /// A service that is being adopted is read as it runs: until it is the first revision, no other takes its name.
    async fn check_adopting(&self, after: &Release, before: &ReleaseSpec) -> Result<(), ApiError> {
        let Some(adopted) = &after.metadata.adopted else {
            return Ok(());
        };
        if same_revision(before, &after.spec) {
            return Ok(());
        }
        let key = after.key();
        let target = self.target(&key).await?;
        if target.is_some_and(|target| target.stable.is_some()) {
            return Ok(());
        }
        Err(ApiError::conflict(format!(
            "{key} is adopting the service {}, which is not its first revision yet: apply this again when `frctl get {key}` \
             shows that one",
            adopted.name
        )))
    }

    /// `onNewRevision: reject`: while a rollout runs, only the way back to stable is open.
    async fn check_running(
        &self,
        key: &ReleaseKey,
        before: &ReleaseSpec,
        after: &ReleaseSpec,
    ) -> Result<(), ApiError> {
        if before.on_new_revision != OnNewRevision::Reject || same_revision(before, after) {
            return Ok(());
        }
        let Some(target) = self.target(key).await? else {
            return Ok(());
        };
        let Some(rollout) = &target.rollout else {
            return Ok(());
        };
        if self.leads_back(key, after).await? {
            return Ok(());
        }
        Err(ApiError::refused(format!(
            "{key} has onNewRevision: reject, and the rollout of revision {} is running; wait for its end, abort it, \
             or apply with force",
            rollout.revision
        )))
    }

    /// While room is short, only ways back are stored.
    async fn check_room(&self, wish: &Wish, spec: &ReleaseSpec) -> Result<(), ApiError> {
        let Some(low) = self.ctx.store.space().and_then(|space| space.low) else {
            return Ok(());
        };
        // Who undoes says so.
        if wish.word.is_some() || self.leads_back(&wish.release.key(), spec).await? {
            return Ok(());
        }
        Err(ApiError::no_room(low))
    }

    /// What a freeze window does to what is asked for; ways back are never frozen.
    async fn frozen(
        &self,
        wish: &Wish,
        before: Option<&ReleaseSpec>,
        decision: &Decision,
    ) -> Result<Option<String>, ApiError> {
        // Who goes back is told by `undo`, which knows whether a window holds that.
        if decision.outcome == ApplyOutcome::Unchanged || wish.word.is_some() {
            return Ok(None);
        }
        let after = &decision.release.spec;
        let frozen = frozen(before, after, &self.here.freeze, self.ctx.clock.now());
        let back = frozen.is_some() && self.leads_back(&wish.release.key(), after).await?;
        Ok(frozen.filter(|_| !back))
    }

    /// Whether what the spec asks for is what stable runs: no rule holds the way back.
    async fn leads_back(&self, key: &ReleaseKey, spec: &ReleaseSpec) -> Result<bool, ApiError> {
        let target = self.target(key).await?;
        let Some(stable) = target.and_then(|target| target.stable) else {
            return Ok(false);
        };
        let record = self.record(key, &stable).await?;
        Ok(record.is_some_and(|record| record.runs(&spec.workload)))
    }

    async fn tell(
        &self,
        key: &ReleaseKey,
        before: Option<&ReleaseSpec>,
        now: &Release,
        spec_changed: bool,
    ) {
        if !spec_changed {
            return;
        }
        let by = now.metadata.changed_by.as_deref().unwrap_or("unknown");
        let why = now.metadata.changed_why.as_ref();
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        let generation = now.metadata.generation.unwrap_or_default();
        let image = &now.spec.workload.image;
        let (reason, message) = match before {
            None => (
                "Created",
                format!("created by {by} with image {image}{why}"),
            ),
            Some(before) if before.workload.image != *image => (
                "Changed",
                format!(
                    "generation {generation} by {by}: image {} -> {image}{why}",
                    before.workload.image
                ),
            ),
            Some(before) if *before == now.spec => (
                "Changed",
                format!("generation {generation} by {by}: asks anew what {image} is{why}"),
            ),
            Some(before) => (
                "Changed",
                format!(
                    "generation {generation} by {by}: {}{why}",
                    differences(before, &now.spec)
                ),
            ),
        };
        self.recorder
            .record(Some(key), Severity::Normal, reason, message)
            .await;
    }
}

/// What is refused today goes on where it was stored before that was so.
fn check_today(
    decision: &Decision,
    before: Option<&ReleaseSpec>,
    freeze: &[Freeze],
) -> Result<(), ApiError> {
    let spec = &decision.release.spec;
    let mut problems = validate::newly_refused(before, &decision.release);
    let frozen = before.is_some_and(|before| before.freeze == spec.freeze);
    if problems.is_empty() && !frozen {
        problems.extend(validate::frozen_for_ever(spec, freeze));
    }
    if problems.is_empty() {
        return Ok(());
    }
    let what = format!("release {}", decision.release.key());
    Err(ApiError::invalid(&what, problems))
}

/// No two releases claim one host and path. A release whose routes stay as they are is only held to it by older ones.
fn check_routes(
    decision: &Decision,
    before: Option<&ReleaseSpec>,
    all: &Listing,
) -> Result<(), ApiError> {
    if decision.release.spec.routes.is_empty() || decision.outcome == ApplyOutcome::Unchanged {
        return Ok(());
    }
    let mut release = decision.release.clone();
    if before.is_none_or(|before| before.routes != release.spec.routes) {
        // Whoever asks for routes now comes after all who have theirs.
        release.metadata.created_at = None;
    }
    let own = release.key();
    let others: Vec<Release> = all
        .entries
        .iter()
        .filter(|entry| entry.key != own.release())
        .filter_map(decode)
        .collect();
    match validate::routes_conflict(&release, others.iter()) {
        Some(problem) => Err(ApiError::conflicting(problem.to_string(), vec![problem])),
        None => Ok(()),
    }
}

/// Revisions beside the shares that stay whatever else begins.
fn stay(target: &Target, before: Option<&ReleaseSpec>, after: &ReleaseSpec) -> Vec<RevisionId> {
    let same = before.is_some_and(|before| before.experiment == after.experiment);
    let open = target.previews.iter().filter(|(_, preview)| {
        let kept = match preview.side {
            Some(_) => same,
            None => after.strategy.preview.is_some(),
        };
        kept && !preview.closed
    });
    open.map(|(revision, _)| revision.clone()).collect()
}

/// No release waits for itself, by whatever way.
fn check_dependencies(decision: &Decision, all: &Listing) -> Result<(), ApiError> {
    let release = &decision.release;
    let alone = release.spec.depends_on.is_empty() && release.spec.group.is_none();
    if alone || decision.outcome == ApplyOutcome::Unchanged {
        return Ok(());
    }
    let others: Vec<Release> = all.entries.iter().filter_map(decode).collect();
    match dependency::cycle(release, &others) {
        Some(problem) => Err(ApiError::invalid(
            &format!("release {}", release.key()),
            vec![problem],
        )),
        None => Ok(()),
    }
}

/// Which fields of the spec changed, for people.
fn differences(before: &ReleaseSpec, after: &ReleaseSpec) -> String {
    let (before, after) = (serde_json::to_value(before), serde_json::to_value(after));
    let (Ok(serde_json::Value::Object(before)), Ok(serde_json::Value::Object(after))) =
        (before, after)
    else {
        return "spec".to_owned();
    };
    let changed = |name: &&String| before.get(*name) != after.get(*name);
    let mut names: Vec<&String> = before.keys().chain(after.keys()).filter(changed).collect();
    names.sort_unstable();
    names.dedup();
    names
        .iter()
        .map(|name| name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn same_revision(before: &ReleaseSpec, after: &ReleaseSpec) -> bool {
    before.workload == after.workload && before.ports() == after.ports()
}

fn decide(
    stored: Option<&Stored>,
    wish: &Wish,
    uid: &str,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let key = wish.release.key();
    let generation = stored.map_or(0, |stored| stored.generation);
    if let Some(asked) = wish.if_generation
        && asked != generation
    {
        return Err(ApiError::conflict(match stored {
            Some(_) => format!(
                "{key} has generation {generation} and not {asked}: somebody changed it; read it again"
            ),
            None => {
                format!("there is no release {key}, and If-Match asks for its generation {asked}")
            }
        }));
    }
    if stored.is_some_and(|stored| stored.deleted_at.is_some()) {
        return Err(ApiError::conflict(format!(
            "{key} is being deleted; apply it again when it is gone"
        )));
    }
    let mut release = wish.release.clone();
    let known = stored.and_then(|stored| stored.release.as_ref());
    if let (Some(owner), Some(branch)) = (known.and_then(branch::of), branch::of(&release))
        && owner != branch
    {
        return Err(ApiError::conflict(format!(
            "{key} belongs to the branch `{owner}`, and this is of `{branch}`: let the name hold `${{branch}}` or `${{hash}}` \
             and apply it with --branch"
        )));
    }
    let spec_changed = wish.pull || known.is_none_or(|known| known.spec != release.spec);
    let labels_changed = known.is_none_or(|known| {
        known.metadata.labels != release.metadata.labels
            || known.metadata.annotations != release.metadata.annotations
    });
    // A release that somebody put into the store by hand may lack what we set.
    let uid_known = stored.and_then(|stored| stored.uid.clone());
    let complete = uid_known.is_some() && generation > 0;
    let metadata = &mut release.metadata;
    metadata.uid = Some(uid_known.unwrap_or_else(|| uid.to_owned()));
    metadata.generation = Some(if spec_changed || generation == 0 {
        generation + 1
    } else {
        generation
    });
    metadata.created_at = Some(stored.and_then(|stored| stored.created_at).unwrap_or(now));
    metadata.deleted_at = None;
    metadata.adopted = match known {
        Some(known) => known.metadata.adopted.clone(),
        None => wish.adopted.clone(),
    };
    metadata.changed_by = match known {
        Some(known) if !spec_changed => known.metadata.changed_by.clone(),
        _ => Some(wish.who.clone()),
    };
    metadata.changed_roles = match known {
        Some(known) if !spec_changed => known.metadata.changed_roles.clone(),
        _ => wish.roles.clone(),
    };
    metadata.pulled = match known {
        Some(known) if !spec_changed => known.metadata.pulled,
        _ => metadata.generation.filter(|_| wish.pull),
    };
    metadata.changed_why = match known {
        Some(known) if !spec_changed => known.metadata.changed_why.clone(),
        _ => wish.why.clone(),
    };
    let outcome = match stored {
        None => ApplyOutcome::Created,
        Some(_) if spec_changed || labels_changed || !complete => ApplyOutcome::Configured,
        Some(_) => ApplyOutcome::Unchanged,
    };
    Ok(Decision {
        outcome,
        release,
        spec_changed,
    })
}

/// A reason as it is kept: without what no terminal must be shown; nothing of one that says nothing.
pub(super) fn kept(why: &str) -> Option<String> {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    };
    let why: String = why.trim().chars().map(shown).collect();
    (!why.is_empty()).then_some(why)
}

#[cfg(test)]
mod tests;
