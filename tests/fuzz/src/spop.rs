//! What HAProxy tells of requests to be copied: frames, and the headers in them. Nothing that is read lies outside of the bytes, and a frame
//! that is cut is none.

use fm_haproxy::mirror::spop::{self, Data, Frame};

pub(crate) fn check(bytes: &[u8]) {
    if let Some(Frame::Notify { arguments, .. }) = spop::read(bytes) {
        let mut all = 0;
        for (name, data) in &arguments {
            all += name.len();
            if let Data::Bytes(value) = data {
                all += value.len();
                let headers = spop::headers(value).unwrap_or_default();
                let sum: usize = headers
                    .iter()
                    .map(|(name, value)| name.len() + value.len())
                    .sum();
                assert!(sum <= value.len());
                assert!(headers.iter().all(|(name, _)| !name.is_empty()));
            }
        }
        assert!(all <= bytes.len());
        // Nothing behind the first message is looked at, so the shortest whole frame is the one that cannot be cut.
        let whole = (0..=bytes.len()).find(|end| spop::read(&bytes[..*end]).is_some());
        let shortest = whole.map_or(bytes, |end| &bytes[..end]);
        assert_eq!(spop::read(shortest), spop::read(bytes));
    }
    let _ = spop::headers(bytes);
}
