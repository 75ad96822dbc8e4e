//! HAProxy's log as a stream: how the bytes are cut makes no difference, and no more is counted than there are lines.
//!
//! The first byte of the input is the length of the pieces.

use fm_telemetry::Handle;
use fm_telemetry::counters::Snapshot;

pub(crate) fn check(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = counted(bytes, bytes.len().max(1));
    let pieces = counted(bytes, usize::from(*size).max(1));
    assert_eq!(pieces, whole);
    let ends = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    // One line may be too long and never end.
    assert!(whole.log.lines + whole.log.malformed <= ends + 1);
    let mut requests = 0;
    for counters in whole
        .releases
        .values()
        .flat_map(|revisions| revisions.values())
    {
        assert!(counters.bad <= counters.requests && counters.fallback <= counters.bad);
        assert_eq!(counters.classes.iter().sum::<u64>(), counters.requests);
        assert!(counters.latency.count() <= counters.requests - counters.bad);
        requests += counters.requests + counters.forced + counters.client_aborts;
    }
    assert_eq!(requests + whole.log.unrouted, whole.log.lines);
    assert_eq!(whole.log.connections, 1);
}

fn counted(bytes: &[u8], size: usize) -> Snapshot {
    let handle = Handle::unattached();
    let mut connection = handle.connection();
    for piece in bytes.chunks(size) {
        connection.feed(piece);
    }
    // When it was taken is none of what is compared.
    handle.snapshot("local", "0", jiff::Timestamp::UNIX_EPOCH)
}
