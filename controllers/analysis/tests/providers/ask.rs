//! Asking as the controller asks: with its logins, under its time limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fm_analysis::metrics::flight::Flights;
use fm_analysis::metrics::plan::Answer;
use fm_analysis::metrics::{Access, Login, Providers, Question};
use fm_api::criteria::metrics::{Metric, PrometheusSource, WebSource};
use fm_api::keys::ReleaseKey;
use fm_api::quantity::{Memory, Span};
use fm_api::target::StepNow;
use jiff::Timestamp;

/// The canary's and stable's revision in every question.
pub(crate) const CANARY: &str = "cafe01";
pub(crate) const STABLE: &str = "5ab1e0";

/// Asks once, as the controller does: in a task of its own, with the metric's time limit.
pub(crate) async fn ask(metric: Metric, access: Access) -> (Answer, Duration) {
    let flights = Flights::new(Arc::new(Providers::new(access, None)));
    let key = ReleaseKey::new("default", "shop");
    let begun = Instant::now();
    flights.start(Question {
        release: key.clone(),
        metric,
        canary: CANARY.into(),
        stable: STABLE.into(),
        run: "run".into(),
        step: Some(StepNow {
            number: 1,
            since: Timestamp::now(),
        }),
        now: Timestamp::now(),
        fence: None,
    });
    loop {
        if let Some((_, answer)) = flights.answers(&key).await.pop() {
            return (answer, begun.elapsed());
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing ends it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A metric that gives up soon.
pub(crate) fn metric() -> Metric {
    let mut metric = Metric {
        name: "checkout".into(),
        timeout: Some(Span::secs(5)),
        ..Metric::default()
    };
    metric.size_limit.0 = Memory::bytes_of(1 << 20);
    metric
}

pub(crate) fn web(url: &str) -> Metric {
    Metric {
        web: Some(WebSource {
            url: url.to_owned(),
            json_path: "$.value".into(),
            ..WebSource::default()
        }),
        ..metric()
    }
}

pub(crate) fn prometheus(address: &str, query: &str, login: Option<&str>) -> Metric {
    Metric {
        prometheus: Some(PrometheusSource {
            address: address.to_owned(),
            query: query.to_owned(),
            auth_ref: login.map(str::to_owned),
        }),
        ..metric()
    }
}

/// With one login, by the name that the metric uses.
pub(crate) fn access(name: &str, login: Login) -> Access {
    Access {
        logins: BTreeMap::from([(name.to_owned(), login)]),
        allowed: None,
    }
}

/// Why there is no value.
pub(crate) fn error(answer: Answer) -> String {
    let Answer::Error(why) = answer else {
        panic!("not an error: {answer:?}");
    };
    why
}
