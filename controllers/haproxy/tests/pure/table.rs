//! Single cases, and the texts as they are written.

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::{Span, Weight};
use fm_api::target::{RevisionTarget, Slot, Target};
use fm_haproxy::desired::{Desired, Input};
use fm_haproxy::maps::{self, Map};
use fm_haproxy::plan::{self, Look};
use fm_haproxy::report;
use fm_haproxy::state::{Action, Why};
use fm_telemetry::record::{Mode, SplitRecord};

use crate::world::{
    World, blank, route, settings, shop, shop_with_preview, shop_with_previews, swarm, traffic,
};

#[test]
fn the_texts_as_they_are_written() {
    let (key, target, swarm) = shop();
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&swarm),
        }],
        None,
    );
    let mut world = World::default();
    world.settle(&desired);
    world.observe();
    let plan = world.plan(&desired);
    let maps: String = plan
        .files
        .maps
        .iter()
        .map(|(map, text)| format!("--- {}\n{text}", map.file()))
        .collect();
    insta::assert_snapshot!("configuration", plan.files.config);
    insta::assert_snapshot!("maps", maps);
}

#[test]
fn a_preview_host_leads_to_the_revision_on_trial_alone_and_nowhere_without_one() {
    let (key, mut target, swarm) = shop_with_preview();
    let desired = |target: &Target| {
        let input = Input {
            key: &key,
            target,
            swarm: Some(&swarm),
        };
        Desired::of(&[input], None)
    };
    let mut world = World::default();
    world.settle(&desired(&target));
    world.observe();
    world.settle(&desired(&target));
    let led = |world: &World| {
        let maps = &world.running.as_ref().unwrap().maps;
        let id = &maps[&Map::Routes]["next.example.com/"];
        maps[&Map::Split].get(id).map(|text| {
            let record = SplitRecord::parse(text).unwrap();
            assert_eq!(record.mode, Mode::Preview);
            (record.stable_backend, record.canary.unwrap().to_string())
        })
    };
    let trial = ("be_none".to_owned(), "bbbbbbbbbb".to_owned());
    assert_eq!(led(&world), Some(trial.clone()));

    target.traffic = Some(traffic("aaaaaaaaaa", Some("bbbbbbbbbb"), 0, 8));
    let reloads = world.settle(&desired(&target));
    assert_eq!(
        (led(&world), reloads),
        (Some(trial), 0),
        "also without a share"
    );

    target.traffic = Some(traffic("bbbbbbbbbb", None, 0, 9));
    let reloads = world.settle(&desired(&target));
    assert_eq!(
        (led(&world), reloads),
        (None, 0),
        "503 until there is another"
    );
    assert!(world.plan(&desired(&target)).actions.is_empty());
}

#[test]
fn a_preview_has_a_group_of_its_own_and_leads_nowhere_once_it_is_closed() {
    let (key, mut target, swarm) = shop_with_previews();
    let of = |target: &Target| {
        let input = Input {
            key: &key,
            target,
            swarm: Some(&swarm),
        };
        Desired::of(&[input], None)
    };
    let mut world = World::default();
    world.settle(&of(&target));
    world.observe();
    world.settle(&of(&target));
    let config = world.plan(&of(&target)).files.config;
    assert!(
        config.contains("set-var-fmt(txn.pk) x-preview|%[req.fhdr(x-preview)]|"),
        "{config}"
    );
    let running = world.running.as_ref().unwrap();
    let id = &running.maps[&Map::Routes]["c.example.com/"];
    assert_eq!(
        &running.maps[&Map::Looks]["x-preview|c|shop.example.com/"],
        id
    );
    assert_ne!(
        &running.maps[&Map::Routes]["shop.example.com/"],
        id,
        "the shop's own"
    );
    let record = SplitRecord::parse(&running.maps[&Map::Split][id]).unwrap();
    let servers = &running.backends[record.canary_backend.as_ref().unwrap()];
    let addresses: Vec<_> = servers.iter().filter_map(|server| server.address).collect();
    assert_eq!(addresses.len(), 1, "the preview's one task: {addresses:?}");

    let wanted = of(&target);
    let wanted = report::Wanted::new(&wanted);
    let seen = report::report(&key, &target, &wanted, running, true, &report::Down::new());
    let healthy = |id: &str| seen.revisions[&RevisionId::new(id)].healthy;
    assert_eq!(
        (healthy("aaaaaaaaaa"), healthy("cccccccccc")),
        (2, 1),
        "each of its own"
    );

    let preview = target.previews.values_mut().next().unwrap();
    preview.closed = true;
    preview.hosts.clear();
    preview.match_rules.clear();
    target
        .revisions
        .get_mut(&RevisionId::new("cccccccccc"))
        .unwrap()
        .draining = true;
    world.settle(&of(&target));
    let running = world.running.as_ref().unwrap();
    assert!(!running.maps[&Map::Routes].contains_key("c.example.com/"));
    assert!(running.maps[&Map::Looks].is_empty());
    assert!(running.maps[&Map::Routes].contains_key("shop.example.com/"));
    assert!(world.plan(&of(&target)).actions.is_empty());
}

