//! A table of nodes, wishes and sentences.

use fm_api::keys::{ReleaseKey, RevisionId};
use rstest::rstest;
use serde_json::{Value, json};

use super::super::rooms;
use super::*;

const GIB: i64 = 1 << 30;

fn spec(replicas: u32, workload: Value) -> ReleaseSpec {
    let mut workload = workload;
    workload["image"] = json!("shop:1");
    serde_json::from_value(json!({
        "replicas": replicas, "workload": workload,
        "strategy": { "canary": { "steps": [{ "weight": 1 }, { "weight": 50 }] } },
        "progressDeadline": "10m",
    }))
    .unwrap()
}

/// Two nodes of four processors and eight GiB, one of them labelled; a third one is drained.
fn nodes() -> Value {
    let node = |id: &str, zone: &str, availability: &str| {
        json!({ "ID": id, "Spec": { "Labels": { "zone": zone }, "Role": "worker", "Availability": availability },
            "Description": { "Hostname": id, "Platform": { "Architecture": "x86_64", "OS": "linux" },
                "Resources": { "NanoCPUs": 4_000_000_000_i64, "MemoryBytes": 8 * GIB,
                    "GenericResources": [{ "NamedResourceSpec": { "Kind": "gpu", "Value": "g1" } }] },
                "Engine": {} },
            "Status": { "State": "ready", "Addr": "10.0.0.1" } })
    };
    json!([
        node("n1", "a", "active"),
        node("n2", "b", "active"),
        node("n3", "a", "drain")
    ])
}

fn task(node: &str, revision: &str, cpus: i64) -> Value {
    json!({ "NodeID": node, "Spec": {
        "ContainerSpec": { "Labels": { "fridaymorning.dev/namespace": "default", "fridaymorning.dev/release": "shop",
            "fridaymorning.dev/revision": revision } },
        "Resources": { "Reservations": { "NanoCPUs": cpus * 1_000_000_000 } } } })
}

fn told(before: Option<&ReleaseSpec>, after: &ReleaseSpec, tasks: Value) -> Vec<String> {
    told_beside(&[], before, after, tasks)
}

fn told_beside(
    stay: &[RevisionId],
    before: Option<&ReleaseSpec>,
    after: &ReleaseSpec,
    tasks: Value,
) -> Vec<String> {
    let (key, stable) = (ReleaseKey::new("default", "shop"), RevisionId::new("aaaa"));
    let wanted = Wanted {
        key: &key,
        stable: before.map(|_| &stable),
        stay,
        before,
        after,
    };
    if !may_not_fit(wanted) {
        return Vec::new();
    }
    let nodes = serde_json::from_value(nodes()).unwrap();
    let tasks: Vec<super::super::RawTask> = serde_json::from_value(tasks).unwrap();
    warnings(wanted, rooms(wanted, nodes, &tasks))
}

#[rstest]
#[case::nothing_is_reserved(9000, json!({}), None)]
#[case::it_fits(8, json!({ "resources": { "reservations": { "cpus": 1.0, "memory": "2Gi" } } }), None)]
#[case::processors(9, json!({ "resources": { "reservations": { "cpus": 1.0 } } }),
    Some("capacity: 9 tasks (each reserves 1 CPU): the 2 nodes that may take them have room for 8 now, 1 too few: 1 CPU more would be needed"))]
#[case::memory(4, json!({ "resources": { "reservations": { "memory": "5Gi" } } }),
    Some("capacity: 4 tasks (each reserves 5Gi of memory): the 2 nodes that may take them have room for 2 now, 2 too few: 10Gi of memory more would be needed"))]
#[case::other_things(3, json!({ "resources": { "reservations": { "generic": { "gpu": 1 } } } }),
    Some("capacity: 3 tasks (each reserves 1 gpu): the 2 nodes that may take them have room for 2 now, 1 too few: 1 gpu more would be needed"))]
#[case::a_zone(5, json!({ "placement": { "constraints": ["node.labels.zone==A"] }, "resources": { "reservations": { "cpus": 1.0 } } }),
    Some("capacity: 5 tasks (each reserves 1 CPU): the one node that may take them has room for 4 now, 1 too few: 1 CPU more would be needed"))]
#[case::no_such_zone(1, json!({ "placement": { "constraints": ["node.labels.zone == c"] } }),
    Some("capacity: no node for 1 task: none of 2 meets node.labels.zone == c"))]
#[case::not_there(4, json!({ "placement": { "constraints": ["node.labels.zone != a", "node.role == worker"] } }), None)]
#[case::most_on_a_node(5, json!({ "placement": { "maxReplicasPerNode": 2 } }),
    Some("capacity: 5 tasks: the 2 nodes that may take them have room for 4 now, 1 too few: placement.maxReplicasPerNode: 2 leaves no more"))]
#[case::what_is_not_understood_is_dockers(1, json!({ "placement": { "constraints": ["node.something ~ x", "moon.phase == full"] } }), None)]
fn what_does_not_fit_is_said_with_how_much(
    #[case] replicas: u32,
    #[case] workload: Value,
    #[case] expected: Option<&str>,
) {
    let said = told(None, &spec(replicas, workload), json!([]));
    assert_eq!(said.first().map(String::as_str), expected, "{said:?}");
}

