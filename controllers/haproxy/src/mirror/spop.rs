//! The frames of HAProxy's Stream Processing Offload Protocol, version 2.0, as far as one message needs them. Pure.
//!
//! Source: `doc/SPOE.txt` of HAProxy. A frame is its length (four bytes) and then kind, flags, stream, frame and payload.
//! Neither side splits frames here, for the agent does not offer it. What must never happen: a panic or unbounded memory, whatever arrives.

/// The longest frame that is offered and taken; HAProxy's own buffers hold no more.
pub const MAX_FRAME: usize = 16_380;

const HAPROXY_HELLO: u8 = 1;
const HAPROXY_DISCONNECT: u8 = 2;
const NOTIFY: u8 = 3;
const AGENT_HELLO: u8 = 101;
const AGENT_DISCONNECT: u8 = 102;
const ACK: u8 = 103;
/// Flag: the frame is whole.
const FIN: u32 = 1;

const BOOL: u8 = 1;
const UINT32: u8 = 3;
const STRING: u8 = 8;
/// The action `set-var`, its three arguments, and the scope of a transaction.
const SET_VAR: [u8; 3] = [1, 3, 2];

/// What HAProxy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// It begins; `check`: only to see whether somebody is there.
    Hello {
        /// The longest frame that it takes.
        max_frame: usize,
        /// A health check.
        check: bool,
    },
    /// It ends.
    Disconnect,
    /// It tells of a stream.
    Notify {
        /// The stream.
        stream: u64,
        /// The frame: an answer names both.
        frame: u64,
        /// The arguments of the first message, by name, in their order.
        arguments: Vec<(&'a str, Data<'a>)>,
    },
}

/// A value, as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    /// True or false.
    Bool(bool),
    /// A whole number that is not negative.
    Number(u64),
    /// Text or bytes.
    Bytes(&'a [u8]),
    /// An address.
    Address(std::net::IpAddr),
    /// Nothing.
    Null,
}

/// Reads a frame without its length; `None`: it is malformed, or none that HAProxy sends.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    let mut reader = Reader(bytes);
    let kind = reader.byte()?;
    let flags = u32::from_be_bytes(*reader.take(4)?.first_chunk()?);
    if flags & FIN == 0 {
        return None;
    }
    let (stream, frame) = (reader.number()?, reader.number()?);
    match kind {
        HAPROXY_HELLO => {
            let (mut max_frame, mut check) = (MAX_FRAME, false);
            while !reader.0.is_empty() {
                match (reader.name()?, reader.data()?) {
                    ("max-frame-size", Data::Number(most)) => {
                        max_frame = usize::try_from(most).ok()?
                    }
                    ("healthcheck", Data::Bool(is)) => check = is,
                    _ => {}
                }
            }
            Some(Frame::Hello { max_frame, check })
        }
        HAPROXY_DISCONNECT => Some(Frame::Disconnect),
        NOTIFY => {
            let _message = reader.name()?;
            let count = reader.byte()?;
            let arguments = (0..count).map(|_| Some((reader.name()?, reader.data()?)));
            let arguments = arguments.collect::<Option<_>>()?;
            Some(Frame::Notify {
                stream,
                frame,
                arguments,
            })
        }
        _ => None,
    }
}

/// The agent's part of the greeting, with its length before it.
#[must_use]
pub fn hello(max_frame: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in [("version", "2.0"), ("capabilities", "pipelining")] {
        text(&mut payload, name.as_bytes());
        payload.push(STRING);
        text(&mut payload, value.as_bytes());
    }
    text(&mut payload, b"max-frame-size");
    payload.push(UINT32);
    number(&mut payload, max_frame.min(MAX_FRAME) as u64);
    framed(AGENT_HELLO, (0, 0), &payload)
}

/// The answer to a notification, with its length before it; `taken` is set for the transaction where it is true.
#[must_use]
pub fn acknowledge(stream: u64, frame: u64, taken: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    if taken {
        payload.extend(SET_VAR);
        text(&mut payload, b"taken");
        // A boolean's value stands in the upper half of its type.
        payload.push(BOOL | 0x10);
    }
    framed(ACK, (stream, frame), &payload)
}

/// Says why the agent ends, with its length before it.
#[must_use]
pub fn disconnect(message: &str) -> Vec<u8> {
    /// "A frame that could not be read", of the protocol's list.
    const INVALID: u64 = 4;
    let mut payload = Vec::new();
    text(&mut payload, b"status-code");
    payload.push(UINT32);
    number(&mut payload, INVALID);
    text(&mut payload, b"message");
    payload.push(STRING);
    text(&mut payload, message.as_bytes());
    framed(AGENT_DISCONNECT, (0, 0), &payload)
}

fn framed(kind: u8, (stream, frame): (u64, u64), payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.push(kind);
    out.extend(FIN.to_be_bytes());
    number(&mut out, stream);
    number(&mut out, frame);
    out.extend(payload);
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    for (place, byte) in out.iter_mut().zip(length.to_be_bytes()) {
        *place = byte;
    }
    out
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend(bytes);
}