#[test]
fn a_preview_host_lets_go_of_a_backend_before_another_revision_gets_it() {
    let (key, mut target, first) = shop_with_preview();
    let mut world = World::default();
    let of = |target: &Target, swarm: &fm_api::observed::SwarmObserved| {
        let input = Input {
            key: &key,
            target,
            swarm: Some(swarm),
        };
        Desired::of(&[input], None)
    };
    world.settle(&of(&target, &first));
    world.observe();
    world.settle(&of(&target, &first));
    target.revisions.remove(&RevisionId::new("bbbbbbbbbb"));
    let next = RevisionTarget {
        cut: false,
        replicas: 1,
        slot: Some(Slot::B),
        draining: false,
        restarts: 0,
    };
    target.revisions.insert(RevisionId::new("cccccccccc"), next);
    target.traffic = Some(traffic("aaaaaaaaaa", Some("cccccccccc"), 0, 9));
    let second = swarm("u1", &[("aaaaaaaaaa", &[1, 2]), ("cccccccccc", &[4])]);
    let actions = world.plan(&of(&target, &second)).actions;
    let at = |test: &dyn Fn(&Action) -> bool| actions.iter().position(test);
    let lets_go =
        at(&|action| matches!(action, Action::DelMap(Map::Split, id) if id.starts_with('p')));
    let fills = at(&|action| matches!(action, Action::Add(..) | Action::Fill(..)));
    let takes_up =
        at(&|action| matches!(action, Action::AddMap(Map::Split, id, _) if id.starts_with('p')));
    assert!(
        lets_go.is_some() && lets_go < fills && fills < takes_up,
        "{actions:#?}"
    );
}

#[test]
fn a_weight_is_one_map_entry_and_the_files() {
    let (key, mut target, swarm) = shop();
    let mut world = World::default();
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&swarm),
        }],
        None,
    );
    world.settle(&desired);
    world.observe();
    world.settle(&desired);
    target.traffic = Some(traffic("aaaaaaaaaa", Some("bbbbbbbbbb"), 5000, 8));
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&swarm),
        }],
        None,
    );
    let plan = world.plan(&desired);
    assert!(
        matches!(
            plan.actions.as_slice(),
            [Action::SetMap(Map::Split, _, _), Action::WriteFiles]
        ),
        "{:#?}",
        plan.actions
    );
    assert_eq!(plan.next_look, Look::Often);
}

