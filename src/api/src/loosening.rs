//! What a running rollout must still pass although the manifest asks for less by now. Pure.
//!
//! What a rollout must pass is loosened only by who might pass it: who has the role of an approval, or of a freeze window.
//! What everybody might pass, as an approval without a role, everybody may take away. Webhooks and jobs belong to no role;
//! they stay until the rollout ends. What is added counts at once. The next rollout is the new manifest's alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::freeze::Freeze;
use crate::gates::{BeforeTraffic, Webhook};
use crate::quantity::Weight;
use crate::release::ReleaseSpec;
use crate::rollout::{Rollout, Settings, Stage, Wait};
use crate::strategy::{Approval, Course, Step};

/// What a running rollout keeps of a manifest that asks for it no more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Steps with the approval of a role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Webhooks that must say yes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<Webhook>,
    /// Jobs that must succeed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before_traffic: Vec<BeforeTraffic>,
    /// Freeze windows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Freeze>,
}

impl Kept {
    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What the rollout keeps when this spec, of somebody with these roles, takes the place of `before`.
    #[must_use]
    pub fn of(rollout: &Rollout, before: &Settings, after: &ReleaseSpec, roles: &[String]) -> Self {
        // Who goes back, or is through, passes nothing any more.
        if rollout.warm || matches!(rollout.stage, Stage::Draining | Stage::RollingBack) {
            return Self::default();
        }
        let may = |role: Option<&str>| role.is_some_and(|role| roles.iter().any(|r| r == role));
        let old = &rollout.kept;
        let must = |hook: &&Webhook| !hook.when.is_after();
        let webhooks = old.webhooks(&before.webhooks);
        let webhooks = webhooks.iter().filter(must).filter(|hook| {
            let same = after.webhooks.iter().find(|one| one.name == hook.name);
            same.is_none_or(|same| !asks_the_same(hook, same))
        });
        let jobs = old.before_traffic(&before.before_traffic);
        let jobs = jobs.iter().filter(|job| {
            let same = after.before_traffic.iter().find(|one| one.name == job.name);
            same.is_none_or(|same| !runs_the_same(job, same))
        });
        let windows = old.freeze(&before.freeze);
        let windows = windows.iter().filter(|window| {
            let stays = after.freeze.iter().any(|one| holds_the_same(window, one));
            !stays && !may(window.role())
        });
        let new = Course::of(&after.strategy).filter(|new| new.kind == rollout.plan.kind);
        let steps = open(rollout).filter(|step| {
            let role = step.approval.as_ref().and_then(Approval::role);
            let asked = |new: &Course| asks(&new.steps, step, before.replicas);
            role.is_some() && !may(role) && !new.as_ref().is_none_or(asked)
        });
        Self {
            steps: steps.cloned().collect(),
            webhooks: webhooks.cloned().collect(),
            before_traffic: jobs.cloned().collect(),
            freeze: windows.cloned().collect(),
        }
    }

    /// The webhooks of the manifest, with what is kept in the place of those of the same name.
    #[must_use]
    pub fn webhooks(&self, written: &[Webhook]) -> Vec<Webhook> {
        merged(&self.webhooks, written, |one| &one.name)
    }

    /// The jobs of the manifest, with what is kept in the place of those of the same name.
    #[must_use]
    pub fn before_traffic(&self, written: &[BeforeTraffic]) -> Vec<BeforeTraffic> {
        merged(&self.before_traffic, written, |one| &one.name)
    }

    /// The freeze windows of the manifest and those that are kept.
    #[must_use]
    pub fn freeze(&self, written: &[Freeze]) -> Vec<Freeze> {
        let mut all = written.to_vec();
        all.extend(
            self.freeze
                .iter()
                .filter(|one| !written.contains(one))
                .cloned(),
        );
        all
    }

