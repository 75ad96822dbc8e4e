//! Reading a request's body: bounded in size and time, UTF-8, JSON.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::Value;

use super::error::ApiError;

/// The largest body that is taken in.
pub(super) const LIMIT: usize = 1 << 20;
/// What is read of a larger one, so that its sender hears why it is refused and not only a broken pipe.
const DISCARD: usize = 64 << 20;
const TIME: Duration = Duration::from_secs(30);

/// The body as JSON.
pub(super) async fn json(body: Body) -> Result<Value, ApiError> {
    let bytes = bytes(body).await?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        ApiError::request(format!(
            "the body is not UTF-8 (byte {})",
            error.valid_up_to() + 1
        ))
    })?;
    serde_json::from_str(text)
        .map_err(|error| ApiError::request(format!("the body is no JSON: {error}")))
}

/// The body as JSON; an empty one counts as `{}`.
pub(super) async fn json_or_nothing(body: Body) -> Result<Value, ApiError> {
    let bytes = bytes(body).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    json(Body::from(bytes)).await
}

async fn bytes(body: Body) -> Result<Vec<u8>, ApiError> {
    tokio::time::timeout(TIME, collect(body))
        .await
        .unwrap_or_else(|_| {
            Err(ApiError::too_slow(format!(
                "the body did not come within {} s",
                TIME.as_secs()
            )))
        })
}

async fn collect(mut body: Body) -> Result<Vec<u8>, ApiError> {
    let mut kept = Vec::new();
    let mut size = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| ApiError::request(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        size += data.len();
        if size > DISCARD {
            break;
        }
        if size > LIMIT {
            kept = Vec::new();
        } else {
            kept.extend_from_slice(&data);
        }
    }
    if size > LIMIT {
        return Err(ApiError::too_large(format!(
            "the body is too large; allowed: up to {LIMIT} bytes"
        )));
    }
    Ok(kept)
}
