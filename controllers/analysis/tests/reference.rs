//! Checked input and output pairs of the method.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use fm_analysis::pmix::{self, Counts, Question, Sums};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    kind: String,
    input: Value,
    expected: Value,
}

fn close(found: f64, wanted: f64, tolerance: f64, what: &str) {
    let error = (found - wanted).abs();
    assert!(
        error <= tolerance || error <= tolerance * wanted.abs(),
        "{what}: {found} instead of {wanted}"
    );
}

fn floats(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn batches(value: &Value) -> Vec<Counts> {
    let rows: Vec<[u64; 4]> = serde_json::from_value(value.clone()).unwrap();
    rows.into_iter()
        .map(|[x, y, n_c, n_s]| Counts { x, y, n_c, n_s })
        .collect()
}

fn question(input: &Value) -> Question {
    let question = match input["side"].as_str().unwrap() {
        "harm" => Question::Harm,
        _ => Question::NonInferiority,
    };
    assert_eq!(floats(&input["grid"]), question.grid());
    question
}

fn pmix_case(case: &Case) {
    let question = question(&case.input);
    let mut sums = Sums::default();
    for counts in batches(&case.input["batches"]) {
        sums.add(question, number(&case.input["r0"]), counts);
    }
    for (name, found) in [("S", sums.s), ("C", sums.c)] {
        for (found, wanted) in found.iter().zip(floats(&case.expected[name])) {
            close(*found, wanted, 1e-9, &case.id);
        }
    }
    let wanted = floats(&case.expected["log_e"]);
    for (d, wanted) in floats(&case.input["deltas"]).iter().zip(wanted) {
        let found = sums.log_e(*d, number(&case.input["deff"]));
        close(found, wanted, 1e-9, &case.id);
    }
}

fn path_case(case: &Case) {
    let (input, question) = (&case.input, question(&case.input));
    let mut sums = Sums::default();
    let needed = pmix::threshold(number(&input["alpha"]));
    let (bad, stable_bad) = (floats(&input["x"]), floats(&input["y"]));
    let wanted = floats(&case.expected["log_e"]);
    assert_eq!(bad.len(), wanted.len());
    let mut crossing = None;
    for (batch, ((x, y), wanted)) in bad.iter().zip(&stable_bad).zip(wanted).enumerate() {
        let counts = Counts {
            x: *x as u64,
            y: *y as u64,
            n_c: input["n_c"].as_u64().unwrap(),
            n_s: input["n_s"].as_u64().unwrap(),
        };
        sums.add(question, number(&input["r0"]), counts);
        let found = sums.log_e(number(&input["delta"]), 1.0);
        close(found, wanted, 1e-9, &format!("{} batch {batch}", case.id));
        if found >= needed {
            crossing.get_or_insert(batch);
        }
    }
    let wanted = case.expected["first_crossing_batch_index"].as_u64();
    assert_eq!(crossing.map(|batch| batch as u64), wanted, "{}", case.id);
}

fn bounds_case(case: &Case) {
    let input = &case.input;
    let (mut harm, mut other) = (Sums::default(), Sums::default());
    for counts in batches(&input["batches"]) {
        harm.add(Question::Harm, number(&input["r0"]), counts);
        other.add(Question::NonInferiority, number(&input["r0"]), counts);
    }
    assert_eq!(floats(&input["harm_grid"]), Question::Harm.grid());
    assert_eq!(floats(&input["ni_grid"]), Question::NonInferiority.grid());
    let (lower, upper) = pmix::bounds(&harm, &other, number(&input["alpha"]), 1.0);
    close(lower, number(&case.expected["lower"]), 1e-8, &case.id);
    close(upper, number(&case.expected["upper"]), 1e-8, &case.id);
}

#[test]
fn every_reference_pair_is_met() {
    let text = include_str!("reference/pmix_reference.json");
    let reference: Reference = serde_json::from_str(text).unwrap();
    let mut checked = 0;
    for case in &reference.cases {
        match case.kind.as_str() {
            "pmix" => pmix_case(case),
            "pmix_path" => path_case(case),
            "cs_diff" => bounds_case(case),
            // Of tests that later work brings: nothing here computes these yet.
            "beta_binomial_cs" | "mann_whitney" | "quantile" => continue,
            kind => panic!("{}: unknown kind {kind}", case.id),
        }
        checked += 1;
    }
    assert_eq!(checked, 12);
}

fn binomial(n: u64, k: u64, p: f64) -> f64 {
    let choose: f64 = (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product();
    choose * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32)
}

/// The factor's exact expectation at the null hypothesis' edge, over every outcome of a batch.
fn expectation(question: Question, r0: f64, d: f64, stable: f64, n: (u64, u64)) -> f64 {
    let canary = r0 * stable + d;
    let mut sum = 0.0;
    for x in 0..=n.0 {
        for y in 0..=n.1 {
            let mut sums = Sums::default();
            let counts = Counts {
                x,
                y,
                n_c: n.0,
                n_s: n.1,
            };
            sums.add(question, r0, counts);
            sum += binomial(n.0, x, canary) * binomial(n.1, y, stable) * sums.log_e(d, 1.0).exp();
        }
    }
    sum
}

#[test]
fn no_batch_makes_evidence_out_of_nothing() {
    for question in [Question::Harm, Question::NonInferiority] {
        for r0 in [1.0, 1.1, 1.5] {
            for d in [0.0, 0.001, 0.02] {
                for stable in [0.0, 0.001, 0.005, 0.05, 0.3, 0.6] {
                    for n in [(1, 1), (1, 20), (5, 5), (10, 40), (20, 3)] {
                        let found = expectation(question, r0, d, stable, n);
                        let what = format!("{question:?} r0 {r0} d {d} p {stable} n {n:?}");
                        assert!(found <= 1.0 + 1e-9, "{what}: {found}");
                    }
                }
            }
        }
    }
}
