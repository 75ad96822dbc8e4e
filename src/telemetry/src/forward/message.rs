//! One message of the Forward protocol, and the lines in it. Pure, but for the counters' own clock in the caller.
//!
//! All four modes: Message, Forward, PackedForward, CompressedPackedForward. What must never happen: a message of which
//! a part counts and whose sender is told otherwise — so all of it is read before any of it counts.

use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::msgpack::{Malformed, Reader};

/// What a compressed message may become.
const MAX_INFLATED: u64 = 32 << 20;

/// Why a message is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a compressed message that is no gzip: {0}")]
    Gzip(std::io::Error),
    #[error("a compressed message of more than {MAX_INFLATED} bytes")]
    Inflated,
    #[error("a compression other than gzip")]
    Compression,
}

/// A message, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Message<'a> {
    entries: Option<Entries<'a>>,
    compressed: bool,
    /// What to acknowledge.
    pub(crate) chunk: Option<&'a [u8]>,
}

#[derive(Debug)]
enum Entries<'a> {
    /// This many, one behind the other.
    Counted(u64, &'a [u8]),
    /// To the end of the bytes.
    Packed(&'a [u8]),
    /// The record of the only one.
    Record(&'a [u8]),
}

/// Takes a whole value apart. A `nil` is a heartbeat and holds nothing.
pub(crate) fn read(bytes: &[u8]) -> Result<Message<'_>, Refused> {
    let mut reader = Reader(bytes);
    let mut message = Message::default();
    if reader.is_nil() {
        return Ok(message);
    }
    let parts = reader.array()?;
    reader.bytes()?;
    let used = if reader.is_array() {
        let count = reader.array()?;
        let rest = reader.0;
        for _ in 0..count {
            reader.skip()?;
        }
        message.entries = Some(Entries::Counted(count, rest));
        2
    } else if reader.is_bytes() {
        message.entries = Some(Entries::Packed(reader.bytes()?));
        2
    } else {
        reader.time()?;
        message.entries = Some(Entries::Record(reader.0));
        reader.skip()?;
        3
    };
    match parts.checked_sub(used) {
        Some(0) => {}
        Some(1) if reader.is_nil() => {}
        Some(1) => message.options(reader)?,
        _ => return Err(Malformed::Shape.into()),
    }
    Ok(message)
}

impl<'a> Message<'a> {
    fn options(&mut self, mut reader: Reader<'a>) -> Result<(), Refused> {
        for _ in 0..reader.map()? {
            match reader.bytes()? {
                b"chunk" => self.chunk = reader.maybe_bytes()?,
                b"compressed" => match reader.maybe_bytes()? {
                    Some(b"gzip") => self.compressed = true,
                    Some(b"text") | None => {}
                    Some(_) => return Err(Refused::Compression),
                },
                _ => reader.skip()?,
            }
        }
        Ok(())
    }

    /// Whether its entries must be inflated first, which takes time and memory.
    pub(crate) fn compressed(&self) -> bool {
        self.compressed
    }

    /// Gives each line, after all of the message was found to be whole.
    pub(crate) fn lines(&self, mut give: impl FnMut(&[u8])) -> Result<(), Refused> {
        match &self.entries {
            None => Ok(()),
            Some(Entries::Record(record)) => {
                record_line(&mut Reader(record), &mut |_| {})?;
                Ok(record_line(&mut Reader(record), &mut give)?)
            }
            Some(Entries::Counted(count, bytes)) => {
                counted(*count, bytes, &mut |_| {})?;
                Ok(counted(*count, bytes, &mut give)?)
            }
            Some(Entries::Packed(bytes)) if self.compressed => {
                let mut inflated = Vec::new();
                let mut decoder = MultiGzDecoder::new(*bytes).take(MAX_INFLATED + 1);
                decoder.read_to_end(&mut inflated).map_err(Refused::Gzip)?;
                if inflated.len() as u64 > MAX_INFLATED {
                    return Err(Refused::Inflated);
                }
                packed(&inflated, &mut |_| {})?;
                Ok(packed(&inflated, &mut give)?)
            }
            Some(Entries::Packed(bytes)) => {
                packed(bytes, &mut |_| {})?;
                Ok(packed(bytes, &mut give)?)
            }
        }
    }
}

fn counted(count: u64, bytes: &[u8], give: &mut impl FnMut(&[u8])) -> Result<(), Malformed> {
    let mut reader = Reader(bytes);
    for _ in 0..count {
        entry(&mut reader, give)?;
    }
    Ok(())
}

fn packed(bytes: &[u8], give: &mut impl FnMut(&[u8])) -> Result<(), Malformed> {
    let mut reader = Reader(bytes);
    while !reader.0.is_empty() {
        entry(&mut reader, give)?;
    }
    Ok(())
}

/// `[time, record]`.
fn entry(reader: &mut Reader<'_>, give: &mut impl FnMut(&[u8])) -> Result<(), Malformed> {
    if reader.array()? != 2 {
        return Err(Malformed::Shape);
    }
    reader.time()?;
    record_line(reader, give)
}

/// The line stands in `log` (Docker) or `message` (most others); a record without either is no line.
fn record_line(reader: &mut Reader<'_>, give: &mut impl FnMut(&[u8])) -> Result<(), Malformed> {
    let mut line = None;
    for _ in 0..reader.map()? {
        match reader.maybe_bytes()? {
            Some(b"log" | b"message") => line = reader.maybe_bytes()?.or(line),
            _ => reader.skip()?,
        }
    }
    if let Some(line) = line {
        give(line);
    }
    Ok(())
}
