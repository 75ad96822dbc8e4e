//! One call to etcd: its time limit, the member that is asked, its errors in our words, and the renewal of the token.
//!
//! A call that a member fails is put to the next one, within the time limit. The work is told when an earlier attempt may
//! have done it unseen, and must find that out before it does it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tokio::time::Instant;

use super::Options;
use super::members::Members;
use crate::StoreError;

/// The most that a call may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The most that one member may take while another can be asked.
const ATTEMPT: Duration = Duration::from_millis(1500);
/// The pause once all members failed: they may be choosing a leader.
const ROUND: Duration = Duration::from_millis(150);
/// What finding out why may take.
const PROBE: Duration = Duration::from_millis(500);

/// The numbers of gRPC's status codes that matter here.
mod code {
    pub(super) const CANCELLED: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const ALREADY_EXISTS: i32 = 6;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const INTERNAL: i32 = 13;
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const DATA_LOSS: i32 = 15;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

/// How a member fails, where the failure is its own and another member may do better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// There was no connection: it was asked nothing.
    Unreached,
    /// It has no leader: it did nothing.
    Leaderless,
    /// What was asked may have been done.
    Unanswered,
}

impl Fault {
    /// The member's fault, if the error is one.
    pub(super) fn of(error: &Error) -> Option<Self> {
        let Error::GRpcStatus(status) = error else {
            let ours = matches!(
                error,
                Error::TransportError(_)
                    | Error::IoError(_)
                    | Error::EndpointError(_)
                    | Error::WatchError(_)
                    | Error::Internal(_)
            );
            return ours.then_some(Self::Unanswered);
        };
        match i32::from(status.code()) {
            code::UNAVAILABLE if never_connected(status) => Some(Self::Unreached),
            code::UNAVAILABLE if status.message().contains("etcdserver: no leader") => {
                Some(Self::Leaderless)
            }
            code::CANCELLED
            | code::UNKNOWN
            | code::DEADLINE_EXCEEDED
            | code::INTERNAL
            | code::UNAVAILABLE
            | code::DATA_LOSS => Some(Self::Unanswered),
            _ => None,
        }
    }
}

/// Whether the error shows that there was no connection to send anything by.
fn never_connected(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        let kind = inner
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        if matches!(
            kind,
            Some(
                std::io::ErrorKind::ConnectionRefused
                    | std::io::ErrorKind::HostUnreachable
                    | std::io::ErrorKind::NetworkUnreachable
            )
        ) {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// The members, and the way to ask them. A clone talks to the same member.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) members: Arc<Members>,
}

impl Connection {
    pub(super) fn new(options: Options, settings: ConnectOptions) -> Self {
        Self {
            members: Arc::new(Members::new(options, settings)),
        }
    }

    pub(super) fn endpoints(&self) -> String {
        self.members.options().endpoints.join(",")
    }

    /// Does a call that may be done twice.
    pub(super) async fn call<T, F>(&self, call: impl Fn(&Client) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (_, done) = self.attempt(|client, _| call(client)).await?;
        Ok(done)
    }

    /// Does a call, at one member after the other until one does it; gives that member too. The call is told whether an
    /// earlier attempt may have done it already.
    pub(super) async fn attempt<T, F>(
        &self,
        call: impl Fn(&Client, bool) -> F,
    ) -> Result<(usize, T), StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let members = &self.members;
        let deadline = Instant::now() + LIMIT;
        let mut failed: BTreeMap<usize, (Fault, String)> = BTreeMap::new();
        let mut doubt = false;
        loop {
            let index = members.current();
            let until = if members.count() > 1 {
                deadline.min(Instant::now() + ATTEMPT)
            } else {
                deadline
            };
            let result = tokio::select! {
                result = tokio::time::timeout_at(until, self.ask(index, doubt, &call)) => result.ok(),
                // Somebody else found that it fails.
                () = members.left(index) => None,
            };
            let (fault, why) = match result {
                Some(Ok(done)) => {
                    members.works(index);
                    return Ok((index, done));
                }
                Some(Err(error)) => match Fault::of(&error) {
                    Some(fault) => (fault, words(&error)),
                    None => return Err(translate(&self.endpoints(), &error)),
                },
                None => (Fault::Unanswered, self.why_silent(index).await),
            };
            doubt |= fault == Fault::Unanswered;
            members.leave(index, &why);
            failed.insert(index, (fault, why));
            let all = failed.len() == members.count();
            let hopeless = members.count() == 1
                || all && failed.values().all(|(fault, _)| *fault == Fault::Unreached);
            if hopeless || Instant::now() + ROUND >= deadline {
                return Err(self.nobody_answers(&failed));
            }
            if all {
                tokio::time::sleep(ROUND).await;
            }
        }
    }

    /// Asks one member; again with a new token when it no longer knows the old one.
    async fn ask<T, F>(
        &self,
        index: usize,
        doubt: bool,
        call: &impl Fn(&Client, bool) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = self.members.client(index).await?;
        match call(&client, doubt).await {
            Err(error) if self.members.options().username.is_some() && token_is_old(&error) => {
                self.log_in(&client).await?;
                call(&client, doubt).await
            }
            result => result,
        }
    }

    /// Logs in again, at the member that is talked to.
    pub(super) async fn renew(&self) -> Result<(), Error> {
        let client = self.members.client(self.members.current()).await?;
        self.log_in(&client).await
    }

    /// Logs in again, with the password as the file has it now.
    async fn log_in(&self, client: &Client) -> Result<(), Error> {
        let credentials = super::credentials(self.members.options())
            .await
            .map_err(|error| Error::InvalidArgs(error.to_string()))?;
        match credentials {
            Some(credentials) => client.clone().update_user(Some(credentials)).await,
            None => Ok(()),
        }
    }

    /// Why a member says nothing. With others to ask, that must not take long.
    async fn why_silent(&self, index: usize) -> String {
        if self.members.count() > 1 {
            return "it does not answer in time".to_owned();
        }
        let seconds = LIMIT.as_secs();
        let why = probe(self.members.endpoint(index)).await;
        format!("it did not answer within {seconds} s: {why}")
    }

    fn nobody_answers(&self, failed: &BTreeMap<usize, (Fault, String)>) -> StoreError {
        let reasons: Vec<String> = failed
            .iter()
            .map(|(index, (_, why))| format!("{}: {why}", self.members.endpoint(*index)))
            .collect();
        StoreError::Unavailable(format!("etcd {}", reasons.join("; ")))
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

/// What a person can do about an etcd that is full. Nothing can be written before.
pub(super) const FULL: &str = "it is full and takes no writes until a person makes room: `etcdctl compact REVISION` (`etcdctl \
     endpoint status -w json` shows the revision), `etcdctl defrag`, then `etcdctl alarm disarm`; or raise its \
     --quota-backend-bytes, and let it compact by itself (--auto-compaction-retention)";

/// etcd's error in our words, where it is no fault of one member.
fn translate(endpoints: &str, error: &Error) -> StoreError {
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
    if message.contains("database space exceeded") {
        return StoreError::Unavailable(format!("{text}: {FULL}"));
    }
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

/// A client's error in words: its own do not name what is behind a status.
fn words(error: &Error) -> String {
    if let Error::GRpcStatus(status) = error {
        causes(status)
    } else {
        causes(error)
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
