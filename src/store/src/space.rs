//! The room that is left for what is written, and whether the rest of it is kept for ways back.

/// The room that the store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written before the store is full.
    pub free: u64,
    /// Bytes there are in all: of the disk, or of etcd's quota.
    pub total: u64,
    /// Bytes that only the store can take, when nothing else is free; `None` where there is no such thing.
    pub reserve: Option<u64>,
    /// Set while room is short: what is left is kept for ways back, and new work is refused. What is wrong, and the way out.
    pub low: Option<String>,
}

/// Bytes in words.
pub(crate) fn words(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (size, unit) in UNITS {
        if bytes >= size {
            let tenths = bytes.saturating_mul(10) / size;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} bytes")
}
