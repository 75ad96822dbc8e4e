//! A manifest whose revision is known already: what it comes to depends on how that one stands.

use fm_api::http::{ApplyOutcome, View};
use fm_api::keys::RevisionId;
use fm_api::release::{OnNewRevision, Release};
use fm_api::target::{RevisionRecord, Target};
use serde_json::{Value, json};

use super::{Known, lines, plan};

fn manifest(image: &str) -> Release {
    let text = include_str!("../../../../../manifests/shop.yaml");
    let mut read = fm_api::manifest::read("shop.yaml", text.as_bytes());
    let mut release = read.remove(0).unwrap();
    release.spec.workload.image = image.to_owned();
    release
}

fn record(number: u64, image: &str) -> RevisionRecord {
    let release = manifest(image);
    let pinned = format!("{image}@sha256:{number:064}");
    let ports = release.spec.ports();
    serde_json::from_value(json!({
        "id": RevisionId::of(&release.spec.workload, &pinned, &ports),
        "uid": "u1", "number": number, "generation": number,
        "createdAt": format!("2026-03-0{number}T08:00:00Z"),
        "workload": release.spec.workload, "ports": ports,
        "image": { "reference": image, "pinned": pinned }, "service": {},
    }))
    .unwrap()
}

/// Revision 2 serves, and 3 is on trial; 1 came before.
struct World {
    records: Vec<RevisionRecord>,
    target: Value,
    before: Release,
}

impl World {
    fn new() -> Self {
        let records: Vec<_> = [(1, "shop:1"), (2, "shop:2"), (3, "shop:3")]
            .map(|(number, image)| record(number, image))
            .into();
        let target = json!({
            "uid": "u1", "generation": 9, "specGeneration": 3,
            "stable": records[1].id, "canary": records[2].id, "wanted": records[2].id,
            "rollout": {
                "revision": records[2].id, "generation": 3, "startedAt": "2026-03-06T08:00:00Z",
                "plan": { "steps": [{ "weight": 5, "hold": "1m" }], "keepPrevious": "0s" },
                "step": 0, "stage": "holding", "stageSince": "2026-03-06T08:00:00Z",
                "progress": { "at": "2026-03-06T08:00:00Z", "ready": 1, "healthy": 1 }, "progressDeadline": "10m", "seed": "cafe0001",
            },
        });
        Self {
            records,
            target,
            before: manifest("shop:3"),
        }
    }

    /// The rollout has ended: 2 serves, and 3 is what was asked for last.
    fn quiet(mut self) -> Self {
        let target = self.target.as_object_mut().unwrap();
        target.remove("rollout");
        target.remove("canary");
        self
    }

    fn told(&self, after: &Release) -> String {
        let target: Target = serde_json::from_value(self.target.clone()).unwrap();
        let text = include_str!("../../../tests/views/canary.json");
        let mut view: View = serde_json::from_str(text).unwrap();
        if target.rollout.is_none() {
            view.status.as_mut().unwrap().canary = None;
        }
        view.target = Some(target);
        let known = Known {
            view: Some(&view),
            records: &self.records,
            now: "2026-03-06T09:00:00Z".parse().unwrap(),
        };
        let all = plan(Some(&self.before), after, ApplyOutcome::Configured, known);
        lines(&all)
    }
}

#[test]
fn stables_manifest_takes_the_canary_back_whatever_else_is_said_of_new_revisions() {
    for on_new in [
        OnNewRevision::Replace,
        OnNewRevision::Queue,
        OnNewRevision::Reject,
    ] {
        let mut world = World::new();
        let mut after = manifest("shop:2");
        world.before.spec.on_new_revision = on_new;
        after.spec.on_new_revision = on_new;
        assert_eq!(
            world.told(&after),
            "  running rollout  revision 5 (registry.example.com/team/shop:1.4.2) is taken back, stable carries everything meanwhile\n\
             \x20 then             revision 2 (shop:2) serves already: no task starts\n\
             \x20                  if shop:2 means another image by now it is a new revision instead, rolled out by the steps\n"
        );
    }
    let mut world = World::new();
    let id = world.records[2].id.as_str().to_owned();
    world.target["ran"] = json!({ id: { "jobs": ["migrate"], "irreversible": "migrate" } });
    let said = world.told(&manifest("shop:2"));
    assert!(
        said.contains("stops where it is, and a person decides: what its job migrate did"),
        "{said}"
    );
    // What is pinned is no other image by now.
    let pinned = world.records[1].image.pinned.clone();
    let said = World::new().quiet().told(&manifest(&pinned));
    assert_eq!(
        said,
        "  nothing  revision 2 (shop:2) serves already: no task starts\n"
    );
}

