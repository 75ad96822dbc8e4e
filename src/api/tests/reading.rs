//! Good input: what is read is what was meant, with every default written in, and it stays so.

use fm_api::keys::RevisionId;
use fm_api::manifest;
use fm_api::quantity::Span;
use fm_api::release::Release;
use fm_api::validate;

const GOOD: &str = include_str!("manifests/good.yaml");

#[expect(
    clippy::panic,
    reason = "a test's own step: it fails with the problems' whole text"
)]
fn one(text: &str) -> Release {
    let mut read = manifest::read("test.yaml", text.as_bytes());
    assert_eq!(read.len(), 1);
    match read.remove(0) {
        Ok(release) => release,
        Err(problems) => panic!(
            "{}",
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        ),
    }
}

const MINIMAL: &str = "apiVersion: fridaymorning.dev/v1
kind: Release
metadata: { name: shop }
spec:
  workload: { image: shop }
  routes: [{ hosts: [\"*\"], port: 80 }]
  strategy: { canary: { steps: [{ weight: 5 }] } }
";

#[test]
fn the_manifest_of_the_design_is_read_as_it_stands() {
    let release = one(include_str!("manifests/design.yaml"));
    assert_eq!(release.spec.strategy.canary.unwrap().steps.len(), 3);
    assert_eq!(release.spec.analysis.guards.max_error_rate, Some(0.05));
    assert_eq!(
        release.spec.workload.stop_grace_period,
        Some(Span::secs(40))
    );
}

#[test]
fn every_default_is_written_into_the_object() {
    let release = one(MINIMAL);
    insta::assert_snapshot!(serde_json::to_string_pretty(&release).unwrap());
}

#[test]
fn defaults_follow_the_longest_server_timeout_and_the_last_hold() {
    let release = one(&MINIMAL.replace("port: 80", "port: 80, timeouts: { server: 45s }"));
    assert_eq!(
        release.spec.workload.stop_grace_period,
        Some(Span::secs(55))
    );
    assert_eq!(release.spec.analysis.bake, Some(Span::secs(90)));
    let release = one(&MINIMAL.replace("weight: 5", "weight: 5, hold: 10m"));
    assert_eq!(release.spec.analysis.bake, Some(Span::secs(600)));
    let mut again = release.clone();
    fm_api::defaults::fill(&mut again);
    assert_eq!(again, release);
}

#[test]
fn a_worker_without_routes_publishes_nothing_and_stops_soon() {
    let worker = MINIMAL.replace(
        "  routes: [{ hosts: [\"*\"], port: 80 }]\n",
        "  analysis: { disabled: true }\n",
    );
    let release = one(&worker);
    assert_eq!(
        release.spec.workload.stop_grace_period,
        Some(Span::secs(10))
    );
    assert_eq!(release.spec.ports(), Vec::<u16>::new());
}

#[test]
fn what_is_read_is_written_and_read_alike() {
    for text in [GOOD, MINIMAL, include_str!("manifests/design.yaml")] {
        let release = one(text);
        assert_eq!(validate::release(&release), Vec::new());
        let json = serde_json::to_string_pretty(&release).unwrap();
        assert_eq!(one(&json), release);
        let yaml = serde_saphyr::to_string(&release).unwrap();
        assert_eq!(one(&yaml), release, "{yaml}");
        assert_eq!(
            validate::json(&serde_json::to_value(&release).unwrap()),
            Ok(release)
        );
    }
}

#[test]
fn json_with_tabs_and_aliases_and_merges_are_read() {
    let release = one(MINIMAL);
    let tabs = serde_json::to_string_pretty(&release)
        .unwrap()
        .replace("  ", "\t");
    assert_eq!(one(&tabs), release);
    let merged = MINIMAL.replace("metadata: { name: shop }", "metadata:\n  name: &name shop\n  labels: &l { app: *name }\n  annotations: { <<: *l, b: \"1\" }");
    let release = one(&merged);
    assert_eq!(release.metadata.labels["app"], "shop");
    assert_eq!(release.metadata.annotations["app"], "shop");
    let windows = MINIMAL.replace('\n', "\r\n");
    assert_eq!(one(&windows).metadata.name, "shop");
    assert_eq!(one(&format!("\u{feff}{MINIMAL}")).metadata.name, "shop");
}

#[test]
fn nothing_is_read_from_nothing() {
    for text in ["", "\n", "# words\n", "---\n", "---\n---\n...\n", "null\n"] {
        assert_eq!(
            manifest::read("empty.yaml", text.as_bytes()),
            Vec::new(),
            "{text:?}"
        );
    }
}

#[test]
fn the_older_release_keeps_its_host_and_path() {
    let at = |text: &str| Some(text.parse().unwrap());
    let mut old = one(MINIMAL);
    old.metadata.created_at = at("2026-01-01T00:00:00Z");
    old.metadata.uid = Some("a".to_owned());
    let mut young = one(&MINIMAL
        .replace("name: shop", "name: young")
        .replace("port: 80", "port: 80, paths: [/]"));
    assert!(
        validate::routes_conflict(&young, [&old].into_iter()).is_some(),
        "not stored yet is younger than all"
    );
    young.metadata.created_at = at("2026-01-02T00:00:00Z");
    young.metadata.uid = Some("b".to_owned());
    let problem = validate::routes_conflict(&young, [&old].into_iter()).unwrap();
    assert_eq!(
        problem.to_string(),
        "spec.routes[0].hosts[0]: */ already belongs to the release default/shop; allowed: a host and path that no older release has"
    );
    assert_eq!(validate::routes_conflict(&old, [&young].into_iter()), None);
    young.metadata.created_at = old.metadata.created_at;
    assert!(
        validate::routes_conflict(&young, [&old].into_iter()).is_some(),
        "the smaller uid wins"
    );
    assert_eq!(validate::routes_conflict(&old, [&young].into_iter()), None);
    assert_eq!(validate::routes_conflict(&old, [&old].into_iter()), None);
    let elsewhere = one(&MINIMAL
        .replace("name: shop", "name: x")
        .replace("port: 80", "port: 80, paths: [/x]"));
    assert_eq!(
        validate::routes_conflict(&elsewhere, [&old].into_iter()),
        None
    );
}

/// An upgrade must never give running workloads new revisions: these digits stay as they are for ever.
#[test]
fn a_revision_stays_the_same_for_ever() {
    let pinned = format!("sha256:{}", "0".repeat(64));
    let minimal = one(MINIMAL).spec;
    assert_eq!(
        RevisionId::of(&minimal.workload, &pinned, &minimal.ports()).as_str(),
        "878c210353"
    );
    let design = one(include_str!("manifests/design.yaml")).spec;
    assert_eq!(
        RevisionId::of(&design.workload, &pinned, &design.ports()).as_str(),
        "0d477a55ed"
    );
}

#[test]
fn every_example_is_a_release() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
    let mut seen = 0;
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if !path
                .extension()
                .is_some_and(|kind| kind == "yaml" || kind == "json")
            {
                continue;
            }
            let name = path.display().to_string();
            let read = manifest::read(&name, &std::fs::read(&path).unwrap());
            assert!(!read.is_empty(), "{name} is empty");
            for document in read {
                document.unwrap_or_else(|problems| panic!("{}", problems[0]));
            }
            seen += 1;
        }
    }
    assert!(seen >= 4);
}

