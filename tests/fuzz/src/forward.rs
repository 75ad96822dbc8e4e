//! Forward's stream: how the bytes are cut makes no difference, nothing is read of a message that is none, and a sender gains
//! no memory by what it claims.
//!
//! The first byte of the input is the length of the pieces.

use fm_telemetry::forward::decoder::{Decoder, MAX_MESSAGE};

/// Lines, acknowledged names, and whether it ended in a message that is none.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    lines: Vec<Vec<u8>>,
    chunks: Vec<Vec<u8>>,
    refused: Option<String>,
}

pub(crate) fn check(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = heard(bytes, bytes.len().max(1));
    let pieces = heard(bytes, usize::from(*size).max(1));
    assert_eq!(pieces, whole);
    let inflates = bytes.windows(4).any(|part| part == b"gzip");
    for line in &whole.lines {
        let within = || bytes.windows(line.len()).any(|part| part == line);
        assert!(line.is_empty() || inflates || within());
        assert!(line.len() <= MAX_MESSAGE);
    }
}

fn heard(bytes: &[u8], size: usize) -> Heard {
    let (mut decoder, mut heard) = (Decoder::default(), Heard::default());
    for piece in bytes.chunks(size) {
        decoder.feed(piece);
        let Heard { lines, chunks, .. } = &mut heard;
        let outcome = decoder.lines(
            |line| lines.push(line.to_vec()),
            |chunk| chunks.push(chunk.to_vec()),
        );
        assert!(decoder.held() <= bytes.len());
        if let Err(error) = outcome {
            heard.refused = Some(error.to_string());
            break;
        }
    }
    heard
}
