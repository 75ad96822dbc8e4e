//! Which rules hold for manifests where `frd.yaml` has no `policy`.
//!
//! A store that is made now gets the safe ones. One that was there before such rules goes on without them, and each start
//! says so: what serves must not stop because `frd` is newer.

use std::time::Duration;

use anyhow::Result;
use fm_api::keys;
use fm_api::policy::Policy;
use fm_store::{Expect, SharedStore, StoreError, Txn};

const PAUSE: Duration = Duration::from_secs(1);

/// The rules in force.
pub(crate) async fn of(store: &SharedStore, written: Option<&Policy>) -> Result<Policy> {
    loop {
        match has_policy(store).await {
            Ok(safe) => {
                if let Some(written) = written {
                    return Ok(written.clone());
                }
                if safe {
                    return Ok(Policy::default());
                }
                tracing::warn!(
                    "policy: frd.yaml has none, so whoever may speak to the socket may mount any folder of any node, and is \
                     root there; `policy: {{}}` is the safe one"
                );
                return Ok(Policy::open());
            }
            // Another daemon was faster.
            Err(StoreError::Conflict { .. }) => {}
            Err(StoreError::Unavailable(why)) => {
                tracing::warn!(why, "the store does not answer; waiting for it");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the store was made with rules. The one that is made now is.
async fn has_policy(store: &SharedStore) -> Result<bool, StoreError> {
    let (mark, name) = (keys::has_policy(), keys::installation());
    if store.get(&mark).await?.is_some() {
        return Ok(true);
    }
    let known = store.get(&name).await?.is_some();
    if known
        || !store
            .list(&keys::releases_prefix())
            .await?
            .entries
            .is_empty()
    {
        return Ok(false);
    }
    let txn = Txn::new()
        .expect(Expect::Absent(mark.clone()))
        .expect(Expect::Absent(name))
        .put(mark, b"1".to_vec());
    store.commit(txn).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_store_has_the_safe_rules_and_an_old_one_goes_on_without() {
        let folder = tempfile::tempdir().unwrap();
        let new = fm_store::embedded::open(&folder.path().join("new")).unwrap();
        let own: Policy = serde_json::from_str(r#"{ "mounts": ["/srv"] }"#).unwrap();
        for _ in 0..2 {
            assert_eq!(of(&new, None).await.unwrap(), Policy::default());
            let named = Txn::new().put(keys::installation(), b"x".to_vec());
            new.commit(named).await.unwrap();
            assert_eq!(of(&new, Some(&own)).await.unwrap(), own);
        }
        let old = fm_store::embedded::open(&folder.path().join("old")).unwrap();
        let named = Txn::new().put(keys::installation(), b"x".to_vec());
        old.commit(named).await.unwrap();
        assert_eq!(of(&old, None).await.unwrap(), Policy::open());
        assert_eq!(of(&old, Some(&own)).await.unwrap(), own);
    }
}
