//! Cuts a Forward stream into messages. What the server and the fuzzer share.
//!
//! What must never happen: more memory than the bytes that came and were not taken yet; a byte looked at again and again.

use super::message::{self, Refused};
use super::msgpack::Extent;

/// The longest message; Fluentd sends chunks of 8 MB.
pub const MAX_MESSAGE: usize = 32 << 20;

/// The stream so far.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Where the message begins that was not taken yet.
    start: usize,
    extent: Extent,
}

/// Why nothing more can be read of a stream.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl From<Refused> for Unreadable {
    fn from(refused: Refused) -> Self {
        Self(refused.to_string())
    }
}

impl Decoder {
    /// Takes the next bytes, however they were cut.
    pub fn feed(&mut self, bytes: &[u8]) {
        // What was taken is given back once for many messages, so that small ones cost no more than their bytes.
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The length of the whole message that stands first; `None`: more bytes are needed.
    ///
    /// # Errors
    /// When it is none, or longer than any.
    pub fn whole(&mut self) -> Result<Option<usize>, Unreadable> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        match self.extent.find(rest).map_err(Refused::from)? {
            None if rest.len() > MAX_MESSAGE => Err(Unreadable(format!(
                "a message of more than {MAX_MESSAGE} bytes"
            ))),
            found => Ok(found),
        }
    }

    /// The first `length` bytes that were not taken yet.
    #[must_use]
    pub fn front(&self, length: usize) -> &[u8] {
        let end = self.start.saturating_add(length);
        self.bytes.get(self.start..end).unwrap_or_default()
    }

    /// Passes over a message.
    pub fn done(&mut self, length: usize) {
        self.start = (self.start + length).min(self.bytes.len());
        self.extent = Extent::default();
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
            self.bytes.shrink_to(64 * 1024);
        }
    }

    /// Bytes that came and were not taken.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The lines of every whole message, and what its sender wants acknowledged; takes them.
    ///
    /// # Errors
    /// At the first message that is none; no line of it was given.
    pub fn lines(
        &mut self,
        mut give: impl FnMut(&[u8]),
        mut acknowledge: impl FnMut(&[u8]),
    ) -> Result<(), Unreadable> {
        while let Some(length) = self.whole()? {
            let message = message::read(self.front(length))?;
            message.lines(&mut give)?;
            if let Some(chunk) = message.chunk {
                acknowledge(chunk);
            }
            self.done(length);
        }
        Ok(())
    }
}
