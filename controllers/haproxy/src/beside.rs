//! Another process on HAProxy's addresses is found while HAProxy runs, and told.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fm_api::event::Severity;
use fm_api::observed::{Trouble, TroubleKind};
use tokio::time::Instant;

use crate::agent::note;
use crate::files;
use crate::options::{Mode, Options};
use crate::ports::{self, Other, Ports};
use crate::turn::Turn;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How long an earlier HAProxy of ours may go on beside the one that is led: it may just be ending.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who else listens where HAProxy does.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) ports: Ports,
    external: bool,
    looked: Option<Instant>,
    others: Vec<Other>,
    since: Option<Instant>,
    told: Vec<Other>,
}

impl Beside {
    /// Nobody was seen yet.
    pub(crate) fn new(options: &Options) -> Self {
        let binds = options.binds.iter().map(|bind| bind.address.clone());
        Self {
            ports: Ports::new(&files::config(&options.dir), binds),
            external: matches!(options.mode, Mode::External { .. }),
            looked: None,
            others: Vec::new(),
            since: None,
            told: Vec::new(),
        }
    }
}

impl Turn {
    /// Looks who else listens on HAProxy's addresses; an earlier HAProxy of ours finishes what it has.
    pub(crate) async fn look_beside(&mut self) {
        if self.beside.looked.is_some_and(|at| at.elapsed() < EVERY) {
            return;
        }
        self.beside.looked = Some(Instant::now());
        let own: Option<Vec<u32>> = match &self.processes {
            Some(Ok(seen)) => {
                let workers = seen.worker.iter().chain(&seen.old).copied();
                Some(std::iter::once(seen.master).chain(workers).collect())
            }
            Some(Err(_)) | None => None,
        };
        let external = self.beside.external;
        let others = match &own {
            // Somebody else starts that one: where none of it is known nothing is.
            None if external => Vec::new(),
            own => self
                .beside
                .ports
                .others(own.as_deref().unwrap_or(&[]), external),
        };
        if others != self.beside.others {
            self.beside.since = Some(Instant::now());
            self.beside.others = others;
        }
        let waited = self
            .beside
            .since
            .is_some_and(|since| since.elapsed() >= PATIENCE);
        if !waited || self.beside.told == self.beside.others {
            return;
        }
        self.beside.told.clone_from(&self.beside.others);
        if !self.beside.others.is_empty() {
            let words = self.words_beside();
            tracing::warn!(problem = %words, "HAProxy's addresses");
            note(&self.recorder, Severity::Warning, "AddressShared", words).await;
        }
        if own.is_some() && !external && !self.observe_only {
            for other in &self.beside.others {
                self.beside.ports.stop_softly(other);
            }
        }
    }

    fn words_beside(&self) -> String {
        let led = matches!(self.processes, Some(Ok(_)));
        let (ours, strangers): (Vec<Other>, Vec<Other>) = self
            .beside
            .others
            .iter()
            .cloned()
            .partition(|other| other.ours);
        let mut all = Vec::new();
        if !strangers.is_empty() {
            all.push(ports::sentence(&strangers));
        }
        if !ours.is_empty() && led {
            let names: Vec<String> = ours.iter().map(ToString::to_string).collect();
            all.push(format!(
                "{}: an earlier HAProxy of this frd; it is asked to finish what it has",
                names.join("; ")
            ));
        } else if !ours.is_empty() {
            all.push(format!(
                "{}: `frctl edge accept {}`",
                ports::forgotten(&ours),
                self.instance
            ));
        }
        all.join("; ")
    }

    /// What to tell of them.
    pub(crate) fn trouble_beside(&self) -> Option<Trouble> {
        // One of ours may just be starting or ending.
        let waited = self
            .beside
            .since
            .is_some_and(|since| since.elapsed() >= PATIENCE);
        if !self.beside.others.iter().any(|other| waited || !other.ours) {
            return None;
        }
        Some(Trouble {
            kind: TroubleKind::Address,
            message: self.words_beside(),
            keeps: self.replaceable(),
        })
    }

    /// The word by which an earlier HAProxy of ours is replaced although its folder is gone.
    fn replaceable(&self) -> Option<String> {
        let led = matches!(self.processes, Some(Ok(_)));
        let ours =
            !self.beside.others.is_empty() && self.beside.others.iter().all(|other| other.ours);
        (ours && !led).then(|| ports::word(&self.beside.others))
    }

    /// A person may have said so.
    pub(crate) fn accept_beside(&self, accepted: &[String]) {
        if let (Some(word), Some(runner)) = (self.replaceable(), &self.checker)
            && accepted.contains(&word)
        {
            runner.remembers.store(true, Ordering::Relaxed);
        }
    }
}
