//! A line of what was measured of another system: `{"metric":"checkout","value":0.31}`.

use fm_api::criteria::metrics::Metric;
use serde::Deserialize;
use serde_json::Value;

use crate::metrics::plan::Answer;
use crate::metrics::providers;

const ALLOWED: &str = r#"allowed: {"metric":"checkout","value":0.31}, where the value is a number, null for no data or {"error":"…"}, with "stable":0.3 beside it for a comparison"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    metric: String,
    /// A number, null, or an error; it must be there, so that a slip is no lack of data.
    value: Value,
    #[serde(default)]
    stable: Value,
}

/// The metric's name, and what was answered.
///
/// # Errors
/// What is wrong, and what is allowed.
pub(super) fn read(value: Value, known: &[Metric]) -> Result<(String, Answer), String> {
    let input: Input =
        serde_json::from_value(value).map_err(|error| format!("{error}; {ALLOWED}"))?;
    let name = input.metric;
    let Some(metric) = known.iter().find(|metric| metric.name == name) else {
        let names: Vec<String> = known.iter().map(|m| format!("`{}`", m.name)).collect();
        let allowed = if names.is_empty() {
            "the release has no spec.analysis.metrics".to_owned()
        } else {
            format!("allowed: {}", names.join(", "))
        };
        return Err(format!("the release has no metric `{name}`; {allowed}"));
    };
    let canary = answer(input.value).ok_or(ALLOWED)?;
    if metric.compare.is_some() {
        let stable = answer(input.stable).ok_or(ALLOWED)?;
        return Ok((name, providers::both(canary, stable)));
    }
    if !input.stable.is_null() {
        return Err(format!(
            "`{name}` has no `compare`, so there is no value of stable; {ALLOWED}"
        ));
    }
    Ok((name, canary))
}

fn answer(value: Value) -> Option<Answer> {
    if value.is_null() {
        return Some(Answer::NoData("null".to_owned()));
    }
    if let Some(number) = value.as_f64() {
        return Some(Answer::Value(number));
    }
    let error = value.as_object().filter(|object| object.len() == 1)?;
    Some(Answer::Error(error.get("error")?.as_str()?.to_owned()))
}
