//! HELO, PING, PONG: both sides prove that they know the shared key. Pure: the nonce comes by argument.

use std::fmt::Write as _;

use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use super::msgpack::{Malformed, Reader, put_str};

/// What we are called in the handshake.
const NAME: &[u8] = b"fridaymorning";

/// `["HELO", {"nonce": …, "auth": "", "keepalive": true}]`
pub(crate) fn helo(nonce: &[u8]) -> Vec<u8> {
    let mut out = vec![0x92];
    put_str(&mut out, b"HELO");
    out.push(0x83);
    put_str(&mut out, b"nonce");
    put_str(&mut out, nonce);
    put_str(&mut out, b"auth");
    put_str(&mut out, b"");
    put_str(&mut out, b"keepalive");
    out.push(0xc3);
    out
}

/// Looks at `["PING", host, salt, digest, user, password]`; gives the PONG, and whether the key was right.
pub(crate) fn pong(ping: &[u8], nonce: &[u8], key: &[u8]) -> Result<(Vec<u8>, bool), Malformed> {
    let mut reader = Reader(ping);
    if reader.array()? < 4 || reader.bytes()? != b"PING" {
        return Err(Malformed::Shape);
    }
    let (host, salt, claimed) = (reader.bytes()?, reader.bytes()?, reader.bytes()?);
    let known = bool::from(digest(salt, host, nonce, key).as_bytes().ct_eq(claimed));
    let mut out = vec![0x95];
    put_str(&mut out, b"PONG");
    out.push(if known { 0xc3 } else { 0xc2 });
    put_str(&mut out, if known { b"" } else { b"shared_key mismatch" });
    put_str(&mut out, NAME);
    let ours = if known {
        digest(salt, NAME, nonce, key)
    } else {
        String::new()
    };
    put_str(&mut out, ours.as_bytes());
    Ok((out, known))
}

/// What a receiver says first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Helo<'a> {
    /// It goes into both digests.
    pub(crate) nonce: &'a [u8],
    /// It asks for a user and a password, too.
    pub(crate) wants_user: bool,
}

/// Reads `["HELO", {"nonce": …, "auth": …, "keepalive": …}]`.
pub(crate) fn read_helo(bytes: &[u8]) -> Result<Helo<'_>, Malformed> {
    let mut reader = Reader(bytes);
    if reader.array()? != 2 || reader.bytes()? != b"HELO" {
        return Err(Malformed::Shape);
    }
    let mut found = Helo {
        nonce: b"",
        wants_user: false,
    };
    for _ in 0..reader.map()? {
        match reader.bytes()? {
            b"nonce" => found.nonce = reader.bytes()?,
            b"auth" => found.wants_user = reader.maybe_bytes()?.is_some_and(|a| !a.is_empty()),
            _ => reader.skip()?,
        }
    }
    Ok(found)
}

/// `["PING", host, salt, digest, "", ""]`
pub(crate) fn ping(host: &[u8], salt: &[u8], nonce: &[u8], key: &[u8]) -> Vec<u8> {
    let mut out = vec![0x96];
    put_str(&mut out, b"PING");
    put_str(&mut out, host);
    put_str(&mut out, salt);
    put_str(&mut out, digest(salt, host, nonce, key).as_bytes());
    put_str(&mut out, b"");
    put_str(&mut out, b"");
    out
}

/// Why a receiver is not sent anything.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unproven {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("it refuses us: {0}")]
    Refused(String),
    #[error("it does not know the shared key")]
    Key,
}

/// Looks at `["PONG", known, why, host, digest]`: the other side must know the key, too.
pub(crate) fn read_pong(
    pong: &[u8],
    salt: &[u8],
    nonce: &[u8],
    key: &[u8],
) -> Result<(), Unproven> {
    let mut reader = Reader(pong);
    if reader.array()? < 5 || reader.bytes()? != b"PONG" {
        return Err(Malformed::Shape.into());
    }
    let known = reader.bool()?;
    let why = reader.bytes()?;
    if !known {
        let shown = why.get(..200).unwrap_or(why);
        return Err(Unproven::Refused(shown.escape_ascii().to_string()));
    }
    let (host, claimed) = (reader.bytes()?, reader.bytes()?);
    let ours = digest(salt, host, nonce, key);
    match bool::from(ours.as_bytes().ct_eq(claimed)) {
        true => Ok(()),
        false => Err(Unproven::Key),
    }
}

fn digest(salt: &[u8], host: &[u8], nonce: &[u8], key: &[u8]) -> String {
    let mut hash = Sha512::new();
    for part in [salt, host, nonce, key] {
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_prove_the_key_to_each_other() {
        let said = helo(b"nonce");
        let heard = read_helo(&said).unwrap();
        assert_eq!((heard.nonce, heard.wants_user), (&b"nonce"[..], false));
        let sent = super::ping(b"edge-1", b"salt", heard.nonce, b"key");
        let (answer, known) = pong(&sent, b"nonce", b"key").unwrap();
        assert!(known);
        assert_eq!(read_pong(&answer, b"salt", b"nonce", b"key"), Ok(()));
        for (salt, nonce, key) in [
            (&b"salt"[..], &b"nonce"[..], &b"other"[..]),
            (b"tlas", b"nonce", b"key"),
            (b"salt", b"ecnon", b"key"),
        ] {
            assert_eq!(read_pong(&answer, salt, nonce, key), Err(Unproven::Key));
        }
        let (answer, known) = pong(&sent, b"nonce", b"other").unwrap();
        let refused = read_pong(&answer, b"salt", b"nonce", b"key");
        assert!(!known && matches!(refused, Err(Unproven::Refused(_))));
        for cut in 0..answer.len() {
            assert!(read_pong(&answer[..cut], b"salt", b"nonce", b"key").is_err());
        }
        assert!(read_helo(&answer).is_err() && read_pong(&said, b"", b"", b"").is_err());
    }

    fn ping(digest: &str) -> Vec<u8> {
        let mut out = vec![0x96];
        for part in ["PING", "host", "salt", digest, "", ""] {
            put_str(&mut out, part.as_bytes());
        }
        out
    }

    #[test]
    fn only_the_right_key_is_known_and_only_it_is_answered_with_ours() {
        let whole = Sha512::digest(b"salthostnoncekey");
        let right: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
        let (answer, known) = pong(&ping(&right), b"nonce", b"key").unwrap();
        let ours = digest(b"salt", NAME, b"nonce", b"key");
        assert!(known && answer.ends_with(ours.as_bytes()));
        for wrong in ["", &right[1..], &right.to_uppercase()] {
            let (answer, known) = pong(&ping(wrong), b"nonce", b"key").unwrap();
            assert!(!known && answer.ends_with(&[0xa0]));
        }
        assert!(pong(&[0x91, 0xa4, b'P'], b"nonce", b"key").is_err());
    }
}
