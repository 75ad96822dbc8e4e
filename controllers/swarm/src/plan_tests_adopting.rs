//! What was there before: adopted, and given back.

use super::*;

fn see(
    world: &World,
    target: &Target,
    records: &BTreeMap<RevisionId, RevisionRecord>,
    adoptable: &BTreeMap<RevisionId, Service>,
) -> Plan {
    plan(Input {
        installation: STORE,
        key: &key(),
        target: Some(target),
        records,
        world,
        tolerated: &BTreeMap::new(),
        adoptable,
        store_known: true,
    })
}

/// A service that was there before, as Docker shows it, and the record of the revision that runs in it.
fn there_before() -> (Service, RevisionRecord) {
    let spec = json!({
        "Name": "old_web",
        "Labels": { "com.docker.stack.namespace": "old", "team": "shop" },
        "TaskTemplate": { "ContainerSpec": { "Image": "web:1" }, "ForceUpdate": 3 },
        "Mode": { "Replicated": { "Replicas": 2 } },
    });
    let service = Service {
        id: "s1".to_owned(),
        version: 7,
        name: "old_web".to_owned(),
        labels: serde_json::from_value(spec["Labels"].clone()).unwrap(),
        replicas: Some(2),
        spec: spec.clone(),
    };
    let mut record = record("u1", 1);
    record.service = spec;
    record.adopted = serde_json::from_value(json!({ "id": "s1", "name": "old_web" })).unwrap();
    (service, record)
}

#[test]
fn what_was_there_before_is_labelled_and_its_tasks_are_left_as_they_are() {
    let (service, record) = there_before();
    let records = BTreeMap::from([(id(1), record)]);
    let mut target = target("u1", &[(1, 2, 0)], Drift::Repair);
    let empty = World::default();
    let adoptable = BTreeMap::from([(id(1), service.clone())]);
    let adopted = see(&empty, &target, &records, &adoptable);
    let [
        Action::Update {
            id: of,
            version: 7,
            post,
            reason: UpdateReason::Adopt,
        },
    ] = adopted.actions.as_slice()
    else {
        panic!("{adopted:?}");
    };
    assert_eq!((of.as_str(), post.name.as_str()), ("s1", "old_web"));
    assert_eq!(post.spec["TaskTemplate"], service.spec["TaskTemplate"]);
    assert_eq!(post.spec["Labels"]["team"], "shop");
    assert!(post.spec["Labels"]["com.docker.stack.namespace"].is_null());

    // Somebody else's by now: it is left alone, and the revision gets a service of its own.
    let mut taken = service.clone();
    let other = "another".to_owned();
    taken.labels.insert(label::MANAGED_BY.to_owned(), other);
    let own = see(&empty, &target, &records, &BTreeMap::from([(id(1), taken)]));
    assert!(
        matches!(own.actions.as_slice(), [Action::Create(post)] if post.name.starts_with("fm_"))
    );

    // As it is afterwards nothing is left to do; given back it has the labels that it had.
    let mut ours = service.clone();
    ours.spec = post.spec.clone();
    ours.labels = serde_json::from_value(post.spec["Labels"].clone()).unwrap();
    let world = World::sort(STORE, vec![ours], Vec::new(), BTreeMap::new());
    assert!(world.releases.contains_key(&key()), "{world:?}");
    let none = BTreeMap::new();
    let settled = see(&world, &target, &records, &none);
    assert!(settled.actions.is_empty(), "{settled:?}");
    target.orphans = [id(1)].into();
    let back = see(&world, &target, &records, &none);
    let [
        Action::Update {
            post,
            reason: UpdateReason::GiveBack,
            ..
        },
    ] = back.actions.as_slice()
    else {
        panic!("{back:?}");
    };
    assert_eq!(post.spec["Labels"], service.spec["Labels"]);
    assert_eq!(post.spec["TaskTemplate"], service.spec["TaskTemplate"]);
    // Without its release, or under a namesake, it loses our labels and goes on as well.
    let mut namesake = target.clone();
    namesake.uid = "u2".to_owned();
    namesake.revisions.clear();
    for other in [None, Some(&namesake)] {
        let left = plan(Input {
            installation: STORE,
            key: &key(),
            target: other,
            records: &BTreeMap::new(),
            world: &world,
            tolerated: &BTreeMap::new(),
            adoptable: &none,
            store_known: true,
        });
        let [
            Action::Update {
                post,
                reason: UpdateReason::GiveBack,
                ..
            },
        ] = left.actions.as_slice()
        else {
            panic!("{left:?}");
        };
        assert_eq!(post.spec["Labels"], json!({ "team": "shop" }));
    }
    // And then it is not made anew.
    let gone = see(&empty, &target, &records, &adoptable);
    assert!(gone.actions.is_empty(), "{gone:?}");
    // Nor is a name like ours taken by somebody else, once it is nobody's.
    let mut own = service;
    own.name = service_name(&key(), &id(1));
    own.labels.clear();
    let world = World::sort(STORE, vec![own], Vec::new(), BTreeMap::new());
    let done = see(&world, &target, &records, &BTreeMap::new());
    assert!(done.is_complete() && done.why.is_empty(), "{done:?}");
}
