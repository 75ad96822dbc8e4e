//! How many files this process may open, and how many of them are kept for its work: the store, Docker, HAProxy.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Callers never take the last of these.
const RESERVE: usize = 256;
/// As many as a process can use; a kernel without a limit says 2^63.
const MOST: u64 = 1 << 20;
/// How often the open ones are counted.
const EVERY: Duration = Duration::from_millis(100);

/// Raises the limit as far as the system allows, and gives it.
pub fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(MOST).min(MOST);
    if limit.current.is_some_and(|current| current < hard) {
        let raised = Rlimit {
            current: Some(hard),
            maximum: limit.maximum,
        };
        // Refused: it stays as it is, and so do the doors' limits.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    most()
}

fn most() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(MOST);
    usize::try_from(limit.min(MOST)).unwrap_or(usize::MAX)
}

/// Where the limit is very low, the work has half.
fn reserve(most: usize) -> usize {
    RESERVE.min(most / 2)
}

/// How many may be callers'.
pub(super) fn for_callers() -> usize {
    let most = most();
    most - reserve(most)
}

/// What was counted, when, and how many came since.
static COUNTED: Mutex<Option<(Instant, usize)>> = Mutex::new(None);

/// Whether one more connection would take from what the work needs.
pub(super) fn scarce() -> bool {
    let mut counted = COUNTED.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let open = match *counted {
        Some((at, open)) if now.duration_since(at) < EVERY => open + 1,
        Some(_) | None => {
            let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
            *counted = Some((now, open));
            open
        }
    };
    if let Some((_, count)) = &mut *counted {
        *count = open;
    }
    open >= for_callers()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_keeps_some_however_few_there_are() {
        assert_eq!(reserve(1024), RESERVE);
        assert_eq!(reserve(100), 50);
        assert!(raise() >= 100);
        assert!(!scarce());
    }
}
