//! Asks any address that answers JSON for the one number at a JSONPath.

use fm_api::criteria::metrics::{WebMethod, WebSource, json_path};
use serde_json::Value;

use super::http::{self, Client, Request};
use super::plan::Answer;
use super::providers::Asked;

pub(super) async fn ask(
    client: &Client,
    source: &WebSource,
    asked: Asked<'_>,
) -> Result<Answer, Answer> {
    let address = asked.fill(&source.url)?;
    let body = match (source.method, &source.body) {
        (WebMethod::Get, _) => None,
        (WebMethod::Post, None) => Some(String::new()),
        (WebMethod::Post, Some(body)) => Some(asked.fill(body)?),
    };
    let request = Request {
        url: http::url(&address).map_err(Answer::Error)?,
        body: body.map(|body| ("application/json", body)),
        headers: Some(&source.headers),
        auth_ref: source.auth_ref.as_deref(),
        limit: asked.limit(),
    };
    let (status, body) = client.send(request).await.map_err(Answer::Error)?;
    if !(200..300).contains(&status) {
        return Err(Answer::Error(format!(
            "HTTP {status}: {}",
            http::start(&body)
        )));
    }
    Ok(read(&source.json_path, &body))
}

/// The one number at a path of JSON text.
pub(super) fn read(path: &str, body: &[u8]) -> Answer {
    let path = match json_path(path) {
        Ok(path) => path,
        Err(error) => return Answer::Error(format!("this is no JSONPath: {error}")),
    };
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => {
            return Answer::Error(format!(
                "the answer is no JSON: {error}: {}",
                http::start(body)
            ));
        }
    };
    match path.query(&value).all().as_slice() {
        [] => Answer::NoData("the path finds nothing".to_owned()),
        [one] => number(one),
        many => Answer::Error(format!(
            "the path finds {} values, but one is wanted",
            many.len()
        )),
    }
}

/// A number, or why it is none. Text is none, even if it looks like one: who writes it means something else.
pub(super) fn number(value: &Value) -> Answer {
    let what = match value {
        Value::Number(number) => {
            return match number.as_f64().filter(|value| value.is_finite()) {
                Some(value) => Answer::Value(value),
                None => Answer::NoData(number.to_string()),
            };
        }
        Value::Null => return Answer::NoData("null".to_owned()),
        Value::String(text)
            if matches!(
                text.as_str(),
                "NaN" | "Infinity" | "+Inf" | "-Inf" | "-Infinity"
            ) =>
        {
            return Answer::NoData(text.clone());
        }
        Value::String(text) => format!("the text {:?}", text.chars().take(60).collect::<String>()),
        Value::Bool(truth) => format!("the truth value {truth}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    Answer::Error(format!("{what} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_a_value_and_everything_else_is_told_apart() {
        let read = |path: &str, body: &str| read(path, body.as_bytes());
        assert_eq!(read("$.a.b", r#"{"a":{"b":0.5}}"#), Answer::Value(0.5));
        assert_eq!(read("$", "3"), Answer::Value(3.0));
        assert_eq!(
            read(
                "$.c[?@.n=='db'].ms",
                r#"{"c":[{"n":"db","ms":7},{"n":"x","ms":8}]}"#
            ),
            Answer::Value(7.0)
        );
        for (path, body) in [
            ("$.x", "{}"),
            ("$.x", r#"{"x":null}"#),
            ("$.x", r#"{"x":"NaN"}"#),
        ] {
            assert!(matches!(read(path, body), Answer::NoData(_)), "{body}");
        }
        let deep = "[".repeat(100_000);
        for (path, body) in [
            ("$.x", r#"{"x":"0.5"}"#),
            ("$.x", r#"{"x":true}"#),
            ("$..x", r#"[{"x":1},{"x":2}]"#),
            ("$", "NaN"),
            ("$", "[1]"),
            ("$", ""),
            ("$", &deep),
            ("$", "1e999"),
            ("$[", "1"),
        ] {
            assert!(
                matches!(read(path, body), Answer::Error(_)),
                "{path} {:.40}",
                body
            );
        }
    }
}
