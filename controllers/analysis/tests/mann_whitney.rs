//! The Mann-Whitney test against scipy, on samples that are tiny, tied, large, or all the same.

use fm_analysis::metrics::mann_whitney::{shift, test};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    x: Vec<f64>,
    y: Vec<f64>,
    exact: bool,
    u: f64,
    p_greater: f64,
    p_less: f64,
    shift: f64,
    delta: f64,
}

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[test]
fn every_reference_pair_is_met() {
    let text = include_str!("reference/mann_whitney_reference.json");
    let reference: Reference = serde_json::from_str(text).unwrap();
    assert!(reference.cases.len() >= 20);
    for case in &reference.cases {
        let found = test(&case.x, &case.y).unwrap();
        let name = &case.name;
        assert_eq!(found.exact, case.exact, "{name}");
        assert_eq!(found.u, case.u, "{name}");
        for (what, ours, theirs) in [
            ("p greater", found.p_greater, case.p_greater),
            ("p less", found.p_less, case.p_less),
            ("shift", shift(&case.x, &case.y).unwrap(), case.shift),
            ("delta", found.delta, case.delta),
        ] {
            let tolerance = 1e-12 + theirs.abs() * 1e-9;
            assert!(
                (ours - theirs).abs() <= tolerance,
                "{name}: {what} is {ours}, not {theirs}"
            );
        }
    }
}

#[test]
fn nothing_is_compared_with_nothing() {
    assert!(test(&[], &[1.0]).is_none());
    assert!(test(&[1.0], &[]).is_none());
    assert!(shift(&[], &[1.0]).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn both_sides_mirror_each_other_and_probabilities_are_some(
        x in prop::collection::vec(-3i32..4, 1..40),
        y in prop::collection::vec(-3i32..4, 1..40),
    ) {
        let x: Vec<f64> = x.into_iter().map(f64::from).collect();
        let y: Vec<f64> = y.into_iter().map(f64::from).collect();
        let (there, back) = (test(&x, &y).unwrap(), test(&y, &x).unwrap());
        prop_assert!((there.p_greater - back.p_less).abs() < 1e-9);
        prop_assert!((there.delta + back.delta).abs() < 1e-12);
        prop_assert!((shift(&x, &y).unwrap() + shift(&y, &x).unwrap()).abs() < 1e-12);
        for p in [there.p_greater, there.p_less] {
            prop_assert!(p > 0.0 && p <= 1.0 + 1e-9, "{p}");
        }
        prop_assert!(there.p_greater + there.p_less >= 1.0 - 1e-9);
    }
}