/// A number as the protocol writes it: below 240 one byte, else four bits and then seven in each.
fn number(out: &mut Vec<u8>, value: u64) {
    let low = value.to_le_bytes();
    let Some(mut rest) = value.checked_sub(240) else {
        return out.push(low[0]);
    };
    out.push(low[0] | 0xf0);
    rest >>= 4;
    while let Some(more) = rest.checked_sub(128) {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest = more >> 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// Each header and its value, of the bytes that HAProxy's `req.hdrs_bin` gives; `None`: they are malformed.
#[must_use]
pub fn headers(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut reader = Reader(bytes);
    let mut all = Vec::new();
    loop {
        let (name, value) = (reader.text()?, reader.text()?);
        if name.is_empty() {
            return Some(all);
        }
        all.push((name, value));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u64> {
        let first = u64::from(self.byte()?);
        let (mut value, mut shift) = (first, 4);
        if first < 240 {
            return Some(value);
        }
        loop {
            let byte = u64::from(self.byte()?);
            let part = byte
                .checked_shl(shift)
                .filter(|part| part >> shift == byte)?;
            value = value.checked_add(part)?;
            if byte < 128 {
                return Some(value);
            }
            shift += 7;
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn name(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text()?).ok()
    }

    fn data(&mut self) -> Option<Data<'a>> {
        let kind = self.byte()?;
        Some(match kind & 0x0f {
            0 => Data::Null,
            BOOL => Data::Bool(kind & 0x10 != 0),
            2..=5 => Data::Number(self.number()?),
            6 => Data::Address(<[u8; 4]>::try_from(self.take(4)?).ok()?.into()),
            7 => Data::Address(<[u8; 16]>::try_from(self.take(16)?).ok()?.into()),
            STRING | 9 => Data::Bytes(self.text()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A notification as HAProxy writes it.
    fn notify(arguments: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let mut payload = Vec::new();
        text(&mut payload, b"copy");
        payload.push(u8::try_from(arguments.len()).unwrap());
        for (name, kind, value) in arguments {
            text(&mut payload, name.as_bytes());
            payload.push(*kind);
            if matches!(kind, 8 | 9) {
                number(&mut payload, value.len() as u64);
            }
            payload.extend(*value);
        }
        framed(NOTIFY, (7, 300), &payload)
    }

    #[test]
    fn a_notification_is_read_with_its_arguments() {
        let bytes = notify(&[
            ("method", 8, b"GET"),
            ("source", 6, &[10, 0, 0, 1]),
            ("tls", 0x11, &[]),
            ("none", 0, &[]),
        ]);
        let wanted = Frame::Notify {
            stream: 7,
            frame: 300,
            arguments: vec![
                ("method", Data::Bytes(b"GET")),
                ("source", Data::Address([10, 0, 0, 1].into())),
                ("tls", Data::Bool(true)),
                ("none", Data::Null),
            ],
        };
        assert_eq!(read(&bytes[4..]), Some(wanted));
        assert_eq!(
            &bytes[..4],
            u32::try_from(bytes.len() - 4).unwrap().to_be_bytes()
        );
        for cut in 4..bytes.len() {
            assert_eq!(read(&bytes[4..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_greeting_is_told_from_a_health_check() {
        let mut payload = Vec::new();
        text(&mut payload, b"max-frame-size");
        payload.extend([UINT32, 200]);
        let plain = framed(HAPROXY_HELLO, (0, 0), &payload);
        let hello = |check| Frame::Hello {
            max_frame: 200,
            check,
        };
        assert_eq!(read(&plain[4..]), Some(hello(false)));
        text(&mut payload, b"healthcheck");
        payload.push(BOOL | 0x10);
        let check = framed(HAPROXY_HELLO, (0, 0), &payload);
        assert_eq!(read(&check[4..]), Some(hello(true)));
    }

    #[test]
    fn headers_end_with_an_empty_one() {
        let mut bytes = Vec::new();
        for part in ["host", "shop", "x-empty", "", "", ""] {
            text(&mut bytes, part.as_bytes());
        }
        let wanted: Vec<(&[u8], &[u8])> = vec![(b"host", b"shop"), (b"x-empty", b"")];
        assert_eq!(headers(&bytes), Some(wanted));
        assert_eq!(headers(&bytes[..bytes.len() - 1]), None);
    }

    proptest! {
        #[test]
        fn a_number_is_read_back_as_it_was_written(value in prop_oneof![any::<u64>(), 0u64..5000]) {
            let mut bytes = Vec::new();
            number(&mut bytes, value);
            let mut reader = Reader(&bytes);
            prop_assert_eq!(reader.number(), Some(value));
            prop_assert!(reader.0.is_empty());
        }

        #[test]
        fn nothing_that_arrives_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = headers(&bytes);
            let mut notification = vec![NOTIFY, 0, 0, 0, 1, 1, 1];
            notification.extend(bytes);
            let _ = read(&notification);
        }
    }
}
