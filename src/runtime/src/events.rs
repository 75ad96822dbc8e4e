//! Events: what happened, for people.

use fm_api::event::Severity;
use fm_api::keys::ReleaseKey;

use crate::Context;

/// Writes events; never fails its caller.
#[derive(Clone)]
pub struct Recorder {}

impl Recorder {
    /// A recorder that signs as `source`.
    #[must_use]
    pub fn new(_ctx: &Context, _source: impl Into<String>) -> Recorder {
        Recorder {}
    }
    /// Notes what happened.
    pub async fn record(
        &self,
        _key: Option<&ReleaseKey>,
        _severity: Severity,
        _reason: &str,
        _message: String,
    ) {
    }
}
