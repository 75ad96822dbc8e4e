//! The reconcile loop.

use std::sync::Arc;

use fm_api::keys::ReleaseKey;
use fm_store::StoreError;
use tokio::sync::mpsc;

use crate::{Cache, Context, Reconciler};

/// A wake-up from outside the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// Look at this release.
    One(ReleaseKey),
    /// Look at all of them.
    All,
}

/// Runs a controller while this process is elected to, until shutdown.
///
/// # Errors
/// When the store refuses.
pub async fn run_elected(
    _ctx: &Context,
    _name: &'static str,
    _cache: &Cache,
    _wake: Option<mpsc::Receiver<Wake>>,
    _reconciler: Arc<dyn Reconciler>,
) -> Result<(), StoreError> {
    Ok(())
}

/// Runs a controller without an election, until shutdown.
///
/// # Errors
/// When the store refuses.
pub async fn run_unelected(
    _ctx: &Context,
    _name: &'static str,
    _cache: &Cache,
    _wake: Option<mpsc::Receiver<Wake>>,
    _reconciler: Arc<dyn Reconciler>,
) -> Result<(), StoreError> {
    Ok(())
}