#[test]
fn a_slot_is_let_go_by_the_record_before_its_servers_change() {
    let (key, mut target, _) = shop();
    let first = swarm("u1", &[("aaaaaaaaaa", &[1, 2]), ("bbbbbbbbbb", &[3])]);
    let mut world = World::default();
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&first),
        }],
        None,
    );
    world.settle(&desired);
    world.observe();
    world.settle(&desired);
    target.revisions.remove(&RevisionId::new("bbbbbbbbbb"));
    let next = RevisionTarget {
        cut: false,
        replicas: 1,
        slot: Some(Slot::B),
        draining: false,
        restarts: 0,
    };
    target.revisions.insert(RevisionId::new("cccccccccc"), next);
    target.traffic = Some(traffic("aaaaaaaaaa", Some("cccccccccc"), 1000, 9));
    let second = swarm("u1", &[("aaaaaaaaaa", &[1, 2]), ("cccccccccc", &[4])]);
    let desired = Desired::of(
        &[Input {
            key: &key,
            target: &target,
            swarm: Some(&second),
        }],
        None,
    );
    let plan = world.plan(&desired);
    let kinds: Vec<&str> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::WriteFiles => "files",
            Action::SetMap(_, _, value) if value.contains("|-|") => "let go",
            Action::SetMap(..) => "take up",
            Action::Drain(_) => "drain",
            Action::Add(..) | Action::Fill(..) => "fill",
            other @ (Action::Reload(_)
            | Action::AddMap(..)
            | Action::DelMap(..)
            | Action::Arm(_)
            | Action::Know(..)
            | Action::Resume(_)
            | Action::Maint(_)
            | Action::Reweight(_)) => panic!("{other:?}"),
        })
        .collect();
    let order = |what: &str| {
        kinds
            .iter()
            .position(|kind| *kind == what)
            .unwrap_or_else(|| panic!("{what}: {kinds:?}"))
    };
    assert!(
        order("let go") < order("drain") && order("drain") < order("take up"),
        "{kinds:?}"
    );
    assert!(order("fill") < order("take up"), "{kinds:?}");
}

#[test]
fn a_narrower_host_wins_and_inherits_what_it_does_not_cover() {
    let mut one = blank("u1");
    one.routes = vec![route(&["a.example.com"], &["/api"], 1)];
    let mut two = blank("u2");
    two.routes = vec![route(&["*.example.com"], &["/api/v2", "/web"], 1)];
    let mut three = blank("u3");
    three.routes = vec![route(&["*"], &["/"], 1)];
    let keys = ["one", "two", "three"].map(|name| ReleaseKey::new("d", name));
    let inputs: Vec<Input<'_>> = keys
        .iter()
        .zip([&one, &two, &three])
        .map(|(key, target)| Input {
            key,
            target,
            swarm: None,
        })
        .collect();
    let desired = Desired::of(&inputs, None);
    let routes = maps::wanted(&desired, None).remove(&Map::Routes).unwrap();
    let owner = |key: &str| {
        routes
            .get(key)
            .map(|group| desired.groups[group].release.name().to_owned())
    };
    assert_eq!(owner("a.example.com/api/").as_deref(), Some("one"));
    assert_eq!(owner("a.example.com/api/v2/"), None, "covered by /api");
    assert_eq!(owner("a.example.com/web/").as_deref(), Some("two"));
    assert_eq!(owner("a.example.com/").as_deref(), Some("three"));
    assert_eq!(owner("*.example.com/").as_deref(), Some("three"));
    assert_eq!(owner("*/").as_deref(), Some("three"));
}

#[test]
fn of_two_releases_the_older_keeps_a_route_whatever_the_order() {
    let mut old = blank("0190-old");
    old.routes = vec![route(&["x.example.com"], &["/"], 1)];
    let mut young = blank("0191-young");
    young.routes = vec![route(&["x.example.com", "y.example.com"], &["/"], 1)];
    let (old_key, young_key) = (
        ReleaseKey::new("d", "z-old"),
        ReleaseKey::new("d", "a-young"),
    );
    let a = Input {
        key: &old_key,
        target: &old,
        swarm: None,
    };
    let b = Input {
        key: &young_key,
        target: &young,
        swarm: None,
    };
    let one = Desired::of(&[a.clone(), b.clone()], None);
    assert_eq!(one, Desired::of(&[b, a], None));
    assert!(one.problems.contains_key(&young_key) && !one.problems.contains_key(&old_key));
    let routes = maps::wanted(&one, None).remove(&Map::Routes).unwrap();
    assert_eq!(one.groups[&routes["x.example.com/"]].release, old_key);
    assert_eq!(one.groups[&routes["y.example.com/"]].release, young_key);
}

