//! The store's own name: given once, so that services in Swarm and edges know a store again.

use fm_api::keys;
use fm_store::{Expect, SharedStore, StoreError, Txn};

/// The store's name; it is given one where it has none.
///
/// # Errors
/// Those of the store.
pub async fn installation(store: &SharedStore) -> Result<String, StoreError> {
    let key = keys::installation();
    loop {
        if let Some(entry) = store.get(&key).await? {
            return Ok(String::from_utf8_lossy(&entry.value).into_owned());
        }
        let name = uuid::Uuid::now_v7().simple().to_string();
        let txn = Txn::new().expect(Expect::Absent(key.clone()));
        match store.commit(txn.put(key.clone(), name.into_bytes())).await {
            // Read again what is there: somebody else may have been faster.
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
