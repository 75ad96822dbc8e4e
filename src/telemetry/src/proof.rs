//! Who may tell of requests: a line counts only if it begins with a secret that HAProxy's configuration holds and nobody else can
//! read. Connections that have not shown it yet are few, and give way to new ones.
//!
//! What must never happen: the secret in a message, in what is sent on, or in what anybody is shown; a stranger who keeps
//! HAProxy out.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

/// Fewer characters are no secret.
pub const MIN_SECRET: usize = 16;
/// More do not fit into a line.
pub const MAX_SECRET: usize = 128;

/// The secret at the beginning of each line. It is not shown by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof(Arc<str>);

impl Proof {
    /// Of a text of [`MIN_SECRET`] to [`MAX_SECRET`] visible characters that HAProxy takes as they are.
    #[must_use]
    pub fn new(secret: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+/=".contains(&byte);
        let fits = (MIN_SECRET..=MAX_SECRET).contains(&secret.len());
        (fits && secret.bytes().all(legal)).then(|| Self(secret.into()))
    }

    /// What HAProxy's configuration is given, and nobody else.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The line behind the secret and a blank; `None`: it does not begin with it. How long that takes tells nothing of the secret.
    #[must_use]
    pub fn strip<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let (claimed, rest) = line.split_at_checked(self.0.len())?;
        let known = bool::from(self.0.as_bytes().ct_eq(claimed));
        rest.strip_prefix(b" ").filter(|_| known)
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(…)")
    }
}

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// It showed the secret, or none is needed.
    Ours,
    /// It did not.
    Strange,
    /// It tells of no request: HAProxy's own notices have no secret.
    Nobodys,
}

/// Connections that have not shown the secret, the oldest first.
#[derive(Debug, Clone)]
pub(crate) struct Strangers {
    most: usize,
    waiting: Arc<Mutex<VecDeque<(u64, CancellationToken)>>>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

/// A stranger's place. It is free again once this is dropped, or another needed it.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    strangers: Strangers,
    gone: CancellationToken,
}

impl Strangers {
    pub(crate) fn at_most(most: usize) -> Self {
        Self {
            most,
            waiting: Arc::default(),
            next: Arc::default(),
        }
    }

    /// Another one: the oldest gives way where there are too many.
    pub(crate) fn enter(&self) -> Place {
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let gone = CancellationToken::new();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back((number, gone.clone()));
        while waiting.len() > self.most {
            if let Some((_, oldest)) = waiting.pop_front() {
                oldest.cancel();
            }
        }
        drop(waiting);
        Place {
            number,
            strangers: self.clone(),
            gone,
        }
    }
}

impl Place {
    /// Ends when another needed the place.
    pub(crate) async fn taken(&self) {
        self.gone.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = (self.strangers.waiting.lock()).unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_opens_and_it_is_never_shown() {
        let proof = Proof::new("0123456789abcdef").unwrap();
        let strip = |line: &'static str| proof.strip(line.as_bytes());
        assert_eq!(strip("0123456789abcdef {}"), Some(&b"{}"[..]));
        assert_eq!(strip("0123456789abcdef "), Some(&b""[..]));
        for line in [
            "",
            "{}",
            "0123456789abcdef",
            "0123456789abcdef{}",
            "0123456789abcdeg {}",
            "0123456789abcde {}",
            " 0123456789abcdef {}",
        ] {
            assert_eq!(strip(line), None, "{line}");
        }
        assert!(!format!("{proof:?}").contains("0123"));
        for bad in [
            "short",
            "0123456789abcde\n",
            "0123456789 abcdef",
            "0123456789abcde'",
        ] {
            assert_eq!(Proof::new(bad), None, "{bad}");
        }
        assert_eq!(Proof::new(&"x".repeat(MAX_SECRET + 1)), None);
    }

    #[tokio::test]
    async fn the_oldest_stranger_gives_way() {
        let strangers = Strangers::at_most(2);
        let (first, second) = (strangers.enter(), strangers.enter());
        let third = strangers.enter();
        first.taken().await;
        assert!(!second.gone.is_cancelled() && !third.gone.is_cancelled());
        drop(second);
        let _fourth = strangers.enter();
        assert!(!third.gone.is_cancelled());
        assert_eq!(strangers.waiting.lock().unwrap().len(), 2);
    }
}
