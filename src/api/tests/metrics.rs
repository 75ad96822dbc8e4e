//! Metrics of other systems in a manifest: each mistake gets one clear error, and the rest is filled in.

#![expect(
    clippy::unwrap_used,
    reason = "the steps that tests share fail the test"
)]

use fm_api::manifest;

const GOOD: &str = "\
apiVersion: fridaymorning.dev/v1
kind: Release
metadata: { name: shop }
spec:
  workload: { image: \"shop:1.4.2\" }
  routes: [{ hosts: [shop.example.com], port: 8080 }]
  strategy: { canary: { steps: [{ weight: 10, hold: 1m }, { weight: 50, hold: 1m }] } }
  analysis:
    metrics:
      - name: checkout
        prometheus:
          address: http://prometheus:9090
          query: 'rate(ok{revision=\"{{revision}}\"}[1m])'
        min: 0.2
        interval: 30s
        failureLimit: 1
        onNoData: hold
";

const JOB: &str = "job: { image: 'smoke:1', args: [\"{{release}}\"] }";
const WEB: &str =
    "web: { url: 'https://shop.example.com/health?r={{revision}}', jsonPath: $.rate }";
const INFLUX: &str =
    "influx: { address: 'http://influx:8086', database: shop, query: 'SELECT last(x) FROM y' }";

fn with_source(source: &str) -> String {
    let from = GOOD.find("prometheus:\n").unwrap();
    let to = GOOD.find("        min:").unwrap();
    format!("{}{source}\n{}", &GOOD[..from], &GOOD[to..])
}

fn told(text: &str) -> String {
    let read = manifest::read("shop.yaml", text.as_bytes());
    let said: Vec<String> = read
        .into_iter()
        .map(|document| match document {
            Ok(_) => "accepted".to_owned(),
            Err(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                lines.join("\n")
            }
        })
        .collect();
    said.join("\n---\n")
}

#[test]
fn what_is_left_out_has_its_default() {
    let read = manifest::read("shop.yaml", GOOD.as_bytes())
        .remove(0)
        .unwrap();
    insta::assert_json_snapshot!(read.spec.analysis.metrics);
}

#[test]
fn every_source_is_accepted() {
    for source in [WEB, INFLUX, JOB] {
        assert_eq!(told(&with_source(source)), "accepted", "{source}");
    }
    let compared = GOOD.replace("min: 0.2", "compare: { tolerance: 5, worse: lower }");
    assert_eq!(told(&compared), "accepted");
    let without = GOOD
        .replace("    metrics:", "    metrics: []\n")
        .split_once("      - name")
        .unwrap()
        .0
        .to_owned();
    assert_eq!(told(&without), "accepted");
}

/// What each case is about, what of the good manifest is replaced, and by what.
const CASES: &[(&str, &str, &str)] = &[
    ("a variable nobody knows", "{{revision}}", "{{revison}}"),
    (
        "a variable that is not closed",
        "{{revision}}",
        "{{revision",
    ),
    ("no bounds", "        min: 0.2\n", ""),
    (
        "bounds and a comparison",
        "min: 0.2",
        "min: 0.2\n        compare: { tolerance: 1 }",
    ),
    ("min beyond max", "min: 0.2", "min: 0.2\n        max: 0.1"),
    (
        "doubt on the wrong side",
        "min: 0.2",
        "min: 0.2\n        failBelow: 0.3",
    ),
    (
        "doubt beside nothing",
        "min: 0.2",
        "min: 0.2\n        failAbove: 0.3",
    ),
    ("a bound that is text", "min: 0.2", "min: \"0.2\""),
    (
        "two sources",
        "        min: 0.2",
        "        job: { image: x }\n        min: 0.2",
    ),
    (
        "an address of no web",
        "http://prometheus:9090",
        "ftp://prometheus",
    ),
    (
        "an address without a scheme",
        "http://prometheus:9090",
        "prometheus:9090",
    ),
    (
        "a login in the address",
        "http://prometheus:9090",
        "http://user:pass@prometheus:9090",
    ),
    (
        "a variable in the host",
        "http://prometheus:9090",
        "http://{{release}}:9090",
    ),
    (
        "a port of nothing",
        "http://prometheus:9090",
        "http://prometheus:0",
    ),
    ("an interval too small", "interval: 30s", "interval: 500ms"),
    ("a timeout too long", "interval: 30s", "timeout: 2h"),
    ("an answer too large", "interval: 30s", "sizeLimit: 1Gi"),
    ("a name of ours", "name: checkout", "name: errors"),
    ("a name with spaces", "name: checkout", "name: check out"),
    (
        "an unknown word for no data",
        "onNoData: hold",
        "onNoData: ignore",
    ),
    ("a count of nothing", "interval: 30s", "count: 0"),
    ("a step that is not there", "interval: 30s", "step: 3"),
    ("a secret in the manifest", "interval: 30s", "token: abc"),
    (
        "a comparison without a look",
        "min: 0.2",
        "compare: { tolerance: 1 }\n        count: 5",
    ),
    (
        "a tolerance of nothing",
        "min: 0.2",
        "compare: { tolerance: 0 }",
    ),
    ("a comparison without tolerance", "min: 0.2", "compare: {}"),
    (
        "a disabled analysis",
        "    metrics:",
        "    disabled: true\n    metrics:",
    ),
    (
        "twice the same name",
        "        onNoData: hold\n",
        "        onNoData: hold\n      - { name: checkout, min: 1, job: { image: x } }\n",
    ),
];

#[test]
fn each_mistake_gets_one_clear_error() {
    let mut text = String::new();
    for (name, from, to) in CASES {
        assert!(GOOD.contains(from), "{name}");
        text.push_str(&format!(
            "## {name}\n{}\n\n",
            told(&GOOD.replacen(from, to, 1))
        ));
    }
    for (name, source) in [
        (
            "a bad JSONPath",
            "web: { url: 'http://x/', jsonPath: '$.[' }",
        ),
        ("a GET with a body", "web: { url: 'http://x/', body: '{}' }"),
        ("no source", "interval: 1m"),
        ("a job's bad image", "job: { image: 'Shop 1' }"),
        (
            "a query that changes something",
            "influx: { address: 'http://i:8086', database: shop, query: 'DROP DATABASE shop' }",
        ),
    ] {
        let text_of = with_source(source).replace("interval: 30s\n        ", "");
        text.push_str(&format!("## {name}\n{}\n\n", told(&text_of)));
    }
    let one_series = GOOD
        .replace("{{revision}}", "{{release}}")
        .replace("min: 0.2", "compare: { tolerance: 1 }");
    text.push_str(&format!(
        "## a comparison of one series\n{}\n\n",
        told(&one_series)
    ));
    insta::assert_snapshot!(text);
}
