//! Signs what is sent, as the Standard Webhooks specification says, so that libraries for it can check it.
//!
//! `webhook-signature: v1,BASE64(HMAC-SHA256(key, "ID.TIMESTAMP.BODY"))`, with the id and the time in headers beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The signature of a body. A key that is written `whsec_BASE64` is those bytes, any other is its own text.
///
/// # Errors
/// When the key says that it is base64 and is not; the text never holds it.
pub fn sign(key: &str, id: &str, timestamp: i64, body: &[u8]) -> Result<String, String> {
    let key = match key.strip_prefix("whsec_") {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| "the key begins with whsec_ and is no base64 then".to_owned())?,
        None => key.as_bytes().to_vec(),
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{id}.{timestamp}.").as_bytes());
    context.update(body);
    Ok(format!("v1,{}", STANDARD.encode(context.sign())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the specification's own libraries.
        let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let signed = sign(key, id, at, br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(sign("whsec_?", id, at, b"").is_err());
        assert_ne!(sign("a", id, at, b""), sign("b", id, at, b""));
    }
}
