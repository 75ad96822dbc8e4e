//! Cuts a syslog stream into messages: octet-counted (`83 <134>1 …`) or ended by LF (RFC 6587), told apart for each message.
//!
//! Pure. What must never happen: memory beyond one longest message.

/// A message longer than this is none of ours.
const MAX_MESSAGE: usize = 16 * 1024;
/// Digits of an octet count, at most.
const MAX_DIGITS: usize = 7;

/// The stream so far.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Bytes of a message that is not whole yet.
    begun: Vec<u8>,
    /// Bytes of a counted message that is too long, still to be passed over.
    skip: usize,
    /// A line that is too long: passed over up to its end.
    overlong: bool,
}

impl Frames {
    /// Takes the next bytes; each message is given once, `None` for one that is too long.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut give: impl FnMut(Option<&[u8]>)) {
        let mut begun = std::mem::take(&mut self.begun);
        begun.extend_from_slice(bytes);
        let mut rest = begun.as_slice();
        while let Some(after) = self.next(rest, &mut give) {
            rest = after;
        }
        let done = begun.len() - rest.len();
        begun.drain(..done);
        self.begun = begun;
    }

    /// What follows the first message of `rest`; `None`: it is not whole.
    fn next<'a>(
        &mut self,
        rest: &'a [u8],
        give: &mut impl FnMut(Option<&[u8]>),
    ) -> Option<&'a [u8]> {
        if rest.is_empty() {
            return None;
        }
        if self.skip > 0 {
            let (_, after) = rest.split_at(self.skip.min(rest.len()));
            self.skip -= rest.len() - after.len();
            return Some(after);
        }
        if !self.overlong {
            match counted(rest) {
                Counted::Unknown => return None,
                Counted::No => {}
                Counted::Message(head, length) if length > MAX_MESSAGE => {
                    give(None);
                    self.skip = length;
                    return rest.get(head..);
                }
                Counted::Message(head, length) => {
                    give(Some(rest.get(head..head + length)?));
                    return rest.get(head + length..);
                }
            }
        }
        match memchr::memchr(b'\n', rest) {
            Some(end) => {
                if !self.overlong {
                    give(rest.get(..end).filter(|line| line.len() <= MAX_MESSAGE));
                }
                self.overlong = false;
                rest.get(end + 1..)
            }
            None if self.overlong => rest.get(rest.len()..),
            None if rest.len() > MAX_MESSAGE => {
                give(None);
                self.overlong = true;
                rest.get(rest.len()..)
            }
            None => None,
        }
    }
}

enum Counted {
    /// The length of the count with its blank, and of the message.
    Message(usize, usize),
    No,
    /// Only digits so far.
    Unknown,
}

fn counted(rest: &[u8]) -> Counted {
    let digits = rest
        .iter()
        .take(MAX_DIGITS + 1)
        .take_while(|b| b.is_ascii_digit())
        .count();
    if digits == 0 || digits > MAX_DIGITS || rest.first() == Some(&b'0') {
        return Counted::No;
    }
    match rest.get(digits) {
        None => Counted::Unknown,
        Some(b' ') => {
            let count = rest.iter().take(digits);
            let length = count.fold(0, |sum, b| sum * 10 + usize::from(b - b'0'));
            Counted::Message(digits + 1, length)
        }
        Some(_) => Counted::No,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(frames: &mut Frames, bytes: &[u8]) -> Vec<Option<String>> {
        let mut found = Vec::new();
        frames.feed(bytes, |m| {
            found.push(m.map(|m| String::from_utf8_lossy(m).into_owned()))
        });
        found
    }

    #[test]
    fn both_framings_stand_side_by_side() {
        let text = b"7 <13>a\nb<14>line\n2026-11-22T18:45:07 x\n3 abc";
        let wanted = ["<13>a\nb", "<14>line", "2026-11-22T18:45:07 x", "abc"];
        let found = all(&mut Frames::default(), text);
        assert_eq!(found, wanted.map(|w| Some(w.to_owned())));
    }

    #[test]
    fn what_is_too_long_counts_once_and_the_next_is_read() {
        for long in [
            format!("40000 {}", "x".repeat(40_000)),
            "y".repeat(40_000) + "\n",
        ] {
            let text = format!("{long}3 abc");
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(999) {
                found.extend(all(&mut frames, piece));
                assert!(frames.begun.len() <= MAX_MESSAGE + 999);
            }
            assert_eq!(found, [None, Some("abc".to_owned())]);
        }
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(bytes in "([0-9]{1,2} |<13>|[a-z\n ]){0,60}", cut in 1usize..9) {
            let whole = all(&mut Frames::default(), bytes.as_bytes());
            let mut frames = Frames::default();
            let pieces: Vec<_> = bytes.as_bytes().chunks(cut).flat_map(|piece| all(&mut frames, piece)).collect();
            prop_assert_eq!(whole, pieces);
        }
    }
}
