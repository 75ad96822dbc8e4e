//! Asks InfluxDB for one number, in InfluxQL: versions 1, and 2 and 3 by their older door.

use fm_api::criteria::metrics::{InfluxSource, reads_only};
use serde::Deserialize;
use serde_json::Value;

use super::http::{self, Client, Request};
use super::plan::Answer;
use super::providers::Asked;
use super::web;

pub(super) async fn ask(
    client: &Client,
    source: &InfluxSource,
    asked: Asked<'_>,
) -> Result<Answer, Answer> {
    let query = asked.fill(&source.query)?;
    reads_only(&query).map_err(|wrong| Answer::Error(wrong.to_owned()))?;
    let mut url = http::url(&format!("{}/query", source.address.trim_end_matches('/')))
        .map_err(Answer::Error)?;
    // GET, because with it newer versions change nothing, whatever the query says.
    let pairs = [
        ("db", source.database.as_str()),
        ("q", query.as_str()),
        ("epoch", "ms"),
    ];
    url.query_pairs_mut().extend_pairs(pairs);
    let request = Request {
        url,
        body: None,
        headers: None,
        auth_ref: source.auth_ref.as_deref(),
        limit: asked.limit(),
    };
    let (status, body) = client.send(request).await.map_err(Answer::Error)?;
    Ok(read(status, &body))
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    results: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    series: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    columns: Vec<String>,
    #[serde(default)]
    values: Vec<Vec<Value>>,
}

fn read(status: u16, body: &[u8]) -> Answer {
    let reply: Reply = match serde_json::from_slice(body) {
        Ok(reply) => reply,
        Err(_) => {
            return Answer::Error(format!(
                "HTTP {status}, and no answer of InfluxDB: {}",
                http::start(body)
            ));
        }
    };
    let problem = reply.error.or_else(|| {
        reply
            .results
            .iter()
            .find_map(|statement| statement.error.clone())
    });
    if let Some(problem) = problem {
        return Answer::Error(format!("HTTP {status}: {problem}"));
    }
    if !(200..300).contains(&status) {
        return Answer::Error(format!("HTTP {status}"));
    }
    let series: Vec<Series> = reply
        .results
        .into_iter()
        .flat_map(|statement| statement.series)
        .collect();
    let series = match <[Series; 1]>::try_from(series) {
        Ok([series]) => series,
        Err(none) if none.is_empty() => {
            return Answer::NoData("the query finds no series".to_owned());
        }
        Err(many) => {
            return Answer::Error(format!(
                "the query gives {} series, but one is wanted",
                many.len()
            ));
        }
    };
    let row = match series.values.as_slice() {
        [row] => row,
        [] => return Answer::NoData("the query finds no value".to_owned()),
        many => {
            return Answer::Error(format!(
                "the query gives {} rows, but one is wanted",
                many.len()
            ));
        }
    };
    let named = series
        .columns
        .iter()
        .zip(row)
        .filter(|(name, _)| *name != "time");
    match named.collect::<Vec<_>>().as_slice() {
        [(_, value)] => web::number(value),
        many => Answer::Error(format!(
            "the query gives {} values, but one is wanted",
            many.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_a_value_and_everything_else_is_told_apart() {
        let reply =
            |series: &str| format!(r#"{{"results":[{{"statement_id":0,"series":[{series}]}}]}}"#);
        let one = r#"{"name":"cpu","columns":["time","mean"],"values":[[0,0.31]]}"#;
        assert_eq!(read(200, reply(one).as_bytes()), Answer::Value(0.31));
        for none in [
            "",
            r#"{"name":"cpu","columns":["time","mean"],"values":[]}"#,
            r#"{"name":"cpu","columns":["time","mean"],"values":[[0,null]]}"#,
        ] {
            assert!(
                matches!(read(200, reply(none).as_bytes()), Answer::NoData(_)),
                "{none}"
            );
        }
        assert!(matches!(
            read(200, br#"{"results":[{"statement_id":0}]}"#),
            Answer::NoData(_)
        ));
        let wrong = [
            reply(&format!("{one},{one}")),
            reply(r#"{"name":"cpu","columns":["time","mean"],"values":[[0,1],[1,2]]}"#),
            reply(r#"{"name":"cpu","columns":["time","a","b"],"values":[[0,1,2]]}"#),
            reply(r#"{"name":"cpu","columns":["time","mean"],"values":[[0,"high"]]}"#),
            r#"{"results":[{"statement_id":0,"error":"database not found: x"}]}"#.to_owned(),
            r#"{"error":"authorization failed"}"#.to_owned(),
            "nothing".to_owned(),
        ];
        for body in wrong {
            assert!(
                matches!(read(200, body.as_bytes()), Answer::Error(_)),
                "{body}"
            );
        }
    }
}
