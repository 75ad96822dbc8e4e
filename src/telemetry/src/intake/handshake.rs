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
