//! How full etcd is. Asked every few seconds, so that new work is refused while there is room for ways back.
//!
//! etcd raises its alarm when the quota is reached, and takes no write then but deletions; it gives nobody a reserve. So
//! the last tenth of the quota is ours to keep. What must never happen: an answer that is waited for; a store said to be
//! full because it is not known.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use etcd_client::StatusResponse;

use super::calls::Connection;
use crate::space::{Space, words};

/// How often etcd is asked.
const LOOK: Duration = Duration::from_secs(2);
/// etcd's own limit where nobody set another. Before 3.6 it does not say which it has.
const QUOTA: u64 = 2 << 30;
/// From this many percent on, new work is refused: of the quota, or of the file where it cannot grow any more.
const LOW: u64 = 90;
/// By so much etcd's file grows at once; a smaller one by its own size.
const STEP: u64 = 16 << 20;

/// What is known of the room.
pub(super) type Known = Mutex<Option<Space>>;

/// Asks until the store is gone.
pub(super) async fn follow(connection: Connection, known: Weak<Known>) {
    loop {
        let status = connection
            .call(|client| {
                let mut maintenance = client.maintenance_client();
                async move { maintenance.status().await }
            })
            .await;
        let Some(known) = known.upgrade() else { return };
        let quota = connection.members.options().quota;
        // What does not answer is told elsewhere.
        let space = status.ok().map(|status| space(&Seen::of(&status, quota)));
        store(&known, space);
        drop(known);
        tokio::time::sleep(LOOK).await;
    }
}

fn store(known: &Arc<Known>, space: Option<Space>) {
    *known.lock().unwrap_or_else(PoisonError::into_inner) = space;
}

/// What etcd says of itself.
struct Seen {
    size: u64,
    in_use: u64,
    quota: u64,
    alarm: bool,
}

impl Seen {
    fn of(status: &StatusResponse, quota: Option<u64>) -> Self {
        let bytes = |number: i64| u64::try_from(number).unwrap_or_default();
        let size = bytes(status.db_size());
        let own = Some(bytes(status.db_size_quota())).filter(|quota| *quota > 0);
        Self {
            size,
            // An etcd that does not say counts as without room inside.
            in_use: match bytes(status.raft_used_db_size()) {
                0 => size,
                in_use => in_use,
            },
            quota: own.or(quota).unwrap_or(QUOTA),
            alarm: status
                .errors()
                .iter()
                .any(|error| error.contains("NOSPACE")),
        }
    }
}

fn space(seen: &Seen) -> Space {
    // Room inside the file counts, such as after a compaction: then it need not grow.
    let grows = seen.size + seen.size.min(STEP) < seen.quota;
    let most = if grows { seen.quota } else { seen.size };
    let share = seen.in_use.saturating_mul(100) / most.max(1);
    let free = seen.quota.saturating_sub(seen.size);
    let of = format!("{} of {}", words(seen.size), words(seen.quota));
    let low = if seen.alarm {
        Some(format!("etcd is full ({of}): {}", super::calls::FULL))
    } else if share >= LOW {
        Some(format!(
            "etcd is nearly full ({of}): what is left is kept for ways back (abort, undo, delete), and new work is \
             refused until there is room: `etcdctl compact REVISION` (`etcdctl endpoint status -w json` shows the \
             revision) and `etcdctl defrag`; or raise its --quota-backend-bytes, and etcd.quota of frd.yaml with it"
        ))
    } else {
        None
    };
    Space {
        free,
        total: seen.quota,
        reserve: None,
        low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In MiB, of a thousand.
    fn low(size: u64, in_use: u64, alarm: bool) -> Option<String> {
        space(&Seen {
            size: size << 20,
            in_use: in_use << 20,
            quota: 1000 << 20,
            alarm,
        })
        .low
    }

    #[test]
    fn the_last_tenth_is_kept_and_room_inside_the_file_counts() {
        assert_eq!(low(899, 899, false), None);
        assert!(low(900, 900, false).unwrap().contains("nearly full"));
        assert_eq!(low(990, 800, false), None);
        assert!(low(990, 892, false).unwrap().contains("defrag"));
        assert!(low(10, 10, true).unwrap().contains("alarm disarm"));
    }
}