#[test]
fn a_new_revision_waits_is_refused_or_takes_the_place_of_the_one_on_trial() {
    let after = |on_new| {
        let mut after = manifest("shop:4");
        after.spec.on_new_revision = on_new;
        after
    };
    let said = World::new().told(&after(OnNewRevision::Replace));
    assert!(
        said.contains("is taken back, stable carries") && said.contains("step 1 of 3"),
        "{said}"
    );
    let said = World::new().told(&after(OnNewRevision::Queue));
    assert!(
        said.contains("waits until the rollout of revision 5"),
        "{said}"
    );
    assert!(said.contains("step 1 of 3"), "{said}");
    let mut world = World::new();
    world.before.spec.on_new_revision = OnNewRevision::Reject;
    let said = world.told(&after(OnNewRevision::Reject));
    assert!(
        said.contains("apply is refused") && !said.contains("step 1"),
        "{said}"
    );
    // It counts what is stored.
    let said = World::new().told(&after(OnNewRevision::Reject));
    assert!(said.contains("waits until the rollout"), "{said}");
    let mut world = World::new();
    world.before = manifest("shop:4");
    let said = world.told(&manifest("shop:3"));
    assert!(
        said.contains("it is that of revision 3 (shop:3), and goes on"),
        "{said}"
    );
    assert!(
        !said.contains("step 1") && !said.contains("taken back"),
        "{said}"
    );
}

#[test]
fn a_first_revision_that_does_not_serve_yet_gives_way() {
    let mut world = World::new();
    world.target.as_object_mut().unwrap().remove("stable");
    let mut after = manifest("shop:4");
    after.spec.on_new_revision = OnNewRevision::Queue;
    let said = world.told(&after);
    assert!(
        said.contains("serves nothing yet: it goes, and the new one is the first"),
        "{said}"
    );
    assert!(
        said.contains("nothing is compared") && !said.contains("step 1"),
        "{said}"
    );
}

#[test]
fn what_failed_what_is_behind_and_what_is_warm_takes_no_step() {
    let mut world = World::new().quiet();
    let (first, last) = (world.records[0].id.clone(), world.records[2].id.clone());
    world.target["failed"] = json!({ last.as_str(): {
        "at": "2026-03-06T08:00:00Z", "reason": "errorsHarm", "why": "20 % were bad",
    } });
    world.before = manifest("shop:2");
    assert_eq!(
        world.told(&manifest("shop:3")),
        "  waits  revision 3 (shop:3) was taken back (errorsHarm): 20 % were bad\n\
         \x20        it is not tried again by itself: `frctl rollout retry shop` begins it from the first step\n"
    );
    world.target["leaving"] = json!({ first.as_str(): {
        "since": "2026-03-06T08:50:00Z", "warmUntil": "2026-03-06T09:20:00Z",
    } });
    let said = world.told(&manifest("shop:1"));
    let switch = "  back  revision 1 (shop:1) is warm until 09:20:00 UTC: it gets all requests in one change of weight, without steps and gates\n";
    assert!(said.starts_with(switch), "{said}");
    assert!(
        said.contains("  then  it gets all requests") && !said.contains("step 1"),
        "{said}"
    );
    // Its time is over.
    world.target["leaving"][first.as_str()]["warmUntil"] = json!("2026-03-06T08:59:00Z");
    assert!(world.told(&manifest("shop:1")).contains("step 1 of 3"));
    let served = world.records[1].id.as_str().to_owned();
    world.target["ran"] = json!({ served: {
        "jobs": ["migrate"], "irreversible": "migrate", "since": "2026-03-02T08:00:00Z",
    } });
    assert_eq!(
        world.told(&manifest("shop:1")),
        "  waits  revision 1 (shop:1) is older than what the job migrate has done for good, and does not begin by itself\n\
         \x20        `frctl rollout undo shop --to 1 --force` lets it begin all the same\n\
         \x20        if shop:1 means another image by now it is a new revision instead, rolled out by the steps\n"
    );
}

#[test]
fn the_first_revision_passes_gates_too() {
    let text = include_str!("../../../../../manifests/gates.yaml");
    let mut release = fm_api::manifest::read("gates.yaml", text.as_bytes())
        .remove(0)
        .unwrap();
    for (name, when) in [("all", "confirmPromotion"), ("last", "beforePromotion")] {
        let hook = json!({ "name": name, "when": when, "url": "https://ci.example.com/" });
        release
            .spec
            .webhooks
            .push(serde_json::from_value(hook).unwrap());
    }
    let known = Known {
        view: None,
        records: &[],
        now: "2026-03-06T09:00:00Z".parse().unwrap(),
    };
    let said = lines(&plan(None, &release, ApplyOutcome::Created, known));
    assert_eq!(
        said,
        "  first             no freeze window holds it, now and before each rise\n\
         \x20                   when the webhook change-board says yes\n\
         \x20                   the job migrate runs and must end well, unless it has for this revision; from then on it is not taken back by itself\n\
         \x20 services          a service with 4 tasks of shop:1.4.2\n\
         \x20 before it serves  the job smoke runs and must end well, unless it has for this revision\n\
         \x20                   when the webhook all says yes\n\
         \x20                   the webhook last is called, and must answer well\n\
         \x20 then              it serves as soon as all of them are ready and healthy in HAProxy; nothing is compared\n\
         \x20                   shop.example.com / lead to port 8080\n\
         \x20                   the webhook cdn is told\n"
    );
}
