//! MessagePack as far as Forward needs it, read in place with bounds.
//!
//! [`Extent`] finds where a value ends while its bytes still arrive, each byte looked at once; [`Reader`] walks over a
//! value that is there. Pure. What must never happen: an allocation whose size a sender names, or recursion.

/// Values within values, at most.
const MAX_DEPTH: usize = 32;

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A byte that begins no value.
    #[error("a byte that begins no MessagePack value")]
    Unknown,
    /// Deeper than any log record.
    #[error("values nested deeper than {MAX_DEPTH}")]
    Depth,
    /// Another type than the protocol wants here, or an end too early.
    #[error("not what the Forward protocol has here")]
    Shape,
}

/// The beginning of a value: what follows its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Scalar,
    Uint(u64),
    Bool(bool),
    Bytes(usize),
    Ext(usize),
    Array(u64),
    Map(u64),
}

/// The head at the beginning of `bytes` and its length; `None`: more bytes are needed.
fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Malformed> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let number = |width: usize| -> Option<u64> {
        let digits = rest.get(..width)?;
        Some(digits.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)))
    };
    let sized =
        |width: usize, make: fn(u64) -> Head| Ok(number(width).map(|n| (make(n), 1 + width)));
    // A length beyond the address space is as good as the largest: the caller's bound refuses it.
    let bytes_of = |n: u64| Head::Bytes(usize::try_from(n).unwrap_or(usize::MAX));
    let ext_of = |n: u64| Head::Ext(usize::try_from(n).map_or(usize::MAX, |n| n.saturating_add(1)));
    match first {
        0x00..=0x7f => Ok(Some((Head::Uint(u64::from(first)), 1))),
        0x80..=0x8f => Ok(Some((Head::Map(u64::from(first & 0x0f)), 1))),
        0x90..=0x9f => Ok(Some((Head::Array(u64::from(first & 0x0f)), 1))),
        0xa0..=0xbf => Ok(Some((Head::Bytes(usize::from(first & 0x1f)), 1))),
        0xc0 | 0xe0..=0xff => Ok(Some((Head::Scalar, 1))),
        0xc1 => Err(Malformed::Unknown),
        0xc2 | 0xc3 => Ok(Some((Head::Bool(first == 0xc3), 1))),
        0xc4 | 0xd9 => sized(1, bytes_of),
        0xc5 | 0xda => sized(2, bytes_of),
        0xc6 | 0xdb => sized(4, bytes_of),
        0xc7 => sized(1, ext_of),
        0xc8 => sized(2, ext_of),
        0xc9 => sized(4, ext_of),
        0xca | 0xce | 0xd2 => sized(
            4,
            if first == 0xce {
                Head::Uint
            } else {
                |_| Head::Scalar
            },
        ),
        0xcb | 0xcf | 0xd3 => sized(
            8,
            if first == 0xcf {
                Head::Uint
            } else {
                |_| Head::Scalar
            },
        ),
        0xcc => sized(1, Head::Uint),
        0xcd => sized(2, Head::Uint),
        0xd0 => sized(1, |_| Head::Scalar),
        0xd1 => sized(2, |_| Head::Scalar),
        0xd4..=0xd8 => Ok(Some((Head::Ext((1 << (first - 0xd4)) + 1), 1))),
        0xdc => sized(2, Head::Array),
        0xdd => sized(4, Head::Array),
        0xde => sized(2, Head::Map),
        0xdf => sized(4, Head::Map),
    }
}

/// Where one value ends.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    at: usize,
    /// Values still to come, in each container that is open.
    open: Vec<u64>,
    begun: bool,
}

impl Extent {
    /// Looks at what has arrived so far, from the value's first byte. `Some`: its length. Call again with more bytes on `None`.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while !self.begun || !self.open.is_empty() {
            let Some((head, length)) = head(bytes.get(self.at..).unwrap_or_default())? else {
                return Ok(None);
            };
            let (body, children) = match head {
                Head::Scalar | Head::Uint(_) | Head::Bool(_) => (0, 0),
                Head::Bytes(n) | Head::Ext(n) => (n, 0),
                Head::Array(n) => (0, n),
                Head::Map(n) => (0, n * 2),
            };
            let end = self.at.saturating_add(length).saturating_add(body);
            if end > bytes.len() {
                return Ok(None);
            }
            self.at = end;
            self.begun = true;
            if let Some(left) = self.open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                self.open.push(children);
            }
            while self.open.last() == Some(&0) {
                self.open.pop();
            }
            if self.open.len() > MAX_DEPTH {
                return Err(Malformed::Depth);
            }
        }
        Ok(Some(self.at))
    }
}

