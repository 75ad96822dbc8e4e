//! Bad input: each case is one change of a good manifest, and the whole text of what a person is told is in the snapshot.

use fm_api::manifest;

/// The strategy of the good one.
const CANARY: &str = "    canary:\n      steps:\n        - { weight: 1, hold: 60s }\n        - { weight: 10, hold: 2m }\n        - { weight: 50, hold: 5m, approval: manual }\n      capacity: proportional\n      keepPrevious: 30m\n";
const GOOD: &str = include_str!("manifests/good.yaml");

fn told(bytes: &[u8]) -> String {
    let mut lines = Vec::new();
    for document in manifest::read("shop.yaml", bytes) {
        match document {
            Ok(release) => lines.push(format!("ok {}", release.key())),
            Err(problems) => lines.extend(problems.iter().map(ToString::to_string)),
        }
    }
    lines.join("\n")
}

/// The good manifest with `from` replaced.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the good manifest has no {from:?}");
    GOOD.replacen(from, to, 1)
}

const CASES: &[(&str, &str, &str)] = &[
    (
        "a field whose name would change a terminal",
        CANARY,
        "    canary: { steps: [{ weight: 1 }] }\n    \"blue\\tgreen\\e[31m\": {}\n",
    ),
    (
        "group: a name that is none",
        "  replicas: 4",
        "  replicas: 4\n  group: Web_1",
    ),
    (
        "group: no name at all",
        "  replicas: 4",
        "  replicas: 4\n  group: \"\"",
    ),
    (
        "group: of previews",
        CANARY,
        "    preview: { ttl: 2h, hosts: [\"{revision}.preview.example.com\"] }\n  group: web\n",
    ),
    (
        "experiment: an image that is none, and a share of none",
        "  replicas: 4",
        "  replicas: 4\n  experiment: { duration: 0s, baseline: { weight: 60 }, candidates: [{ name: baseline, weight: 50, image: \"a b\" }, { name: x, weight: 0, env: { A: b } }, { name: x, weight: 1 }] }",
    ),
    (
        "experiment: shares beyond all, a time of none, and names and candidates that are the same",
        "  replicas: 4",
        "  replicas: 4\n  experiment: { duration: 0s, baseline: { weight: 60 }, candidates: [{ name: baseline, weight: 50, image: \"Shop:1\" }, { name: x, weight: 5, env: { A: b } }, { name: x, weight: 1 }] }",
    ),
    (
        "experiment: no candidate",
        "  replicas: 4",
        "  replicas: 4\n  experiment: { baseline: { weight: 5 }, candidates: [] }",
    ),
    ("an unknown field", "  replicas: 4", "  replica: 4"),
    (
        "an unknown field nothing is like",
        "  replicas: 4",
        "  frobnicate: 4",
    ),
    (
        "a field in the wrong place",
        "  replicas: 4",
        "  image: shop:2",
    ),
    (
        "a field in snake case",
        "    stopGracePeriod: 40s",
        "    stop_grace_period: 40s",
    ),
    (
        "match: a side that is none",
        "match: [{ header: x-qa, value: canary }]",
        "match: [{ header: x, value: y, to: canari }]",
    ),
    (
        "match: two things at once, nothing, and a header without a value",
        "match: [{ header: x-qa, value: canary }]",
        "match: [{ header: x, cookie: y, value: z }, { to: stable }, { header: x }]",
    ),
    (
        "match: a rule that never decides, and a path with a value",
        "match: [{ header: x-qa, value: canary }]",
        "match: [{ path: /a }, { path: /a/b, to: stable }, { path: /c, value: x }]",
    ),
    (
        "match: a cookie's name, a value, a path that HAProxy must never see",
        "match: [{ header: x-qa, value: canary }]",
        "match: [{ cookie: \"a) -m found }\", value: x }, { header: x, value: \"a b\" }, { path: \"/a } || {\" }]",
    ),
    ("a fraction", "  replicas: 4", "  replicas: 1.5"),
    ("a negative count", "  replicas: 4", "  replicas: -1"),
    ("a count in quotes", "  replicas: 4", "  replicas: \"4\""),
    ("too many", "  replicas: 4", "  replicas: 10001"),
    (
        "far too many",
        "  replicas: 4",
        "  replicas: 99999999999999999999",
    ),
    ("nothing", "  replicas: 4", "  replicas:"),
    (
        "a whole number with a point is one",
        "  replicas: 4",
        "  replicas: 4.0",
    ),
    ("weight 101", "weight: 50", "weight: 101"),
    ("weight 0", "weight: 1,", "weight: 0,"),
    ("a weight below zero", "weight: 1,", "weight: -1,"),
    ("a weight too fine", "weight: 1,", "weight: 0.001,"),
    ("a weight that is no number", "weight: 1,", "weight: .nan,"),
    ("a weight in percent", "weight: 1,", "weight: 1%,"),
    ("steps that go down", "weight: 50", "weight: 5"),
    ("steps that stay", "weight: 50", "weight: 10"),
    (
        "a step without tasks",
        "weight: 1,",
        "weight: 1, replicas: 0,",
    ),
    (
        "a step's tasks that are no share",
        "weight: 1,",
        "weight: 1, replicas: 101%,",
    ),
    (
        "a step's tasks that are half a task",
        "weight: 1,",
        "weight: 1, replicas: 1.5,",
    ),
    (
        "more tasks at once than there is room for",
        "approval: manual }\n      capacity: proportional",
        "approval: manual }\n      maxSurge: 1",
    ),
    (
        "room that whole capacity does not keep to",
        "approval: manual }\n      capacity: proportional",
        "approval: manual }\n      capacity: full\n      maxSurge: 1",
    ),
    (
        "a step's tasks beside whole capacity",
        "approval: manual }\n      capacity: proportional",
        "approval: manual, replicas: 2 }\n      capacity: full",
    ),
    ("no steps", "steps:", "steps: []\n      old:"),
    (
        "a step without weight",
        "{ weight: 1, hold: 60s }",
        "{ hold: 60s }",
    ),
    (
        "both strategies",
        "  strategy:",
        "  strategy:\n    blueGreen: { approval: manual }",
    ),
    (
        "a switch that is watched longer than a month, with a preview host of its routes",
        CANARY,
        "    blueGreen: { watch: 31d, preview: { hosts: [shop.example.com, next.example.com, next.example.com] } }\n",
    ),
    (
        "a preview host with a wildcard",
        CANARY,
        "    blueGreen: { preview: { hosts: [\"*.example.com\"] } }\n",
    ),
    (
        "a preview for no time, at hosts that cannot be",
        CANARY,
        "    preview: { ttl: 0s, hosts: [\"-{revision}.example.com\", shop.example.com] }\n",
    ),
    (
        "a preview with an unknown word in its host",
        CANARY,
        "    preview: { limit: 0, hosts: [\"{branch}.example.com\"] }\n",
    ),
    (
        "a preview that nothing leads to",
        CANARY,
        "    preview: {}\n",
    ),
    (
        "a canary's fields in a switch",
        "    canary:",
        "    blueGreen:",
    ),
    ("a strategy nobody knows", "    canary:", "    cannary:"),
    ("no strategy", "  strategy:", "  strategy: {}\n  other:"),
    ("a hold that is no duration", "hold: 60s", "hold: 60"),
    ("a hold without sense", "hold: 60s", "hold: soon"),
    ("a hold longer than a month", "hold: 60s", "hold: 31d"),
    ("a hold longer than all", "hold: 60s", "hold: 4000d"),
    ("an unknown approval", "approval: manual", "approval: manul"),
    (
        "an approval by nobody's role",
        "approval: manual",
        "approval: { role: \"a b\" }",
    ),
    (
        "affinity: what a cookie does not have",
        "affinity: { cookie: {} }",
        "affinity: { cookie: { name: x } }",
    ),
    (
        "a client that went away is no error",
        "  analysis:",
        "  analysis:\n    errors: { bad: { terminations: [server, C] } }",
    ),
    (
        "a quantile of 1",
        "  analysis:",
        "  analysis:\n    latency: { rollback: { quantiles: [0.5, 1] } }",
    ),
    (
        "a quantile twice",
        "  analysis:",
        "  analysis:\n    latency: { rollback: { quantiles: [0.5, 0.5] } }",
    ),
    (
        "an image with spaces",
        "image: shop:1.4.2",
        "image: shop 1.4.2",
    ),
    (
        "an image in upper case",
        "image: shop:1.4.2",
        "image: Shop:1.4.2",
    ),
    (
        "an image with a bad digest",
        "image: shop:1.4.2",
        "image: shop@sha256:12",
    ),
    (
        "an image that is a number",
        "image: shop:1.4.2",
        "image: 1.4",
    ),
    ("an image of nothing", "image: shop:1.4.2", "image: \"\""),
    ("no image", "    image: shop:1.4.2\n", ""),
    ("a number as a variable", "LOG_LEVEL: info", "LOG_LEVEL: 3"),
    (
        "a truth value as a variable",
        "LOG_LEVEL: info",
        "LOG_LEVEL: true",
    ),
    ("yes is text", "LOG_LEVEL: info", "LOG_LEVEL: yes"),
    (
        "a variable's bad name",
        "LOG_LEVEL: info",
        "1LOG-LEVEL: info",
    ),
    (
        "a label that is ours",
        "  workload:",
        "  workload:\n    labels: { fridaymorning.uid: x }",
    ),
    ("memory in MB", "memory: 256Mi", "memory: 256MB"),
    ("too little memory", "memory: 256Mi", "memory: 1Mi"),
    (
        "a mount nowhere",
        "  workload:",
        "  workload:\n    mounts: [{ source: data, target: data }]",
    ),
    (
        "a check without CMD",
        "[\"CMD\", \"/app\", \"health\"]",
        "[\"/app\", \"health\"]",
    ),
    (
        "a constraint nobody understands",
        "constraints: []",
        "constraints: [\"node.size > 3\"]",
    ),
    (
        "a host in upper case",
        "[shop.example.com]",
        "[Shop.example.com]",
    ),
    (
        "a host with a port",
        "[shop.example.com]",
        "[\"shop.example.com:8080\"]",
    ),
    ("no host", "[shop.example.com]", "[]"),
    (
        "a host twice",
        "[shop.example.com]",
        "[shop.example.com, shop.example.com]",
    ),
    (
        "a path out of HAProxy's words",
        "paths: [/]",
        "paths: [\"/a } || { always_true\"]",
    ),
    (
        "a path with a newline",
        "paths: [/]",
        "paths: [\"/a\\n  server evil 1.2.3.4:80\"]",
    ),
    (
        "a path that is an option",
        "paths: [/]",
        "paths: [\"-f /etc/passwd\"]",
    ),
    (
        "a path with a secret",
        "paths: [/]",
        "paths: ['\"/${SECRET}\"']",
    ),
    (
        "a path with a format",
        "paths: [/]",
        "paths: [\"%[env(SECRET)]\"]",
    ),
    (
        "a path with a semicolon",
        "paths: [/]",
        "paths: [\"/a;set map\"]",
    ),
    ("a path with dots", "paths: [/]", "paths: [\"/a/../b\"]"),
    ("a path twice", "paths: [/]", "paths: [/a, /a/]"),
    (
        "a check's path with a newline",
        "path: /healthz",
        "path: \"/h\\r\\nX: y\"",
    ),
    (
        "a header with a newline",
        "value: canary",
        "value: \"a\\nb\"",
    ),
    ("a header's bad name", "header: x-qa", "header: \"x qa\""),
    ("a port too high", "port: 8080", "port: 80800"),
    ("a port of nothing", "port: 8080", "port: 0"),
    (
        "two affinities",
        "affinity: { cookie: {} }",
        "affinity: { cookie: {}, source: {} }",
    ),
    ("no affinity", "affinity: { cookie: {} }", "affinity: {}"),
    ("a name in upper case", "name: shop", "name: Shop"),
    (
        "a name too long",
        "name: shop",
        "name: shop-that-has-a-name-much-too-long",
    ),
    ("another kind", "kind: Release", "kind: Deployment"),
    (
        "another version",
        "fridaymorning.dev/v1",
        "fridaymorning.dev/v2",
    ),
    (
        "a duplicate key",
        "  replicas: 4",
        "  replicas: 4\n  replicas: 5",
    ),
    ("a tab", "  replicas: 4", "\treplicas: 4"),
    (
        "a broken bracket",
        "[shop.example.com]",
        "[shop.example.com",
    ),
    ("an unknown alias", "  replicas: 4", "  replicas: *four"),
    ("an unknown tag", "  replicas: 4", "  replicas: !!set 4"),
    ("a list as a name", "  replicas: 4", "  ? [a]\n  : 4"),
    (
        "a terminal's escape",
        "LOG_LEVEL: info",
        "LOG_LEVEL: \"\\e[2J\"",
    ),
    (
        "a duration with a terminal's escape",
        "hold: 60s",
        "hold: \"\\e[2J\"",
    ),
    (
        "an escape of eight bits",
        "labels: {}",
        "labels: { a: \"\\x9b2J\" }",
    ),
    (
        "an invisible end of line",
        "labels: {}",
        "labels: { a: \"a\\u2028b\" }",
    ),
    (
        "two things at once",
        "  replicas: 4",
        "  replicas: x\n  drift: fix",
    ),
    ("a worker with traffic's fields", "  routes:", "  other:"),
];

