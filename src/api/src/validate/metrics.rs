//! Metrics of other systems: what their schema cannot say.

use std::collections::BTreeSet;

use crate::criteria::metrics::{Compare, Metric, json_path, origin, reads_only};
use crate::criteria::template;
use crate::problem::{Problem, shown};
use crate::quantity::Span;
use crate::release::ReleaseSpec;
use crate::strategy::Course;

use super::image;
use super::meaning::span;

/// Names that the verdict uses for its own criteria.
const OURS: [&str; 3] = ["errors", "latency", "guard"];
const HOUR: Span = Span::secs(3600);
const DAY: Span = Span::secs(86_400);
/// An answer is held in memory while it is read.
const LARGEST: u64 = 64 << 20;

/// Adds what is wrong with the meaning of the metrics.
pub(super) fn problems(found: &mut Vec<Problem>, spec: &ReleaseSpec) {
    let analysis = &spec.analysis;
    if analysis.disabled && !analysis.metrics.is_empty() {
        found.push(
            Problem::new(
                "spec.analysis.metrics",
                "the analysis is disabled, so nothing would be measured",
            )
            .allowed("`[]`, or an analysis that is not disabled"),
        );
    }
    let steps = Course::of(&spec.strategy).map_or(0, |course| course.steps.len());
    let mut names = BTreeSet::new();
    for (index, metric) in analysis.metrics.iter().enumerate() {
        let path = format!("spec.analysis.metrics[{index}]");
        if OURS.contains(&metric.name.as_str()) {
            found.push(
                Problem::new(
                    format!("{path}.name"),
                    format!("`{}` is the name of a criterion of its own", metric.name),
                )
                .allowed("any other name"),
            );
        } else if !names.insert(metric.name.as_str()) {
            found.push(
                Problem::new(
                    format!("{path}.name"),
                    format!("`{}` is given twice", metric.name),
                )
                .allowed("each name once"),
            );
        }
        one(found, &path, metric, steps);
    }
}

fn one(found: &mut Vec<Problem>, path: &str, metric: &Metric, steps: usize) {
    source(found, path, metric);
    bounds(found, path, metric);
    if let Some(compare) = &metric.compare {
        comparison(found, path, metric, compare);
    }
    for (field, text) in metric.templated() {
        for name in template::unknown(text) {
            let mut what = format!("{name} is no variable");
            if !name.ends_with("}}") {
                what = format!("`{name}` is not closed");
            }
            found.push(Problem::new(format!("{path}.{field}"), what).allowed(template::names()));
        }
    }
    span(
        found,
        format!("{path}.interval"),
        metric.interval.0,
        Span::secs(1),
        DAY,
    );
    span(
        found,
        format!("{path}.initialDelay"),
        metric.initial_delay.0,
        Span::ZERO,
        DAY,
    );
    if let Some(timeout) = metric.timeout {
        span(
            found,
            format!("{path}.timeout"),
            timeout,
            Span::millis(10),
            HOUR,
        );
    }
    if metric.size_limit.0.bytes() > LARGEST {
        found.push(
            Problem::new(
                format!("{path}.sizeLimit"),
                format!("{} is more than the maximum 64Mi", metric.size_limit.0),
            )
            .allowed("an amount of memory up to 64Mi"),
        );
    }
    if let Some(step) = metric.step
        && step as usize > steps
    {
        found.push(
            Problem::new(format!("{path}.step"), format!("there is no step {step}"))
                .allowed(format!("1 to {steps}, or none for the whole rollout")),
        );
    }
}

fn source(found: &mut Vec<Problem>, path: &str, metric: &Metric) {
    let given: Vec<&str> = [
        metric.prometheus.as_ref().map(|_| "prometheus"),
        metric.influx.as_ref().map(|_| "influx"),
        metric.web.as_ref().map(|_| "web"),
        metric.job.as_ref().map(|_| "job"),
    ]
    .into_iter()
    .flatten()
    .collect();
    const ONE: &str = "exactly one of `prometheus`, `influx`, `web` and `job`";
    match given.as_slice() {
        [_] => {}
        [] => found.push(Problem::new(path, "it has no source").allowed(ONE)),
        many => {
            let what = format!("it has {} sources: {}", many.len(), many.join(", "));
            found.push(Problem::new(path, what).allowed(ONE));
        }
    }
    let addresses = [
        (
            "prometheus.address",
            metric.prometheus.as_ref().map(|s| &s.address),
        ),
        ("influx.address", metric.influx.as_ref().map(|s| &s.address)),
        ("web.url", metric.web.as_ref().map(|s| &s.url)),
    ];
    for (field, address) in addresses {
        let Some(address) = address else { continue };
        let fixed =
            field != "web.url" && (template::is_templated(address) || address.contains('?'));
        let wrong = match origin(address) {
            Err(error) => Some(error),
            Ok(_) if fixed => Some("it has a query or a variable".to_owned()),
            Ok(_) => None,
        };
        if let Some(wrong) = wrong {
            found.push(
                Problem::new(
                    format!("{path}.{field}"),
                    format!("this is no address: {wrong}"),
                )
                .allowed(
                    "an address such as `http://prometheus:9090`, http or https, without a login",
                ),
            );
        }
    }
    if let Some(influx) = &metric.influx
        && let Err(allowed) = reads_only(&influx.query)
    {
        let what = "the query may change what is stored";
        found.push(Problem::new(format!("{path}.influx.query"), what).allowed(allowed));
    }
    if let Some(web) = &metric.web {
        path_of_json(found, format!("{path}.web.jsonPath"), Some(&web.json_path));
        if web.body.is_some() && web.method == crate::criteria::metrics::WebMethod::Get {
            found.push(
                Problem::new(format!("{path}.web.body"), "a GET has no body")
                    .allowed("no `body`, or `method: POST`"),
            );
        }
    }
    if let Some(job) = &metric.job {
        path_of_json(
            found,
            format!("{path}.job.jsonPath"),
            job.json_path.as_ref(),
        );
        if let Some(wrong) = image::wrong(&job.image) {
            let what = format!("{} is no image reference: {wrong}", shown(&job.image));
            found
                .push(Problem::new(format!("{path}.job.image"), what).allowed(
                    "`name:tag`, `registry:port/name:tag`, `name@sha256:…` or `sha256:…`",
                ));
        }
    }
}