#[test]
fn a_canary_needs_room_beside_stable_and_the_step_where_it_ends_is_named() {
    let one = json!({ "resources": { "reservations": { "cpus": 1.0 } } });
    let before = spec(5, one.clone());
    let mut after = before.clone();
    after.workload.image = "shop:2".to_owned();
    let serving: Vec<Value> = (0..5)
        .map(|n| task(["n1", "n2"][n % 2], "aaaa", 1))
        .collect();
    let said = told(Some(&before), &after, json!(serving));
    assert_eq!(
        said,
        [
            "capacity: 5 tasks of the new revision beside 5 of stable (each reserves 1 CPU): the 2 nodes that may take them have \
          room for 3 now, 2 too few: 2 CPU more would be needed; it would wait after the last step, and be taken back \
          after 10m without progress"
        ]
    );
    // Another canary of the same release makes room; somebody else's tasks do not.
    let mut all = serving.clone();
    all.extend([task("n1", "bbbb", 1), task("n2", "bbbb", 1)]);
    assert_eq!(told(Some(&before), &after, json!(all)), said);
    let mut foreign = task("n2", "bbbb", 2);
    foreign["Spec"]["ContainerSpec"]["Labels"] = json!(null);
    all.push(foreign);
    let said = told(Some(&before), &after, json!(all));
    assert!(
        said[0].contains("room for 1 now") && said[0].contains("at step 2 of 2"),
        "{said:?}"
    );
}

#[test]
fn more_tasks_of_stable_are_counted_and_a_change_of_neither_is_not() {
    let one = json!({ "resources": { "reservations": { "cpus": 2.0 } } });
    let before = spec(3, one);
    let serving = json!([
        task("n1", "aaaa", 2),
        task("n1", "aaaa", 2),
        task("n2", "aaaa", 2)
    ]);
    let mut after = before.clone();
    after.replicas = 4;
    assert_eq!(
        told(Some(&before), &after, serving.clone()),
        Vec::<String>::new()
    );
    after.replicas = 6;
    let said = told(Some(&before), &after, serving.clone());
    assert!(
        said[0].starts_with("capacity: 3 tasks more of stable"),
        "{said:?}"
    );
    assert!(
        said[0].contains("room for 1 now, 2 too few: 4 CPU more"),
        "{said:?}"
    );
    assert_eq!(
        told(Some(&before), &before.clone(), serving),
        Vec::<String>::new()
    );
}

/// Five tasks of stable on eight processors.
fn crowded() -> (ReleaseSpec, Vec<Value>) {
    let mut before = spec(
        5,
        json!({ "resources": { "reservations": { "cpus": 1.0 } } }),
    );
    before.routes =
        serde_json::from_value(json!([{ "hosts": ["a.example.com"], "port": 80 }])).unwrap();
    let serving = (0..5).map(|n| task(["n1", "n2"][n % 2], "aaaa", 1));
    (before, serving.collect())
}

#[test]
fn with_max_surge_only_what_its_steps_take_at_once_is_needed() {
    let (before, serving) = crowded();
    let mut after = before.clone();
    after.workload.image = "shop:2".to_owned();
    let surge = |spec: &mut ReleaseSpec| {
        let canary = spec.strategy.canary.as_mut().unwrap();
        canary.max_surge = Some(fm_api::tasks::Tasks::Number(3));
    };
    assert_eq!(
        told(Some(&before), &after, json!(serving)).len(),
        1,
        "five would not fit"
    );
    surge(&mut after);
    // 50 % of 5 are 3, beside 5 of stable, which served everything until then.
    assert_eq!(
        told(Some(&before), &after, json!(serving)),
        Vec::<String>::new()
    );
    let mut all = serving;
    all.push(json!({ "NodeID": "n1", "Spec": { "Resources": { "Reservations": { "NanoCPUs": 1_000_000_000 } } } }));
    let said = told(Some(&before), &after, json!(all));
    assert!(
        said[0].starts_with("capacity: 3 tasks of the new revision beside 5 of both")
            && said[0].contains("room for 2 now, 1 too few")
            && said[0].contains("it would wait at step 2 of 2"),
        "{said:?}"
    );
    // A worker's tasks change places one by one.
    after.routes.clear();
    assert_eq!(
        told(Some(&before), &after, json!(all)),
        Vec::<String>::new()
    );
}

#[test]
fn previews_and_an_experiment_take_room_too() {
    let (before, serving) = crowded();
    let mut after = before.clone();
    let experiment = json!({ "replicas": 2, "baseline": { "weight": 5 }, "candidates": [{ "name": "x", "weight": 5, "env": { "A": "b" } }] });
    after.experiment = serde_json::from_value(experiment).unwrap();
    let said = told(Some(&before), &after, json!(serving));
    assert_eq!(
        said,
        [
            "capacity: 4 tasks of the experiment's 2 sides beside 5 of stable (each reserves 1 CPU): the 2 nodes that may take \
          them have room for 3 now, 1 too few: 1 CPU more would be needed"
        ]
    );
    // It runs on, and nothing begins.
    assert_eq!(
        told(Some(&after), &after, json!(serving)),
        Vec::<String>::new()
    );

    let mut preview = spec(
        2,
        json!({ "resources": { "reservations": { "cpus": 1.0 } } }),
    );
    preview.strategy = serde_json::from_value(json!({ "preview": { "ttl": "1h" } })).unwrap();
    let others = RevisionId::new("bbbb");
    let up: Vec<Value> = (0..7)
        .map(|n| task(["n1", "n2"][n % 2], "bbbb", 1))
        .collect();
    assert_eq!(
        told(None, &preview, json!(up)),
        Vec::<String>::new(),
        "they go"
    );
    let said = told_beside(&[others], None, &preview, json!(up));
    assert!(said[0].contains("room for 1 now, 1 too few"), "{said:?}");
}
