//! Sends copies through HAProxy's frontend for them, on connections that are kept, and drops what is answered.
//!
//! Owner of the connections, of the places and of what went wrong last. What must never happen: one release's canary that hangs
//! taking the places of all others, or an answer without an end that keeps one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::copy::Copy;

/// Copies under way at once …
const MOST: usize = 256;
/// … and to one backend, which is one revision's.
const MOST_EACH: usize = 64;
/// Connections that are kept.
const KEPT: usize = 32;
/// How long an answer may go on once it has begun; for its beginning HAProxy keeps the route's own timeout.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

/// Why a copy did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// HAProxy's frontend for copies does not answer.
    #[error("{path} does not answer: {error}", path = path.display())]
    Unreachable {
        /// Its socket.
        path: PathBuf,
        /// What went wrong.
        error: std::io::Error,
    },
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// It went on too long.
    #[error("an answer without an end was left")]
    Endless,
}

type Connection = SendRequest<Empty<Bytes>>;

/// Sends copies.
#[derive(Debug)]
pub(crate) struct Sender {
    socket: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Vec<Connection>,
    /// Copies under way, by backend.
    under_way: BTreeMap<String, usize>,
    trouble: Option<String>,
}

/// A place among the copies under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    sender: Arc<Sender>,
    backend: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.sender.state();
        if let Some(count) = state.under_way.get_mut(&self.backend) {
            *count -= 1;
            if *count == 0 {
                state.under_way.remove(&self.backend);
            }
        }
    }
}

impl Sender {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; what it holds is whole either way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why copies do not reach HAProxy now, if they do not.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// A place for one more copy to this backend, if there is any.
    pub(super) fn place(self: &Arc<Self>, backend: &str) -> Option<Place> {
        let mut state = self.state();
        let all: usize = state.under_way.values().sum();
        let count = state.under_way.entry(backend.to_owned()).or_default();
        let room = all < MOST && *count < MOST_EACH;
        if room {
            *count += 1;
        }
        room.then(|| Place {
            sender: self.clone(),
            backend: backend.to_owned(),
        })
    }

    /// Sends it, and keeps the place until its answer has ended.
    pub(super) async fn send(self: Arc<Self>, copy: Copy, place: Place) {
        let sent = self.sent(copy).await;
        let mut state = self.state();
        match &sent {
            Err(error @ Error::Unreachable { .. }) => state.trouble = Some(error.to_string()),
            Ok(()) | Err(Error::Broken(_) | Error::Endless) => state.trouble = None,
        }
        drop(state);
        drop(place);
        if let Err(error) = sent {
            tracing::debug!(%error, "a copy did not come to its end");
        }
    }

    async fn sent(&self, copy: Copy) -> Result<(), Error> {
        let request = copy.request;
        let kept = self.state().kept.pop();
        let (mut connection, mut answer) = match kept {
            Some(mut kept) => match kept.send_request(request.clone()).await {
                Ok(answer) => (kept, answer),
                // HAProxy has closed it meanwhile.
                Err(_) => self.anew(request).await?,
            },
            None => self.anew(request).await?,
        };
        let ended = async {
            while let Some(frame) = answer.frame().await {
                frame?;
            }
            Ok::<(), hyper::Error>(())
        };
        tokio::time::timeout(LONGEST_ANSWER, ended)
            .await
            .map_err(|_| Error::Endless)??;
        if connection.ready().await.is_ok() {
            let mut state = self.state();
            if state.kept.len() < KEPT {
                state.kept.push(connection);
            }
        }
        Ok(())
    }

    async fn anew(
        &self,
        request: hyper::Request<Empty<Bytes>>,
    ) -> Result<(Connection, hyper::Response<hyper::body::Incoming>), Error> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|error| Error::Unreachable {
                    path: self.socket.clone(),
                    error,
                })?;
        let (mut connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends when nobody sends on it any more.
        tokio::spawn(driver);
        let answer = connection.send_request(request).await?;
        Ok((connection, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_backend_does_not_take_the_places_of_all() {
        let sender = Arc::new(Sender::new("/nowhere".into()));
        let take = |backend: &str| -> Vec<Place> {
            std::iter::from_fn(|| sender.place(backend)).collect()
        };
        let hanging = take("a_b");
        assert_eq!(hanging.len(), MOST_EACH);
        let others: Vec<_> = ["b_b", "c_b", "d_b", "e_b"].map(take).into_iter().collect();
        let lengths: Vec<usize> = others.iter().map(Vec::len).collect();
        assert_eq!(lengths, [MOST_EACH, MOST_EACH, MOST_EACH, 0]);
        drop(hanging);
        assert_eq!(take("e_b").len(), MOST_EACH);
    }
}
