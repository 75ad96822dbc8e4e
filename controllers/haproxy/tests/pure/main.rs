//! Laws of the pure parts, over many worlds; and the texts as they are written, for people to read.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod laws;
mod table;
mod world;
