//! Metrics of other systems: real Prometheus and InfluxDB, with and without TLS, and servers that lie.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a helper of tests fails the test"
)]

mod ask;
mod influx;
mod lying;
mod prometheus;
mod real;
