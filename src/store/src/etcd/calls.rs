//! One call to etcd: its time limit, its errors in our words, and the renewal of the token.

use std::sync::Arc;
use std::time::Duration;

use super::Options;
use crate::StoreError;
use etcd_client::{Client, Error};

/// The most that a call may take.
const LIMIT: Duration = Duration::from_secs(5);
/// What finding out why may take.
const PROBE: Duration = Duration::from_millis(500);

/// The numbers of gRPC's status codes that matter here.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const ALREADY_EXISTS: i32 = 6;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

/// The client, and all that is needed to renew its token.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    options: Arc<Options>,
}

impl Connection {
    pub(super) fn new(client: Client, options: Options) -> Self {
        Self {
            client,
            options: Arc::new(options),
        }
    }

    pub(super) fn endpoints(&self) -> String {
        self.options.endpoints.join(",")
    }

    /// Does a call, and does it again with a new token when etcd no longer knows the old one.
    pub(super) async fn call<T, F>(&self, call: impl Fn(&Client) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let work = async {
            match call(&self.client).await {
                Err(error) if self.options.username.is_some() && token_is_old(&error) => {
                    self.renew().await?;
                    call(&self.client).await
                }
                result => result,
            }
        };
        limited(&self.options.endpoints, work).await
    }

    /// Logs in again, with the password as the file has it now.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        let credentials = super::credentials(&self.options)
            .await
            .map_err(|error| Error::InvalidArgs(error.to_string()))?;
        match credentials {
            Some(credentials) => self.client.clone().update_user(Some(credentials)).await,
            None => Ok(()),
        }
    }
}

/// Whether logging in again may help.
fn token_is_old(error: &Error) -> bool {
    if let Error::GRpcStatus(status) = error {
        i32::from(status.code()) == code::UNAUTHENTICATED
            || status.message().contains("invalid auth token")
            || status.message().contains("revision of auth store is old")
    } else {
        false
    }
}

/// Does this within the time limit, and says why when it cannot.
pub(super) async fn limited<T>(
    endpoints: &[String],
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(translate(endpoints, &error)),
        Err(_) => {
            let mut reasons = Vec::new();
            for endpoint in endpoints {
                reasons.push(format!("{endpoint}: {}", probe(endpoint).await));
            }
            Err(StoreError::Unavailable(format!(
                "etcd did not answer within {} s ({})",
                LIMIT.as_secs(),
                reasons.join("; ")
            )))
        }
    }
}

/// Why an endpoint does not answer. The client itself only waits for a connection, and does not say.
async fn probe(endpoint: &str) -> String {
    let address = endpoint
        .trim_start_matches("http://")
        .trim_start_matches("https://")
        .trim_end_matches('/');
    match tokio::time::timeout(PROBE, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) if endpoint.starts_with("https://") => {
            "accepts connections; its certificate, or ours, may not be trusted".to_owned()
        }
        Ok(Ok(_)) => "accepts connections but does not answer".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "cannot be reached".to_owned(),
    }
}

/// etcd's error in our words.
pub(super) fn translate(endpoints: &[String], error: &Error) -> StoreError {
    let endpoints = endpoints.join(",");
    let Error::GRpcStatus(status) = error else {
        if matches!(error, Error::LeaseKeepAliveError(_)) {
            return StoreError::LeaseEnded;
        }
        if matches!(error, Error::InvalidArgs(_) | Error::InvalidUri(_)) {
            return StoreError::Refused(format!("etcd {endpoints}: {error}"));
        }
        return StoreError::Unavailable(format!("etcd {endpoints}: {}", causes(error)));
    };
    let message = status.message();
    if message.contains("requested lease not found") {
        return StoreError::LeaseEnded;
    }
    if message.contains("required revision has been compacted") {
        return StoreError::Compacted { from: 0 };
    }
    let text = format!("etcd {endpoints}: {message}");
    match i32::from(status.code()) {
        code::PERMISSION_DENIED
        | code::UNAUTHENTICATED
        | code::INVALID_ARGUMENT
        | code::FAILED_PRECONDITION
        | code::UNIMPLEMENTED
        | code::NOT_FOUND
        | code::ALREADY_EXISTS => StoreError::Refused(text),
        _ => StoreError::Unavailable(format!("etcd {endpoints}: {}", causes(status))),
    }
}

/// An error with what is behind it.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