#[test]
fn each_gets_one_clear_error() {
    let mut text = String::new();
    for (name, from, to) in CASES {
        text.push_str(&format!(
            "## {name}\n{}\n\n",
            told(with(from, to).as_bytes())
        ));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_worker_needs_no_traffic_and_says_what_it_cannot_have() {
    let mut said = Vec::new();
    let worker = GOOD.replace(
        &GOOD[GOOD.find("  routes:").unwrap()..GOOD.find("  affinity:").unwrap()],
        "",
    );
    said.push(told(worker.as_bytes()));
    // Without traffic's fields, with steps of tasks.
    let start = |text: &str| worker.find(text).unwrap();
    let bare = worker.replace(&worker[start("  affinity:")..start("  strategy:")], "");
    for steps in [
        "[{ replicas: 1 }, { replicas: 50%, hold: 1m }, { replicas: 4 }]",
        "[{ weight: 25 }, { weight: 50 }]",
        "[{ hold: 1m }]",
        "[{ replicas: 50% }, { replicas: 1 }]",
        "[{ replicas: 25% }, { replicas: 25% }]",
    ] {
        let from = start("      steps:");
        let to = start("      capacity:");
        let text = bare.replace(&worker[from..to], &format!("      steps: {steps}\n"));
        said.push(format!("{steps}\n{}", told(text.as_bytes())));
    }
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn requests_are_mirrored_before_any_share_or_not_at_all() {
    let (from, to) = ("      steps:", "      capacity:");
    let place = |text: &str| GOOD.find(text).unwrap();
    let mut said = Vec::new();
    for steps in [
        "[{ mirror: 5, hold: 1m }, { mirror: 50, hold: 1m }, { weight: 1, hold: 1m }]",
        "[{ mirror: 5, hold: 1m }]",
        "[{ weight: 1 }, { mirror: 5 }, { weight: 10 }]",
        "[{ mirror: 5, weight: 1 }, { weight: 10 }]",
        "[{ mirror: 5 }, { mirror: 5 }, { weight: 10 }]",
        "[{ mirror: 5, require: nonInferior }, { weight: 10 }]",
        "[{ mirror: 101 }, { weight: 10 }]",
        "[{ mirror: 0 }, { weight: 10 }]",
    ] {
        let text = GOOD.replace(
            &GOOD[place(from)..place(to)],
            &format!("      steps: {steps}\n"),
        );
        said.push(format!("{steps}\n{}", told(text.as_bytes())));
    }
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn a_document_fails_alone() {
    let bad = with("  replicas: 4", "  replicas: x");
    let broken = with("[shop.example.com]", "[shop.example.com");
    let other = with("name: shop", "name: other");
    let comments = "# only words\n";
    let file = format!("{GOOD}---\n{bad}---\n{broken}---\n{comments}---\n---\n{other}...\n");
    let read = manifest::read("all.yaml", file.as_bytes());
    let outcomes: Vec<bool> = read.iter().map(Result::is_ok).collect();
    assert_eq!(outcomes, [true, false, false, true]);
    let lines = GOOD.lines().count();
    let line = |index: usize| read[index].as_ref().unwrap_err()[0].line.unwrap();
    assert!((lines..2 * lines + 2).contains(&line(1)), "{}", line(1));
    assert!(line(2) > 2 * lines + 1, "{}", line(2));
}

#[test]
fn what_is_no_text_is_named_by_its_place() {
    let mut said = Vec::new();
    let mut bytes = GOOD.as_bytes().to_vec();
    let at = GOOD.find("info").unwrap();
    bytes[at] = 0xff;
    bytes.extend_from_slice(b"---\n");
    bytes.extend_from_slice(with("name: shop", "name: other").as_bytes());
    said.push(told(&bytes));
    said.push(told(b"\xff\xfea\x00p\x00"));
    said.push(told("kind: Rel\u{0}ease".as_bytes()));
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn ten_megabytes_are_one_error_and_cost_nothing() {
    let mut said = Vec::new();
    let big = "a: b\n".repeat(2_000_000);
    said.push(told(big.as_bytes()));
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn bombs_do_not_go_off() {
    let mut said = Vec::new();
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..20 {
        let below = level - 1;
        laughs.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{below}"); 9].join(", ")
        ));
    }
    said.push(told(laughs.as_bytes()));
    let text = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(300_000),
        vec!["*a"; 2000].join(", ")
    );
    said.push(told(text.as_bytes()));
    said.push(told(
        format!("a: {}{}", "[".repeat(5000), "]".repeat(5000)).as_bytes(),
    ));
    said.push(told(format!("{}x", "- ".repeat(5000)).as_bytes()));
    said.push(told(b"a: &a [*a]"));
    said.push(told(b"a: &a\n  <<: *a\n"));
    said.push(told("--- x\n".repeat(100_000).as_bytes()));
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn many_mistakes_are_told_within_bounds() {
    let many: String = (0..20_000).map(|n| format!("  field{n}: 1\n")).collect();
    let text = with("  replicas: 4\n", &many);
    let read = manifest::read("many.yaml", text.as_bytes());
    assert!(read[0].as_ref().unwrap_err().len() <= 100);
    let twice = with("  replicas: 4\n", &"  x: 1\n".repeat(20_000));
    let read = manifest::read("many.yaml", twice.as_bytes());
    assert!(read[0].as_ref().unwrap_err().len() <= 100);
}

#[test]
fn gates_that_make_no_sense_are_refused() {
    let mut said = String::new();
    for (what, lines) in [
        (
            "an impossible day",
            "freeze: [{ cron: \"0 0 31 2 *\", duration: 1h }]",
        ),
        (
            "for ever",
            "freeze: [{ cron: \"0 0 * * *\", duration: 24h }]",
        ),
        (
            "for ever together",
            "freeze: [{ cron: \"0 0 * * mon\", duration: 5d }, { cron: \"0 0 * * sat\", duration: 2d }]",
        ),
        (
            "no cron",
            "freeze: [{ cron: \"0 25 * * *\", duration: 1h }]",
        ),
        (
            "no length",
            "freeze: [{ cron: \"0 0 * * *\", duration: 0s }]",
        ),
        (
            "backwards",
            "freeze: [{ from: \"2026-12-27T00:00\", to: \"2026-12-24T00:00\" }]",
        ),
        (
            "over when nobody lives",
            "freeze: [{ from: \"2026-01-01T00:00\", to: \"9999-12-31T23:59\" }]",
        ),
        (
            "no time at all",
            "freeze: [{ from: \"2026-12-27T00:00\", to: \"2026-12-27T00:00\" }]",
        ),
        (
            "a secret, and a header of the request's own",
            "webhooks: [{ name: a, when: beforeRollout, url: \"http://x/\", headers: { Authorization: Bearer x, Host: y, x-team: shop } }]",
        ),
        (
            "no time",
            "freeze: [{ from: tomorrow, to: \"2026-12-24T00:00\" }]",
        ),
        (
            "both",
            "freeze: [{ cron: \"0 0 * * *\", duration: 1h, from: \"2026-12-24T00:00\" }]",
        ),
        (
            "no zone",
            "freeze: [{ cron: \"0 0 * * *\", duration: 1h, timeZone: Europe/Berlinn }]",
        ),
        (
            "no address",
            "webhooks: [{ name: a, when: beforeRollout, url: \"ftp://x/\" }]",
        ),
        (
            "a login",
            "webhooks: [{ name: a, when: beforeRollout, url: \"http://u:secret@x/\" }]",
        ),
        (
            "no moment",
            "webhooks: [{ name: a, when: beforeLunch, url: \"http://x/\" }]",
        ),
        (
            "no step there",
            "webhooks: [{ name: a, when: beforeStep, step: 9, url: \"http://x/\" }]",
        ),
        (
            "no step at all",
            "webhooks: [{ name: a, when: beforePromotion, step: 1, url: \"http://x/\" }]",
        ),
        (
            "a variable that is none",
            "webhooks: [{ name: a, when: beforeStep, url: \"http://x/\", metadata: { b: \"{{imgae}}\" } }]",
        ),
        ("twice", "beforeTraffic: [{ name: a }, { name: a }]"),
        (
            "a variable that is not closed",
            "beforeTraffic: [{ name: a, args: [\"{{revision\"] }]",
        ),
        (
            "no time to run",
            "beforeTraffic: [{ name: a, timeout: 0s }]",
        ),
    ] {
        let text = with("  replicas: 4\n", &format!("  replicas: 4\n  {lines}\n"));
        said.push_str(&format!("{what}\n{}\n\n", told(text.as_bytes())));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn a_large_release_is_refused() {
    let long: Vec<String> = (0..8)
        .map(|n| format!("V{n}: {}", "x".repeat(60_000)))
        .collect();
    let text = with("LOG_LEVEL: info", &long.join(", "));
    insta::assert_snapshot!(told(text.as_bytes()));
}

#[test]
fn what_a_server_finds_wrong_in_a_draft_has_the_place_that_reading_it_here_gives() {
    let text = with("weight: 50", "weight: 101").replacen("replicas: 4", "replicas: -1", 1);
    let here = manifest::read("shop.yaml", text.as_bytes())
        .remove(0)
        .unwrap_err();
    let draft = manifest::drafts("shop.yaml", text.as_bytes())
        .remove(0)
        .unwrap();
    let server = fm_api::validate::json(&draft.value()).unwrap_err();
    assert!(server.iter().all(|problem| problem.line.is_none()));
    assert_eq!(draft.place(server), here);
    assert!(here.len() > 1 && here.iter().all(|problem| problem.line.is_some()));
}
