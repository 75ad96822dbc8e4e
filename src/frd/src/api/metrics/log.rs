//! How HAProxy's log fares: what arrived, and what was sent on.

use fm_telemetry::counters::Snapshot;
use fm_telemetry::outflow;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::{counters, gauges};

/// Lines that arrived.
pub(super) fn arrived(registry: &mut Registry, snapshot: &Snapshot) {
    let log = &snapshot.log;
    for (name, help, value) in [
        (
            "log_lines",
            "Lines of HAProxy's log that were counted",
            log.lines,
        ),
        (
            "log_lines_lost",
            "Lines of HAProxy's log that never arrived",
            log.lost,
        ),
        (
            "log_lines_malformed",
            "Lines of HAProxy's log that could not be read",
            log.malformed,
        ),
        (
            "log_lines_unproven",
            "Lines without the secret of HAProxy's configuration; they count nowhere",
            log.unproven,
        ),
        (
            "log_lines_repeated",
            "Lines of HAProxy's log that came by a second way and counted once",
            log.repeated,
        ),
        (
            "log_lines_dropped",
            "Lines that HAProxy itself says it could not send",
            log.dropped,
        ),
        (
            "log_requests_unrouted",
            "Requests that no release claims",
            log.unrouted,
        ),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
}

/// Lines sent on by Forward, by destination.
pub(super) fn sent_on(registry: &mut Registry, all: &[outflow::Status]) {
    if all.is_empty() {
        return;
    }
    let (sent, lost) = (
        counters(
            registry,
            "log_forward_lines",
            "Lines of HAProxy's log that a destination of logs.forward has acknowledged",
        ),
        counters(
            registry,
            "log_forward_lines_lost",
            "Lines that never went to a destination of logs.forward because too many waited",
        ),
    );
    let (waiting, up) = (
        gauges(
            registry,
            "log_forward_waiting_bytes",
            "What waits to be sent to a destination of logs.forward",
        ),
        gauges(
            registry,
            "log_forward_up",
            "Whether a destination of logs.forward takes lines",
        ),
    );
    for status in all {
        let labels = vec![("to", status.to.clone())];
        sent.get_or_create(&labels).inc_by(status.sent);
        lost.get_or_create(&labels).inc_by(status.lost);
        waiting.get_or_create(&labels).set(status.waiting as f64);
        let connected = if status.connected { 1.0 } else { 0.0 };
        up.get_or_create(&labels).set(connected);
    }
}