    /// A course with the approvals that are kept: no share beyond theirs is reached without them.
    #[must_use]
    pub fn course(&self, written: &Course, replicas: u32) -> Course {
        let mut course = written.clone();
        for kept in &self.steps {
            if asks(&course.steps, kept, replicas) {
                continue;
            }
            let share = given(kept, replicas);
            let below = |step: &&Step| given(step, replicas) <= share;
            let place = course.steps.iter().take_while(below).count();
            let last = place.checked_sub(1).and_then(|at| course.steps.get_mut(at));
            match last.filter(|last| given(last, replicas) == share) {
                Some(step) if step.approval.as_ref().and_then(Approval::role).is_none() => {
                    step.approval.clone_from(&kept.approval);
                }
                Some(_) | None => course.steps.insert(place, kept.clone()),
            }
        }
        course
    }

    /// What is kept, for people; `None`: nothing.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let approvals = self.steps.iter().filter_map(|step| {
            let role = step.approval.as_ref()?.role()?;
            Some(format!(
                "the approval of the role {role} at {}",
                step.share()
            ))
        });
        let hooks = self.webhooks.iter();
        let hooks = hooks.map(|hook| format!("the webhook {} ({})", hook.name, hook.when.word()));
        let jobs = self.before_traffic.iter();
        let jobs = jobs.map(|job| format!("the job {} (beforeTraffic)", job.name));
        let windows = self.freeze.iter().map(|window| match &window.message {
            Some(message) => format!("the freeze window \"{message}\""),
            None => "a freeze window".to_owned(),
        });
        let all: Vec<String> = approvals.chain(hooks).chain(jobs).chain(windows).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

impl Rollout {
    /// What it has yet to pass of that.
    #[must_use]
    pub fn still_kept(&self) -> Kept {
        let mut kept = self.kept.clone();
        kept.steps
            .retain(|step| open(self).any(|open| open.approval == step.approval));
        kept
    }
}

/// The steps whose approval the rollout has yet to pass.
fn open(rollout: &Rollout) -> impl Iterator<Item = &Step> {
    let approved = rollout.passed.contains(&Wait::Approval);
    let steps = rollout.plan.steps.iter();
    steps
        .skip(rollout.step + usize::from(approved))
        .filter(|_| !rollout.full)
}

/// Whether nobody gets beyond this step's share without its approval.
fn asks(steps: &[Step], wanted: &Step, replicas: u32) -> bool {
    let wanted_share = given(wanted, replicas);
    let last = |step: &&Step| given(step, replicas) <= wanted_share;
    let place = steps.iter().take_while(last).count();
    // Any of the steps up to there whose share is the same, or the last of them.
    let before = steps.iter().take(place);
    let mut same = before.filter(|step| given(step, replicas) == wanted_share);
    same.any(|step| step.approval == wanted.approval)
}

/// How much a step gives: of the requests or the tasks, then of the copies.
fn given(step: &Step, replicas: u32) -> (u64, Weight) {
    let tasks = step.replicas.map(|tasks| u64::from(tasks.of(replicas)));
    let tasks = tasks.map_or(0, |tasks| tasks * 10_000 / u64::from(replicas.max(1)));
    let requests = u64::from(step.weight.basis_points());
    let most = if step.weight.is_zero() {
        tasks
    } else {
        requests
    };
    (most, step.mirror)
}

fn merged<T: Clone>(kept: &[T], written: &[T], name: impl Fn(&T) -> &String) -> Vec<T> {
    let find = |one: &T| kept.iter().find(|kept| name(kept) == name(one));
    let all = written.iter().map(|one| find(one).unwrap_or(one).clone());
    let more = kept
        .iter()
        .filter(|kept| written.iter().all(|one| name(one) != name(kept)));
    all.chain(more.cloned()).collect()
}

/// Whether two webhooks ask one and the same; how long and how often may differ.
fn asks_the_same(one: &Webhook, other: &Webhook) -> bool {
    let mut like = other.clone();
    (like.timeout, like.retries, like.interval) = (one.timeout, one.retries, one.interval);
    like == *one
}

fn runs_the_same(one: &BeforeTraffic, other: &BeforeTraffic) -> bool {
    let mut like = other.clone();
    like.timeout = one.timeout;
    like == *one
}

fn holds_the_same(one: &Freeze, other: &Freeze) -> bool {
    let mut like = other.clone();
    like.message.clone_from(&one.message);
    like == *one
}
