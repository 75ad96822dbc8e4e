//! Tables for each decision, and laws over arbitrary worlds: nothing foreign is touched, and after a perfect act nothing
//! is left to do.

use std::collections::BTreeMap;

use fm_api::target::ResolvedImage;
use jiff::Timestamp;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::render::at_use;

const STORE: &str = "store1";

fn key() -> ReleaseKey {
    ReleaseKey::new("default", "shop")
}

fn id(n: u8) -> RevisionId {
    RevisionId::new(&format!("{n:010x}"))
}

fn target(uid: &str, revisions: &[(u8, u32, u32)], drift: Drift) -> Target {
    let revisions: BTreeMap<String, Value> = revisions
        .iter()
        .map(|(n, replicas, restarts)| {
            let wanted = json!({ "replicas": replicas, "restarts": restarts });
            (id(*n).to_string(), wanted)
        })
        .collect();
    serde_json::from_value(json!({
        "uid": uid, "generation": 5, "specGeneration": 1, "revisions": revisions, "drift": drift,
    }))
    .unwrap()
}

fn record(uid: &str, n: u8) -> RevisionRecord {
    RevisionRecord {
        id: id(n),
        uid: uid.to_owned(),
        number: 1,
        generation: 1,
        created_at: Timestamp::UNIX_EPOCH,
        created_by: None,
        workload: serde_json::from_value(json!({ "image": "x" })).unwrap(),
        image: ResolvedImage {
            reference: "x".to_owned(),
            pinned: format!("sha256:{n}"),
        },
        ports: Vec::new(),
        service: json!({
            "TaskTemplate": { "ContainerSpec": { "Image": format!("sha256:{n}") } },
            "Mode": { "Replicated": {} },
        }),
        adopted: None,
    }
}

fn records(
    uid: &str,
    numbers: impl IntoIterator<Item = u8>,
) -> BTreeMap<RevisionId, RevisionRecord> {
    numbers
        .into_iter()
        .map(|n| (id(n), record(uid, n)))
        .collect()
}

/// Docker, as far as a plan can see it.
#[derive(Debug, Clone, Default)]
struct Model {
    services: Vec<Service>,
    next: u64,
}

impl Model {
    fn post(&mut self, spec: &Value) {
        let name = spec["Name"].as_str().unwrap().to_owned();
        let mut shown = spec.clone();
        // As an engine does it.
        shown["TaskTemplate"]["Runtime"] = json!("container");
        shown["TaskTemplate"]["ContainerSpec"]["Isolation"] = json!("default");
        self.next += 1;
        self.services.retain(|service| service.name != name);
        self.services.push(Service {
            id: format!("s-{name}"),
            version: self.next,
            labels: serde_json::from_value(spec["Labels"].clone()).unwrap(),
            replicas: spec["Mode"]["Replicated"]["Replicas"]
                .as_u64()
                .map(|n| n as u32),
            spec: shown,
            name,
        });
    }

    fn act(&mut self, plan: &Plan) {
        for action in &plan.actions {
            match action {
                Action::Create(post) | Action::Update { post, .. } => self.post(&post.spec),
                Action::Remove { id, .. } => self.services.retain(|service| &service.id != id),
            }
        }
    }

    fn world(&self) -> World {
        World::sort(STORE, self.services.clone(), Vec::new(), BTreeMap::new())
    }

    fn plan(
        &self,
        target: Option<&Target>,
        records: &BTreeMap<RevisionId, RevisionRecord>,
    ) -> Plan {
        plan_with(&self.world(), target, records, true)
    }

    fn settled(target: &Target, records: &BTreeMap<RevisionId, RevisionRecord>) -> Model {
        let mut model = Model::default();
        model.act(&model.plan(Some(target), records));
        model
    }
}

fn plan_with(
    world: &World,
    target: Option<&Target>,
    records: &BTreeMap<RevisionId, RevisionRecord>,
    store_known: bool,
) -> Plan {
    plan(Input {
        installation: STORE,
        key: &key(),
        target,
        records,
        adoptable: &BTreeMap::new(),
        world,
        tolerated: &BTreeMap::new(),
        store_known,
    })
}