/// Walks over values that are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn head(&mut self) -> Result<Head, Malformed> {
        let (found, length) = head(self.0)?.ok_or(Malformed::Shape)?;
        self.0 = self.0.get(length..).ok_or(Malformed::Shape)?;
        Ok(found)
    }

    fn cut(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (cut, rest) = self.0.split_at_checked(length).ok_or(Malformed::Shape)?;
        self.0 = rest;
        Ok(cut)
    }

    /// A string or binary.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let Head::Bytes(n) = self.head()? else {
            return Err(Malformed::Shape);
        };
        self.cut(n)
    }

    /// A string or binary, if it is one; anything else is passed over.
    pub(crate) fn maybe_bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        if self.is_bytes() {
            return self.bytes().map(Some);
        }
        self.skip().map(|()| None)
    }

    pub(crate) fn is_bytes(self) -> bool {
        matches!(head(self.0), Ok(Some((Head::Bytes(_), _))))
    }

    pub(crate) fn is_array(self) -> bool {
        matches!(head(self.0), Ok(Some((Head::Array(_), _))))
    }

    pub(crate) fn is_nil(self) -> bool {
        self.0.first() == Some(&0xc0)
    }

    /// True or false.
    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        let Head::Bool(value) = self.head()? else {
            return Err(Malformed::Shape);
        };
        Ok(value)
    }

    /// How many values an array holds.
    pub(crate) fn array(&mut self) -> Result<u64, Malformed> {
        let Head::Array(n) = self.head()? else {
            return Err(Malformed::Shape);
        };
        Ok(n)
    }

    /// How many pairs a map holds.
    pub(crate) fn map(&mut self) -> Result<u64, Malformed> {
        let Head::Map(n) = self.head()? else {
            return Err(Malformed::Shape);
        };
        Ok(n)
    }

    /// A time: whole seconds, or `EventTime` (extension 0, eight bytes).
    pub(crate) fn time(&mut self) -> Result<(), Malformed> {
        match self.head()? {
            Head::Uint(_) => Ok(()),
            Head::Ext(9) => match self.cut(9)?.first() {
                Some(0) => Ok(()),
                _ => Err(Malformed::Shape),
            },
            // Some clients send floating seconds, or negative ones; nothing here depends on the sender's clock.
            Head::Scalar => Ok(()),
            Head::Bool(_) | Head::Bytes(_) | Head::Ext(_) | Head::Array(_) | Head::Map(_) => {
                Err(Malformed::Shape)
            }
        }
    }

    /// Passes over one value.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let end = Extent::default().find(self.0)?.ok_or(Malformed::Shape)?;
        self.cut(end).map(|_| ())
    }
}

/// Appends a string.
pub(crate) fn put_str(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        n @ 0..=31 => out.push(0xa0 | n as u8),
        n => put_length(out, n, [0xd9, 0xda, 0xdb]),
    }
    out.extend(text);
}

/// Appends bytes that are no text.
pub(crate) fn put_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len(), [0xc4, 0xc5, 0xc6]);
    out.extend(bytes);
}

/// Appends a whole number.
pub(crate) fn put_uint(out: &mut Vec<u8>, number: u64) {
    out.push(0xcf);
    out.extend(number.to_be_bytes());
}

/// Appends a time, as `EventTime`. It wraps in 2106, as the protocol's does.
pub(crate) fn put_time(out: &mut Vec<u8>, at: std::time::Duration) {
    out.extend([0xd7, 0]);
    out.extend((at.as_secs() as u32).to_be_bytes());
    out.extend(at.subsec_nanos().to_be_bytes());
}

/// One, two or four bytes of length behind the head that says so. Nothing of ours is longer.
fn put_length(out: &mut Vec<u8>, length: usize, heads: [u8; 3]) {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(n), _) => out.extend([heads[0], n]),
        (_, Ok(n)) => {
            out.push(heads[1]);
            out.extend(n.to_be_bytes());
        }
        _ => {
            out.push(heads[2]);
            out.extend((length as u32).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn depth_and_lengths_are_bounded() {
        let deep = [0x91; 100];
        assert_eq!(Extent::default().find(&deep), Err(Malformed::Depth));
        let absurd = [0xdd, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Extent::default().find(&absurd), Ok(None));
        let long = [0xc6, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Extent::default().find(&long), Ok(None));
        assert_eq!(Extent::default().find(&[0xc1]), Err(Malformed::Unknown));
        assert_eq!(Extent::default().find(&[0x90, 1]), Ok(Some(1)));
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_makes_no_difference(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = Extent::default().find(&bytes);
            let mut extent = Extent::default();
            let mut last = Ok(None);
            for end in 0..=bytes.len() {
                last = extent.find(&bytes[..end]);
                if last != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(last, whole);
            if let Ok(Some(end)) = whole {
                let mut reader = Reader(&bytes);
                prop_assert!(reader.skip().is_ok());
                prop_assert_eq!(bytes.len() - reader.0.len(), end);
            }
        }
    }
}