fn path_of_json(found: &mut Vec<Problem>, path: String, text: Option<&String>) {
    if let Some(Err(error)) = text.map(|text| json_path(text)) {
        found.push(
            Problem::new(path, format!("this is no JSONPath: {error}"))
                .allowed("a JSONPath such as `$.data.rate` or `$.checks[?@.name == 'db'].latency`"),
        );
    }
}

fn bounds(found: &mut Vec<Problem>, path: &str, metric: &Metric) {
    let any = [metric.min, metric.max, metric.fail_below, metric.fail_above]
        .iter()
        .any(Option::is_some);
    let exit_code = metric
        .job
        .as_ref()
        .is_some_and(|job| job.json_path.is_none());
    match (
        &metric.compare,
        metric.min.is_some() || metric.max.is_some(),
    ) {
        (Some(_), _) if any => found.push(
            Problem::new(path, "it has bounds and a comparison")
                .allowed("`compare`, or `min` and `max`"),
        ),
        (None, false) if !exit_code => found.push(
            Problem::new(path, "it has no bounds").allowed("`min`, `max` or both, or `compare`"),
        ),
        _ => {}
    }
    let mut order = |field: &str, low: Option<f64>, high: Option<f64>, words: &str| {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            found.push(
                Problem::new(
                    format!("{path}.{field}"),
                    format!("{low} is more than {high}"),
                )
                .allowed(words),
            );
        }
    };
    order("min", metric.min, metric.max, "`min` at most `max`");
    order(
        "failBelow",
        metric.fail_below,
        metric.min,
        "`failBelow` at most `min`",
    );
    order(
        "failAbove",
        metric.max,
        metric.fail_above,
        "`failAbove` at least `max`",
    );
    for (field, bound, beside, name) in [
        ("failBelow", metric.fail_below, metric.min, "min"),
        ("failAbove", metric.fail_above, metric.max, "max"),
    ] {
        if bound.is_some() && beside.is_none() {
            found.push(
                Problem::new(
                    format!("{path}.{field}"),
                    format!("it widens `{name}`, which is not given"),
                )
                .allowed(format!("`{name}` beside it")),
            );
        }
    }
}

fn comparison(found: &mut Vec<Problem>, path: &str, metric: &Metric, compare: &Compare) {
    let both = metric.templated().iter().any(|(_, text)| {
        template::fill(text, |name| (name != "revision").then(String::new)).is_err()
    });
    if !both {
        found.push(
            Problem::new(
                format!("{path}.compare"),
                "its source never says {{revision}}, so both sides would be one series",
            )
            .allowed("{{revision}} in the query"),
        );
    }
    if let Some(count) = metric.count
        && count < compare.min_samples
    {
        found.push(
            Problem::new(
                format!("{path}.count"),
                format!(
                    "{count} is less than compare.minSamples, {}: there would be no look",
                    compare.min_samples
                ),
            )
            .allowed(format!("at least {}", compare.min_samples)),
        );
    }
    if metric.on_no_data != crate::criteria::metrics::OnNoData::Hold {
        found.push(
            Problem::new(
                format!("{path}.onNoData"),
                "a comparison needs values: their absence can be neither good nor bad",
            )
            .allowed("`hold`"),
        );
    }
    // At no tolerance a canary exactly as good as stable could never be shown to be good enough.
    if !(compare.tolerance > 0.0 && compare.tolerance.is_finite()) {
        found.push(
            Problem::new(
                format!("{path}.compare.tolerance"),
                format!("{} is not more than 0", compare.tolerance),
            )
            .allowed("a number, more than 0, in the unit of the series"),
        );
    }
}