fn only_update(plan: &Plan) -> &UpdateReason {
    match plan.actions.as_slice() {
        [Action::Update { reason, .. }] => reason,
        other => panic!("one update expected: {other:?}"),
    }
}

#[test]
fn a_revision_without_a_service_gets_one() {
    let target = target("u", &[(1, 3, 0)], Drift::Repair);
    let records = records("u", [1]);
    let plan = Model::default().plan(Some(&target), &records);
    let [Action::Create(post)] = plan.actions.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(post.name, "fm_default_shop_0000000001");
    assert_eq!(post.spec["Mode"]["Replicated"]["Replicas"], 3);
    assert!(
        Model::settled(&target, &records)
            .plan(Some(&target), &records)
            .is_complete()
    );
}

#[test]
fn other_replicas_are_a_scaling_and_change_nothing_else() {
    let records = records("u", [1]);
    let mut model = Model::settled(&target("u", &[(1, 3, 0)], Drift::Repair), &records);
    let more = target("u", &[(1, 5, 0)], Drift::Repair);
    let plan = model.plan(Some(&more), &records);
    assert_eq!(only_update(&plan), &UpdateReason::Scale { from: 3, to: 5 });
    let before = model.services[0].spec["TaskTemplate"].clone();
    model.act(&plan);
    assert_eq!(model.services[0].spec["TaskTemplate"], before);
}

#[test]
fn a_restart_forces_new_tasks_once() {
    let records = records("u", [1]);
    let mut model = Model::settled(&target("u", &[(1, 3, 0)], Drift::Repair), &records);
    let again = target("u", &[(1, 3, 1)], Drift::Repair);
    let plan = model.plan(Some(&again), &records);
    assert_eq!(only_update(&plan), &UpdateReason::Restart);
    model.act(&plan);
    assert_eq!(model.services[0].spec["TaskTemplate"]["ForceUpdate"], 1);
    assert!(model.plan(Some(&again), &records).is_complete());
}

#[rstest]
#[case::scaled(|s: &mut Service| s.replicas = Some(9), "replicas are 9 instead of 3")]
#[case::image(
    |s: &mut Service| s.spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("evil"),
    "TaskTemplate.ContainerSpec.Image is \"evil\" instead of \"sha256:1\"")]
#[case::memory(
    |s: &mut Service| s.spec["TaskTemplate"]["Resources"] = json!({ "Limits": { "MemoryBytes": 1 } }),
    "TaskTemplate.Resources is {\"Limits\":{\"MemoryBytes\":1}} instead of absent")]
fn what_others_changed_is_put_back_or_only_told(
    #[case] change: fn(&mut Service),
    #[case] words: &str,
) {
    let records = records("u", [1]);
    let repair = target("u", &[(1, 3, 0)], Drift::Repair);
    let mut model = Model::settled(&repair, &records);
    change(&mut model.services[0]);
    let report = target("u", &[(1, 3, 0)], Drift::Report);
    let told = model.plan(Some(&report), &records);
    assert!(told.actions.is_empty() && told.is_complete());
    assert!(matches!(&told.why[..], [Why::Drifted { found, .. }] if found == &[words.to_owned()]));
    let plan = model.plan(Some(&repair), &records);
    assert_eq!(
        only_update(&plan),
        &UpdateReason::Repair(vec![words.to_owned()])
    );
    model.act(&plan);
    assert!(model.plan(Some(&repair), &records).is_complete());
}

#[test]
fn what_docker_makes_of_our_spec_itself_is_no_drift() {
    let records = records("u", [1]);
    let target = target("u", &[(1, 3, 0)], Drift::Repair);
    let mut model = Model::settled(&target, &records);
    model.services[0].spec["TaskTemplate"]["Novelty"] = json!(1);
    let wanted = Identity {
        installation: STORE,
        key: &key(),
        uid: "u",
        revision: &id(1),
    };
    let posted = at_use(wanted, &records[&id(1)].service, 3, 0);
    let own = differences(&posted, &model.services[0].spec);
    let tolerated = BTreeMap::from([(model.services[0].id.clone(), own)]);
    let world = model.world();
    let plan = plan(Input {
        installation: STORE,
        key: &key(),
        target: Some(&target),
        records: &records,
        world: &world,
        tolerated: &tolerated,
        adoptable: &BTreeMap::new(),
        store_known: true,
    });
    assert_eq!(plan, Plan::default());
}

