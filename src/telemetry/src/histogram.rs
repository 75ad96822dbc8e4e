//! A histogram of milliseconds in bins that grow by 2.5 %, sparse, mergeable by addition, exact in its counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts by bin: bin `i` holds values in `[1.025^i, 1.025^(i+1))` milliseconds; bin 0 also everything below 1 ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    bins: BTreeMap<u16, u64>,
}
