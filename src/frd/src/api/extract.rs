//! What requests say in their path, query, headers and by who sends them.

use axum::extract::{ConnectInfo, FromRequestParts, Path, Query};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use fm_api::keys::ReleaseKey;
use fm_api::problem::Problem;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::door::Caller;
use crate::users;

/// The release that the path names. Its parts hold nothing that could lead to another key of the store.
pub(super) struct Key(pub(super) ReleaseKey);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path((namespace, name)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::request(error.body_text()))?;
        check_name("metadata.namespace", &namespace, 20)?;
        check_name("metadata.name", &name, 26)?;
        Ok(Self(ReleaseKey::new(&namespace, &name)))
    }
}

/// The namespace that the path names.
pub(super) struct Namespace(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Namespace {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(namespace) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::request(error.body_text()))?;
        check_name("metadata.namespace", &namespace, 20)?;
        Ok(Self(namespace))
    }
}

pub(super) fn check_name(path: &str, text: &str, most: usize) -> Result<(), ApiError> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = (1..=most).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        return Ok(());
    }
    let problem = Problem::new(path, format!("`{}` is no name", text.escape_debug())).allowed(
        format!("1 to {most} lower-case letters, digits and `-`, not at the ends"),
    );
    Err(ApiError::invalid("the address", vec![problem]))
}

/// The query, read into a type that refuses unknown parameters.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(params) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::request(error.body_text()))?;
        Ok(Self(params))
    }
}

/// The name of who asks.
pub(super) struct Who(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Uid(uid) = Uid::from_request_parts(parts, state).await?;
        Ok(Self(
            uid.map_or_else(|| "unknown".to_owned(), users::user_name),
        ))
    }
}

/// Whose connection it is.
pub(super) struct From(pub(super) Caller);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let ConnectInfo(caller) = ConnectInfo::<Caller>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(Self(caller))
    }
}

/// The id of who asks.
pub(super) struct Uid(pub(super) Option<u32>);

impl<S: Send + Sync> FromRequestParts<S> for Uid {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let From(caller) = From::from_request_parts(parts, state).await?;
        Ok(Self(match caller {
            Caller::User(uid) => Some(uid),
            Caller::Address(_) | Caller::Unknown => None,
        }))
    }
}

/// The generation that `If-Match` asks for.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get("if-match") else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.trim().trim_matches('"').parse().ok())
        .map(Some)
        .ok_or_else(|| {
            ApiError::request(
                "If-Match is no generation; allowed: the number in metadata.generation",
            )
        })
}