#[test]
fn a_revision_that_is_not_wanted_any_more_goes() {
    let records = records("u", [1, 2]);
    let both = target("u", &[(1, 3, 0), (2, 1, 0)], Drift::Repair);
    let model = Model::settled(&both, &records);
    let plan = model.plan(Some(&target("u", &[(1, 3, 0)], Drift::Repair)), &records);
    assert!(matches!(
        &plan.actions[..],
        [Action::Remove { reason: RemoveReason::NotWanted, name, .. }] if name == "fm_default_shop_0000000002"
    ));
}

#[test]
fn without_a_release_everything_of_it_goes() {
    let records = records("u", [1]);
    let model = Model::settled(&target("u", &[(1, 3, 0)], Drift::Repair), &records);
    let plan = model.plan(None, &records);
    assert!(matches!(
        &plan.actions[..],
        [Action::Remove {
            reason: RemoveReason::NoRelease,
            ..
        }]
    ));
}

#[test]
fn a_deleted_namesakes_service_goes_before_the_new_one_comes() {
    let old = records("old", [1]);
    let mut model = Model::settled(&target("old", &[(1, 3, 0)], Drift::Repair), &old);
    let (target, records) = (
        target("new", &[(1, 3, 0)], Drift::Repair),
        records("new", [1]),
    );
    let plan = model.plan(Some(&target), &records);
    assert!(matches!(
        &plan.actions[..],
        [Action::Remove {
            reason: RemoveReason::Namesake,
            ..
        }]
    ));
    assert_eq!(plan.why, [Why::NamesakeGoes(id(1))]);
    model.act(&plan);
    let plan = model.plan(Some(&target), &records);
    assert!(matches!(&plan.actions[..], [Action::Create(_)]));
}

#[test]
fn while_the_store_is_not_surely_known_nothing_is_removed() {
    let records = records("u", [1]);
    let model = Model::settled(&target("u", &[(1, 3, 0)], Drift::Repair), &records);
    let plan = plan_with(&model.world(), None, &records, false);
    assert!(plan.actions.is_empty());
    assert_eq!(plan.why, [Why::StoreUnknown]);
}

#[rstest]
#[case::unlabelled(None)]
#[case::another_store(Some("store2"))]
fn a_service_of_others_under_our_name_is_left_alone(#[case] managed_by: Option<&str>) {
    let records = records("u", [1]);
    let target = target("u", &[(1, 3, 0)], Drift::Repair);
    let mut model = Model::settled(&target, &records);
    let service = &mut model.services[0];
    match managed_by {
        None => service.labels.clear(),
        Some(other) => {
            service
                .labels
                .insert(label::MANAGED_BY.to_owned(), other.to_owned());
        }
    }
    let plan = model.plan(Some(&target), &records);
    assert!(plan.actions.is_empty() && !plan.is_complete());
    assert!(matches!(&plan.why[..], [Why::NameTaken { .. }]));
    assert!(model.plan(None, &records).actions.is_empty());
}

#[test]
fn a_record_that_is_not_there_yet_or_belongs_to_a_namesake_is_waited_for() {
    let target = target("u", &[(1, 3, 0)], Drift::Repair);
    for records in [BTreeMap::new(), records("other", [1])] {
        let plan = Model::default().plan(Some(&target), &records);
        assert!(plan.actions.is_empty());
        assert_eq!(plan.why, [Why::NoRecord(id(1))]);
    }
}

prop_compose! {
    fn any_revisions()(
        revisions in prop::collection::btree_map(0_u8..6, (0_u32..20, 0_u32..3), 0..4)
    ) -> Vec<(u8, u32, u32)> {
        revisions.into_iter().map(|(n, (replicas, restarts))| (n, replicas, restarts)).collect()
    }
}

