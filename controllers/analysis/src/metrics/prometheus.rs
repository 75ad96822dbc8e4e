//! Asks Prometheus, or what speaks as it does, for one number.

use fm_api::criteria::metrics::PrometheusSource;
use serde::Deserialize;
use serde_json::Value;

use super::http::{self, Client, Request};
use super::plan::Answer;
use super::providers::Asked;

pub(super) async fn ask(
    client: &Client,
    source: &PrometheusSource,
    asked: Asked<'_>,
) -> Result<Answer, Answer> {
    let query = asked.fill(&source.query)?;
    let address = format!("{}/api/v1/query", source.address.trim_end_matches('/'));
    let request = Request {
        url: http::url(&address).map_err(Answer::Error)?,
        body: Some((
            "application/x-www-form-urlencoded",
            http::form(&[("query", &query)]),
        )),
        headers: None,
        auth_ref: source.auth_ref.as_deref(),
        limit: asked.limit(),
    };
    let (status, body) = client.send(request).await.map_err(Answer::Error)?;
    Ok(read(status, &body))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

#[derive(Deserialize)]
struct Series {
    value: (f64, String),
}

fn read(status: u16, body: &[u8]) -> Answer {
    let reply: Reply = match serde_json::from_slice(body) {
        Ok(reply) => reply,
        Err(_) => {
            return Answer::Error(format!(
                "HTTP {status}, and no answer of Prometheus: {}",
                http::start(body)
            ));
        }
    };
    if reply.status != "success" || !(200..300).contains(&status) {
        return Answer::Error(format!("HTTP {status}: {}", reply.error));
    }
    let Some(Data {
        result_type,
        result,
    }) = reply.data
    else {
        return Answer::Error("the answer has no data".to_owned());
    };
    let one: Result<String, Answer> = match result_type.as_str() {
        "scalar" => serde_json::from_value::<(f64, String)>(result)
            .map(|(_, value)| value)
            .map_err(|error| Answer::Error(format!("the answer cannot be read: {error}"))),
        "vector" => match serde_json::from_value::<Vec<Series>>(result) {
            Ok(series) => match <[Series; 1]>::try_from(series) {
                Ok([series]) => Ok(series.value.1),
                Err(series) if series.is_empty() => {
                    Err(Answer::NoData("the query finds no series".to_owned()))
                }
                Err(series) => Err(Answer::Error(format!(
                    "the query gives {} series, but one is wanted",
                    series.len()
                ))),
            },
            Err(error) => Err(Answer::Error(format!("the answer cannot be read: {error}"))),
        },
        other => Err(Answer::Error(format!(
            "the query gives a {other}, but one number is wanted"
        ))),
    };
    match one {
        Ok(text) => number(&text),
        Err(problem) => problem,
    }
}

/// Prometheus writes numbers as text: `0.31`, `NaN`, `+Inf`.
fn number(text: &str) -> Answer {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Answer::Value(value),
        Ok(_) => Answer::NoData(text.to_owned()),
        Err(_) => Answer::Error(format!("{text:?} is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(values: &[&str]) -> String {
        let series: Vec<Value> = values
            .iter()
            .map(|v| serde_json::json!({ "metric": {}, "value": [1.5, v] }))
            .collect();
        serde_json::json!({ "status": "success", "data": { "resultType": "vector", "result": series } }).to_string()
    }

    #[test]
    fn one_number_is_a_value_and_everything_else_is_told_apart() {
        assert_eq!(read(200, vector(&["0.31"]).as_bytes()), Answer::Value(0.31));
        assert_eq!(
            read(
                200,
                br#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#
            ),
            Answer::Value(2.0)
        );
        for none in ["NaN", "+Inf", "-Inf"] {
            assert!(
                matches!(read(200, vector(&[none]).as_bytes()), Answer::NoData(_)),
                "{none}"
            );
        }
        assert!(matches!(
            read(200, vector(&[]).as_bytes()),
            Answer::NoData(_)
        ));
        let wrong: [&[u8]; 7] = [
            &vector(&["1", "2"]).into_bytes(),
            &vector(&["one"]).into_bytes(),
            br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            br#"{"status":"success","data":{"resultType":"string","result":[1,"2"]}}"#,
            br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
            br#"{"status":"success"}"#,
            b"<html>",
        ];
        for body in wrong {
            assert!(
                matches!(read(200, body), Answer::Error(_)),
                "{}",
                String::from_utf8_lossy(body)
            );
        }
        assert!(matches!(
            read(503, vector(&["1"]).as_bytes()),
            Answer::Error(_)
        ));
    }
}
