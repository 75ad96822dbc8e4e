//! What is refused where it is newly written, and goes on where it is stored.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the steps that tests share fail the test"
)]

use fm_api::validate;
use serde_json::{Value, json};

/// A release with these fields of the spec, and these of the workload.
fn release(spec: Value, workload: Value) -> Value {
    let mut value = json!({
        "apiVersion": "fridaymorning.dev/v1",
        "kind": "Release",
        "metadata": { "namespace": "default", "name": "shop" },
        "spec": {
            "workload": { "image": "shop:1", "env": { "MODE": "a" } },
            "routes": [{ "hosts": ["shop.example.com"], "port": 80 }],
            "strategy": { "canary": { "steps": [{ "weight": 5 }] } },
        },
    });
    let add = |into: &mut Value, fields: Value| {
        let fields = fields.as_object().cloned().unwrap_or_default();
        into.as_object_mut().unwrap().extend(fields);
    };
    add(&mut value["spec"], spec);
    add(&mut value["spec"]["workload"], workload);
    value
}

/// What is said of it where it is written; stored, it can be read.
fn told(value: &Value) -> String {
    validate::json(value).unwrap_or_else(|problems| panic!("{value}: {problems:?}"));
    let problems = validate::written(value).err().unwrap_or_default();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn of_workload(workload: Value) -> String {
    told(&release(json!({}), workload))
}

fn of_spec(spec: Value) -> String {
    told(&release(spec, json!({})))
}

#[test]
fn places_in_the_container_are_plain_and_taken_once() {
    for target in [
        "..",
        ".",
        "/",
        "dir/",
        "/etc/",
        "../../etc/passwd",
        "/a/./b",
    ] {
        for field in ["configs", "secrets"] {
            let said = of_workload(json!({ field: [{ "source": "x", "target": target }] }));
            let at = format!("spec.workload.{field}[0].target: `{target}` ");
            assert!(said.starts_with(&at), "{target}: {said}");
        }
    }
    let file = |target: &str| json!({ "source": format!("f{}", target.replace('/', "-x")), "target": target });
    for (workload, place) in [
        (
            json!({ "secrets": [file("key"), file("/run/secrets/key")] }),
            "spec.workload.secrets[1].target: `/run/secrets/key` is the place of spec.workload.secrets[0] already",
        ),
        (
            json!({ "configs": [file("/etc/x"), file("/etc//x")] }),
            "spec.workload.configs[1].target: `/etc/x` is the place of spec.workload.configs[0]",
        ),
        (
            json!({ "secrets": [file("/etc/x")], "configs": [file("etc/x")] }),
            "spec.workload.configs[0].target: `/etc/x` is the place of spec.workload.secrets[0]",
        ),
        (
            json!({ "configs": [file("/etc/x")], "mounts": [{ "type": "tmpfs", "target": "/etc/x/" }] }),
            "spec.workload.mounts[0].target: `/etc/x` is the place of spec.workload.configs[0]",
        ),
        (
            json!({ "mounts": [{ "type": "tmpfs", "target": "/a" }, { "type": "tmpfs", "target": "/a/" }] }),
            "spec.workload.mounts[1].target: `/a` is the place of spec.workload.mounts[0]",
        ),
    ] {
        let said = of_workload(workload);
        assert!(said.starts_with(place), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let fine = json!({
        "secrets": [file("key"), file("/etc/key")],
        "configs": [file("key"), file("/etc/conf/x")],
        "mounts": [{ "type": "tmpfs", "target": "/etc/conf" }],
    });
    assert_eq!(of_workload(fine), "");
}

#[test]
fn one_content_may_be_shown_at_several_targets() {
    let shown =
        |target: &str, file: &str| json!({ "name": "page", "file": file, "target": target });
    let said = of_workload(json!({ "configs": [shown("/a", "p"), shown("/b", "p")] }));
    assert_eq!(said, "");
    let mut second = shown("/b", "p");
    second["mode"] = json!("0400");
    let said = of_workload(json!({ "configs": [shown("/a", "p"), second] }));
    assert_eq!(
        said,
        "spec.workload.configs[1]: `page` is shown at several targets, and Docker keeps one file for all of them; \
         allowed: the same `uid`, `gid` and `mode` at each"
    );
    let other = release(
        json!({}),
        json!({ "configs": [shown("/a", "p"), shown("/b", "q")] }),
    );
    let problems = validate::json(&other).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "spec.workload.configs[1].name: `page` is given twice, with another content; allowed: one content for each name; \
         it may be shown at several targets"
    );
}

#[test]
fn mounts_and_numbers_that_docker_would_refuse_late_are_told() {
    for (workload, wanted) in [
        (
            json!({ "mounts": [{ "type": "tmpfs", "target": "//" }] }),
            "spec.workload.mounts[0].target: `//` is the container's root",
        ),
        (
            json!({ "mounts": [{ "type": "tmpfs", "target": "/.." }] }),
            "spec.workload.mounts[0].target: `/..` has a part",
        ),
        (
            json!({ "mounts": [{ "type": "tmpfs", "target": "/a/../.." }] }),
            "spec.workload.mounts[0].target: `/a/../..` has a part",
        ),
        (
            json!({ "mounts": [{ "source": "a b", "target": "/a", "readOnly": true }] }),
            "spec.workload.mounts[0].source: `a b` is no name of a volume",
        ),
        (
            json!({ "mounts": [{ "source": "x-{{.Node", "target": "/a", "readOnly": true }] }),
            "spec.workload.mounts[0].source: `x-{{.Node` is no name of a volume",
        ),
        (
            json!({ "mounts": [{ "type": "bind", "source": "/a/../..", "target": "/a", "readOnly": true }] }),
            "spec.workload.mounts[0].source: `/a/../..` has a part",
        ),
        (
            json!({ "hosts": { "db": "300.1.1.1" } }),
            "spec.workload.hosts.db: `300.1.1.1` is no address",
        ),
        (
            json!({ "dns": { "servers": ["1.2.3"] } }),
            "spec.workload.dns.servers[0]: `1.2.3` is no address",
        ),
        (
            json!({ "secrets": [{ "source": "x", "uid": "9999999999", "gid": "4294967295" }] }),
            "spec.workload.secrets[0].gid: `4294967295` is no such number; allowed: a number from 0 to 4294967294\n\
             spec.workload.secrets[0].uid: `9999999999` is no such number",
        ),
    ] {
        let said = of_workload(workload);
        assert!(said.starts_with(wanted), "{said}");
    }
    let fine = json!({
        "mounts": [
            { "source": "cache-{{.Node.Hostname}}", "target": "/a", "readOnly": true },
            { "source": "any name", "target": "/b", "readOnly": true, "volume": { "driver": "nfs" } },
            { "type": "bind", "source": "/a/..b", "target": "/...", "readOnly": true },
        ],
        "hosts": { "v6": "fd00::7", "me": "host-gateway" },
        "configs": [{ "source": "x", "uid": "65534" }],
    });
    assert_eq!(of_workload(fine), "");
}

#[test]
fn addresses_that_name_nobody_and_headers_that_cannot_be_sent_are_told() {
    let hook = |url: &str, headers: Value| json!({ "webhooks": [{ "name": "ci", "when": "beforeStep", "url": url, "headers": headers }] });
    for url in [
        "http://10.0.0.256/",
        "http://[x/",
        "http://a:b:80/",
        "http://::1/",
        "http://a:+80/",
    ] {
        let said = of_spec(hook(url, json!({})));
        let at = "spec.webhooks[0].url: this is no address: ";
        assert!(said.starts_with(at), "{url}: {said}");
    }
    let metric = |source: Value| {
        let mut metric = json!({ "name": "x", "max": 1, "interval": "30s" });
        metric
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().cloned().unwrap());
        json!({ "analysis": { "metrics": [metric] } })
    };
    for (field, source) in [
        (
            "prometheus.address",
            json!({ "prometheus": { "address": "http://10.0.0.256/", "query": "x" } }),
        ),
        (
            "influx.address",
            json!({ "influx": { "address": "http://[x]:1", "database": "a", "query": "SELECT x FROM y" } }),
        ),
        (
            "web.url",
            json!({ "web": { "url": "http://a..b/{{revision}}", "jsonPath": "$.x" } }),
        ),
    ] {
        let said = of_spec(metric(source));
        let at = format!("spec.analysis.metrics[0].{field}: this is no address: ");
        assert!(said.starts_with(&at), "{said}");
    }
    let said = of_spec(hook(
        "https://ci.example.com/",
        json!({ "X-Team": "Müller" }),
    ));
    assert!(
        said.starts_with("spec.webhooks[0].headers.X-Team: a header holds"),
        "{said}"
    );
    let web = json!({ "web": { "url": "http://a/", "jsonPath": "$.x", "headers": { "X": "→" } } });
    let said = of_spec(metric(web));
    assert!(
        said.starts_with("spec.analysis.metrics[0].web.headers.X: a header holds"),
        "{said}"
    );
}

#[test]
fn sides_of_an_experiment_differ_and_leave_stable_something() {
    let sides = |baseline: u8, candidates: Value| {
        let experiment = json!({ "baseline": { "weight": baseline }, "candidates": candidates });
        of_spec(json!({ "experiment": experiment }))
    };
    let said = sides(
        5,
        json!([
            { "name": "a", "weight": 5, "image": "shop:1" },
            { "name": "b", "weight": 5, "env": { "MODE": "a" } },
            { "name": "c", "weight": 5, "image": "shop:2" },
            { "name": "d", "weight": 5, "image": "shop:2", "env": { "MODE": "a" } },
            { "name": "e", "weight": 5, "image": "shop:2", "env": { "MODE": "b" } },
        ]),
    );
    let wanted = [
        "spec.experiment.candidates[0]: it is the same as the baseline",
        "spec.experiment.candidates[1]: it is the same as the baseline",
        "spec.experiment.candidates[3]: it is the same as c;",
    ];
    assert_eq!(said.lines().count(), wanted.len(), "{said}");
    for (line, wanted) in said.lines().zip(wanted) {
        assert!(line.starts_with(wanted), "{said}");
    }
    let whole = json!([{ "name": "c", "weight": 50, "image": "shop:2" }]);
    let said = sides(50, whole.clone());
    assert!(said.contains("stable would stand idle"), "{said}");
    assert_eq!(sides(49, whole), "");
}

#[test]
fn a_release_is_waited_for_once() {
    for (again, at) in [
        (
            json!({ "name": "db" }),
            "spec.dependsOn[1]: default/db is given twice",
        ),
        (
            json!({ "namespace": "default", "name": "db" }),
            "spec.dependsOn[1]: default/db is given twice",
        ),
        (json!({ "namespace": "prod", "name": "db" }), ""),
    ] {
        let said = of_spec(json!({ "dependsOn": [{ "name": "db" }, again] }));
        assert!(
            said.starts_with(at) && said.is_empty() == at.is_empty(),
            "{said}"
        );
    }
}

#[test]
fn a_field_in_the_wrong_place_is_led_to_the_nearest_that_has_it() {
    for (spec, wanted) in [
        (
            json!({ "strategy": { "blueGreen": { "rollback": {} } } }),
            "spec.strategy.blueGreen.rollback: unknown field, do you mean `spec.rollback`?",
        ),
        (
            json!({ "strategy": { "canary": { "steps": [{ "weight": 5, "keepPrevious": "1h" }] } } }),
            "spec.strategy.canary.steps[0].keepPrevious: unknown field, do you mean `spec.strategy.canary.keepPrevious`?",
        ),
        (
            json!({ "strategy": { "canary": { "steps": [{ "weight": 5 }] }, "maxSurge": 1 } }),
            "spec.strategy.maxSurge: unknown field, it belongs to `spec.strategy.canary`",
        ),
        (
            json!({ "image": "shop:2" }),
            "spec.image: unknown field, do you mean `spec.workload.image`?",
        ),
        (
            json!({ "keepFailed": true }),
            "spec.keepFailed: true is a truth value, not an amount; allowed: a duration such as",
        ),
    ] {
        let problems = validate::json(&release(spec, json!({}))).unwrap_err();
        let said = problems[0].to_string();
        assert!(said.starts_with(wanted), "{said}");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

#[test]
fn what_stays_as_it_was_stored_goes_on() {
    let stored = |more: Value| {
        let mut workload = json!({ "hosts": { "db": "300.1.1.1" }, "configs": [{ "source": "x", "target": "/etc/x" }] });
        workload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap());
        let experiment = json!({ "baseline": { "weight": 50 }, "candidates": [{ "name": "c", "weight": 50, "image": "shop:2" }] });
        validate::json(&release(json!({ "experiment": experiment }), workload)).unwrap()
    };
    let before = stored(json!({}));
    let refused = |after: &fm_api::release::Release| -> Vec<String> {
        let problems = validate::newly_refused(Some(&before.spec), after);
        problems.into_iter().map(|problem| problem.path).collect()
    };
    assert_eq!(validate::newly_refused(None, &before).len(), 2);
    assert_eq!(
        refused(&stored(json!({ "image": "shop:9" }))),
        Vec::<String>::new()
    );
    let clash = json!({ "mounts": [{ "type": "tmpfs", "target": "/etc/x" }] });
    assert_eq!(refused(&stored(clash)), ["spec.workload.mounts[0].target"]);
    assert_eq!(
        refused(&stored(json!({ "hosts": { "db": "300.1.1.2" } }))),
        ["spec.workload.hosts.db"]
    );
}