#[test]
fn each_strategy_is_read_with_its_defaults_and_a_preview_claims_only_what_is_its_own() {
    let strategy = |text: &str| {
        MINIMAL
            .replace("canary: { steps: [{ weight: 5 }] }", text)
            .replace("hosts: [\"*\"]", "hosts: [shop.example.com]")
    };
    let both = one(&strategy(
        "blueGreen: { preview: { hosts: [next.example.com] } }",
    ));
    let green = both.spec.strategy.blue_green.as_ref().unwrap();
    assert_eq!((green.hold, green.watch), (Span::ZERO, Span::secs(60)));
    assert_eq!(green.keep_previous, Span::secs(600));
    let claims: Vec<_> = validate::claims(&both)
        .map(|(host, _)| host.to_owned())
        .collect();
    assert_eq!(claims, ["shop.example.com", "next.example.com"]);
    let preview = one(&strategy(
        "preview: { hosts: [\"{revision}.example.com\", latest.example.com] }",
    ));
    let asked = preview.spec.strategy.preview.as_ref().unwrap();
    assert_eq!((asked.ttl, asked.limit), (Span::secs(7200), 10));
    let claims: Vec<_> = validate::claims(&preview)
        .map(|(host, _)| host.to_owned())
        .collect();
    assert_eq!(claims, ["latest.example.com"]);
}

#[test]
fn settings_that_were_stored_before_there_were_other_strategies_are_read_and_written_alike() {
    let stored = serde_json::json!({
        "replicas": 4,
        "canary": {
            "steps": [{ "weight": 10, "hold": "10s" }, { "weight": 50, "hold": "20s", "approval": "manual" }],
            "capacity": "proportional", "keepPrevious": "30m",
        },
        "analysis": {}, "onFailure": "rollback", "onNewRevision": "replace",
        "progressDeadline": "10m", "historyLimit": 10, "routes": [],
    });
    let settings: fm_api::rollout::Settings = serde_json::from_value(stored.clone()).unwrap();
    let course = settings.course.as_ref().unwrap();
    assert!(course.kind.is_canary() && course.steps.len() == 2);
    let again = serde_json::to_value(&settings).unwrap();
    assert_eq!(
        again["canary"], stored["canary"],
        "an older frd reads it, too"
    );
}
