//! The time by which a rollout moves: a hold is a time that went by, whatever clocks show.
//!
//! Every candidate notes when it saw each stage begin, by a clock that only counts. While the stage goes on, the time is
//! its beginning, as it is stored, and what was counted since; where that agrees with the machine's clock, the latter. So
//! neither a clock that is set nor a new leader whose clock differs ends a hold early. A process that was not there when
//! the stage began trusts its clock, unless that is known to differ from the other daemons': then the hold begins anew.
//! What must never happen: a hold that ends before its time went by while somebody counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use fm_api::keys::{self, ReleaseKey};
use fm_api::target::Target;
use fm_runtime::{Cache, Context, decode};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Up to which difference the machine's clock is taken.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// When stages began, as far as it was seen.
#[derive(Default)]
pub(crate) struct Elapsed {
    stages: Mutex<HashMap<ReleaseKey, Seen>>,
}

struct Seen {
    /// When the stage began, as it is stored.
    since: Timestamp,
    /// When it was first seen here.
    at: Instant,
    /// It began while somebody looked.
    live: bool,
}

impl Elapsed {
    /// Notes every stage, until the cache ends.
    pub(crate) async fn follow(&self, cache: &Cache) {
        let mut changes = cache.subscribe();
        cache.synced().await;
        for release in cache.releases() {
            self.look(cache, &release, false);
        }
        let targets = keys::prefix("targets");
        while let Some(changed) = changes.next().await {
            for key in changed.iter().filter(|key| key.starts_with(&targets)) {
                if let Some(release) = ReleaseKey::of(key) {
                    self.look(cache, &release, true);
                }
            }
        }
    }

    fn look(&self, cache: &Cache, release: &ReleaseKey, live: bool) {
        let stored = cache.get(&release.target());
        let target = stored.and_then(|entry| decode::<Target>(&entry).ok());
        let since = target.and_then(|target| Some(target.rollout?.stage_since));
        self.note(release, since, live);
    }

    fn note(&self, release: &ReleaseKey, since: Option<Timestamp>, live: bool) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = since else {
            stages.remove(release);
            return;
        };
        if stages.get(release).is_none_or(|known| known.since != since) {
            let at = Instant::now();
            stages.insert(release.clone(), Seen { since, at, live });
        }
    }

    /// The release's time now.
    pub(crate) fn now(&self, ctx: &Context, release: &ReleaseKey) -> Timestamp {
        let off = ctx.fitness.clock_offset().unwrap_or(0.0).abs();
        let differs = off > TOLERANCE.as_secs_f64();
        self.of(release, ctx.clock.now(), differs)
    }

    /// The same, by a machine's clock that shows `wall` and is known to differ from others or not.
    fn of(&self, release: &ReleaseKey, wall: Timestamp, differs: bool) -> Timestamp {
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = stages.get(release).filter(|seen| seen.live || differs) else {
            return wall;
        };
        let counted = seen.since.checked_add(seen.at.elapsed()).unwrap_or(wall);
        if wall.duration_since(counted).abs() <= TOLERANCE {
            wall
        } else {
            counted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_lasts_as_long_as_it_was_asked_for_whatever_clocks_show() {
        let release = ReleaseKey::new("default", "shop");
        let elapsed = Elapsed::default();
        assert_eq!(
            elapsed.of(&release, at(7), false),
            at(7),
            "nothing is known"
        );
        elapsed.note(&release, Some(at(0)), true);
        tokio::time::advance(Duration::from_secs(60)).await;
        // The clock agrees, or somebody set it ahead, or back, or this leader's clock differs from the last one's.
        for (wall, now) in [(60, 60), (61, 61), (660, 60), (-540, 60), (63, 60)] {
            assert_eq!(elapsed.of(&release, at(wall), false), at(now), "{wall}");
        }
        // What changes in the stage does not begin it anew; the next stage does, by the same time.
        elapsed.note(&release, Some(at(0)), true);
        assert_eq!(elapsed.of(&release, at(660), false), at(60));
        elapsed.note(&release, Some(at(60)), true);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(elapsed.of(&release, at(665), false), at(65));
        // Without a rollout the machine's clock counts.
        elapsed.note(&release, None, true);
        assert_eq!(elapsed.of(&release, at(665), false), at(665));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_there_when_it_began_trusts_a_clock_that_agrees_with_others() {
        let release = ReleaseKey::new("default", "shop");
        let elapsed = Elapsed::default();
        elapsed.note(&release, Some(at(0)), false);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(elapsed.of(&release, at(100), false), at(100));
        assert_eq!(elapsed.of(&release, at(700), true), at(10));
    }
}