#[test]
fn without_the_store_the_canary_is_taken_back_only_where_that_was_asked_for() {
    let (key, mut target, swarm) = shop();
    let weight = |target: &Target, lost: Option<Span>| {
        let desired = Desired::of(
            &[Input {
                key: &key,
                target,
                swarm: Some(&swarm),
            }],
            lost,
        );
        let split = maps::wanted(&desired, None).remove(&Map::Split).unwrap();
        SplitRecord::parse(split.values().next().unwrap())
            .unwrap()
            .weight
            .basis_points()
    };
    assert_eq!(weight(&target, Some(Span::secs(100_000))), 1000);
    target.on_control_loss =
        serde_json::from_value(serde_json::json!({ "after": "5m", "action": "stable" })).unwrap();
    assert_eq!(weight(&target, None), 1000);
    assert_eq!(weight(&target, Some(Span::secs(299))), 1000);
    assert_eq!(weight(&target, Some(Span::secs(300))), 0);
}

#[test]
fn a_weight_does_not_wait_for_a_reload_that_may_be_refused() {
    let (key, mut target, swarm) = shop();
    let mut world = World::default();
    let desired = Desired::of(&[input(&key, &target, &swarm)], None);
    world.settle(&desired);
    world.observe();
    world.settle(&desired);
    target.traffic = Some(traffic("aaaaaaaaaa", Some("bbbbbbbbbb"), 0, 8));
    let mut other = blank("u2");
    other.routes = vec![route(&["other.example.com"], &["/"], 8080)];
    let other_key = ReleaseKey::new("default", "other");
    let inputs = [
        input(&key, &target, &swarm),
        Input {
            key: &other_key,
            target: &other,
            swarm: None,
        },
    ];
    let plan = world.plan(&Desired::of(&inputs, None));
    assert!(
        matches!(
            plan.actions.as_slice(),
            [Action::SetMap(Map::Split, _, _), Action::WriteFiles, Action::Reload(Why::NewRoutes(of))] if of == &["default/other"]
        ),
        "{:#?}",
        plan.actions
    );
}

#[test]
fn a_dead_haproxy_leaves_its_servers_in_the_files_as_they_were() {
    let (key, target, swarm) = shop();
    let mut world = World::default();
    let desired = Desired::of(&[input(&key, &target, &swarm)], None);
    world.settle(&desired);
    world.observe();
    world.settle(&desired);
    let memory = world.running.take();
    let plan = plan::plan(
        &settings(),
        &desired,
        None,
        memory.as_ref(),
        world.disk.as_ref(),
    );
    assert_eq!(plan.actions, []);
}

fn input<'a>(
    key: &'a ReleaseKey,
    target: &'a Target,
    swarm: &'a fm_api::observed::SwarmObserved,
) -> Input<'a> {
    Input {
        key,
        target,
        swarm: Some(swarm),
    }
}

#[test]
fn a_configuration_that_mirrors_as_it_is_written() {
    let (key, mut target, seen) = shop();
    let config = |target: &Target| {
        let input = Input {
            key: &key,
            target,
            swarm: Some(&seen),
        };
        let desired = Desired::of(&[input], None);
        let mut world = World::default();
        world.settle(&desired);
        world.observe();
        let plan = world.plan(&desired);
        (plan.files.config, plan.files.maps[&Map::Split].clone())
    };
    let (plain, _) = config(&target);
    target.mirrors = true;
    let (before, _) = config(&target);
    let split = target.traffic.as_mut().unwrap();
    (split.weight, split.mirror) = (Weight::ZERO, Weight::percent(25));
    let (ready, map) = config(&target);
    assert_eq!(before, ready, "a rollout changes the map alone");
    assert!(map.trim_end().ends_with("|7|2500"), "{map}");
    let more: Vec<&str> = ready.lines().filter(|line| !plain.contains(line)).collect();
    insta::assert_snapshot!("mirrors", more.join("\n"));
}
