//! FridayMorning's nouns. No I/O, no clock, no randomness.
//!
//! | key under `/fridaymorning/` | type | writer |
//! |---|---|---|
//! | `releases/<ns>/<name>` | [`release::Release`] | the API |
//! | `operations/<ns>/<name>/<id>` | [`operation::Operation`] | the API |
//! | `targets/<ns>/<name>` | [`target::Target`] | promotion |
//! | `revisions/<ns>/<name>/<revision>` | [`target::RevisionRecord`] | promotion |
//! | `observed/<ns>/<name>/swarm` | [`observed::SwarmObserved`] | swarm |
//! | `observed/<ns>/<name>/haproxy/<instance>` | [`observed::HaproxyObserved`] | each haproxy agent |
//! | `verdicts/<ns>/<name>` | [`verdict::Verdict`] | analysis |
//! | `jobs/<ns>/<name>/<metric>/<side>` | [`job::JobRequest`] | analysis |
//! | `jobs/<ns>/<name>/_beforeTraffic/<gate>` | [`job::JobRequest`] | gates |
//! | `observed/<ns>/<name>/gates` | [`gates::GatesObserved`] | gates |
//! | `observed/<ns>/<name>/jobs/<metric>/<side>` | [`job::JobObserved`] | swarm |
//! | `observed/<ns>/<name>/jobs/_beforeTraffic/<gate>[/<revision>]` | [`job::JobObserved`] | swarm |
//! | `observed/<ns>/<name>/logs/<revision>` | [`log::KeptLog`] | swarm |
//! | `status/<ns>/<name>` | [`status::Status`] | promotion |
//! | `events/<id>` | [`event::Event`] | all |
//! | `notifications/<channel>` | up to where a channel was told | notify |
//! | `agents/<instance>` | [`observed::Agent`] | each haproxy agent |
//! | `daemons/<identity>` | [`daemon::Daemon`] | each daemon |
//! | `nodes/<instance>` | [`observed::NodeAgent`] | each node agent |
//! | `outliers/<ns>/<name>` | [`outlier::Outliers`] | analysis |

pub mod adoption;
pub mod branch;
pub mod cluster;
pub mod criteria;
pub mod daemon;
pub mod defaults;
pub mod dependency;
pub mod edge;
pub mod event;
pub mod experiment;
pub mod explain;
pub mod freeze;
pub mod gates;
pub mod http;
pub mod image;
pub mod job;
pub mod keys;
pub mod log;
pub mod loosening;
pub mod manifest;
pub mod measured;
pub mod observed;
pub mod operation;
pub mod outlier;
pub mod policy;
pub mod problem;
pub mod quantity;
pub mod release;
pub mod rollout;
pub mod schema;
pub mod signals;
pub mod status;
pub mod strategy;
pub mod target;
pub mod tasks;
pub mod validate;
pub mod verdict;
pub mod workload;