/// What others may do to services.
fn disturb(model: &mut Model, which: usize, how: u8) {
    let count = model.services.len();
    let Some(service) = (count > 0).then(|| &mut model.services[which % count]) else {
        return;
    };
    match how % 6 {
        0 => service.replicas = Some(77),
        1 => service.spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("other"),
        2 => service.labels.clear(),
        3 => {
            service.labels.remove(label::SPEC_HASH);
        }
        4 => service.name = "fm_somebody_elses".to_owned(),
        _ => service.version += 7,
    }
}

proptest! {
    #[test]
    fn after_a_perfect_act_nothing_is_left_and_what_is_foreign_is_as_it_was(
        first in any_revisions(),
        second in any_revisions(),
        disturbed in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        same_uid in any::<bool>(),
    ) {
        let uid = if same_uid { "u" } else { "v" };
        let mut model = Model::settled(&target("u", &first, Drift::Repair), &records("u", 0..6));
        for (which, how) in disturbed {
            disturb(&mut model, which, how);
        }
        let foreign: Vec<Service> = model.services.iter()
            .filter(|s| model.world().foreign.contains(&s.name)).cloned().collect();
        let (target, records) = (target(uid, &second, Drift::Repair), records(uid, 0..6));
        // The second round is for services that replace a namesake's.
        for _ in 0..2 {
            let plan = model.plan(Some(&target), &records);
            for action in &plan.actions {
                let (Action::Create(Post { name, .. })
                    | Action::Update { post: Post { name, .. }, .. }
                    | Action::Remove { name, .. }) = action;
                prop_assert!(!foreign.iter().any(|service| &service.name == name));
            }
            model.act(&plan);
        }
        prop_assert_eq!(model.plan(Some(&target), &records).actions, vec![]);
        for service in &foreign {
            prop_assert!(model.services.contains(service));
        }
        let wanted = second.len() - second.iter()
            .filter(|(n, ..)| foreign.iter().any(|s| s.name == service_name(&key(), &id(*n)))).count();
        prop_assert_eq!(model.services.len(), wanted + foreign.len());
    }

    #[test]
    fn the_same_input_gives_the_same_plan(first in any_revisions(), second in any_revisions()) {
        let records = records("u", 0..6);
        let model = Model::settled(&target("u", &first, Drift::Repair), &records);
        let target = target("u", &second, Drift::Repair);
        prop_assert_eq!(model.plan(Some(&target), &records), model.plan(Some(&target), &records));
    }
}

#[path = "plan_tests_adopting.rs"]
mod adopting;

/// What somebody changed and what is only to be told stays, also when tasks are added or renewed.
#[test]
fn drift_that_is_only_told_is_not_put_back_by_our_own_changes() {
    let records = records("u", [1]);
    let mut model = Model::settled(&target("u", &[(1, 3, 0)], Drift::Repair), &records);
    let service = &mut model.services[0];
    service.spec["TaskTemplate"]["Resources"] = json!({ "Limits": { "MemoryBytes": 1 } });
    service.replicas = Some(7);
    service.spec["Mode"]["Replicated"]["Replicas"] = json!(7);
    for (replicas, restarts) in [(5, 0), (5, 1), (2, 2)] {
        let wanted = target("u", &[(1, replicas, restarts)], Drift::Report);
        let plan = model.plan(Some(&wanted), &records);
        only_update(&plan);
        model.act(&plan);
        let service = &model.services[0];
        assert_eq!(service.replicas, Some(replicas));
        assert_eq!(service.spec["TaskTemplate"]["ForceUpdate"], restarts);
        assert_eq!(
            service.spec["TaskTemplate"]["Resources"]["Limits"]["MemoryBytes"],
            1
        );
        let told = model.plan(Some(&wanted), &records);
        assert!(told.actions.is_empty() && told.is_complete(), "{told:?}");
        assert!(
            matches!(&told.why[..], [Why::Drifted { found, .. }] if found.len() == 1),
            "{told:?}"
        );
    }
    // Whoever wants it repaired again gets that.
    let repair = target("u", &[(1, 2, 2)], Drift::Repair);
    let plan = model.plan(Some(&repair), &records);
    assert!(matches!(only_update(&plan), UpdateReason::Repair(_)));
    model.act(&plan);
    assert!(model.services[0].spec["TaskTemplate"]["Resources"].is_null());
}
