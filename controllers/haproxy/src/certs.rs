//! Certificates renewed without a reload: good copies that changed are given to HAProxy on its runtime socket.
//!
//! What must never happen: a half-written or wrong file replacing a certificate that works. Each one was found good before it
//! was copied ([`crate::kept`]), and HAProxy checks it again; a refused one is told once and tried again when the file changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fm_api::event::Severity;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tokio::time::Instant;

use crate::agent::note;
use crate::kept::{Good, Kept, LARGEST, News};
use crate::runtime::{Client, Error};
use crate::turn::Turn;

/// How often the sources are looked at.
const EVERY: Duration = Duration::from_millis(400);

/// What is known of the certificates in HAProxy.
#[derive(Debug, Default)]
pub(crate) struct Certs {
    looked: Option<Instant>,
    given: BTreeMap<PathBuf, [u8; 32]>,
    /// By source: the last moment at which it is valid.
    ends: BTreeMap<PathBuf, Timestamp>,
    /// Sources whose end was told.
    told: BTreeMap<PathBuf, Timestamp>,
    /// Copies that nothing needs any more were removed.
    swept: bool,
    /// The folder could not be written.
    trouble: Option<String>,
}

/// What happened to a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// HAProxy serves the new one.
    Renewed(PathBuf),
    /// HAProxy refused it and serves the old one.
    Refused(PathBuf, String),
}

impl Certs {
    /// Gives HAProxy every copy whose contents it may not have. The first time it is given what it has most likely read
    /// itself: an adopted HAProxy may be older than the file.
    ///
    /// # Errors
    /// When HAProxy does not answer.
    pub(crate) async fn renew(
        &mut self,
        client: &mut Client,
        kept: &Kept,
    ) -> Result<Vec<Renewal>, Error> {
        let mut renewals = Vec::new();
        for (source, good) in kept.good() {
            if self.given.get(source) == Some(&good.hash) {
                continue;
            }
            let known = self.given.insert(source.clone(), good.hash).is_some();
            let name = good.path.display().to_string();
            let renewal = match give(client, &name, good).await? {
                None => Renewal::Renewed(source.clone()),
                Some(words) => Renewal::Refused(source.clone(), words),
            };
            if known || matches!(renewal, Renewal::Refused(..)) {
                renewals.push(renewal);
            }
            let shown = client.run(&[format!("show ssl cert {name}")]).await?;
            match shown.first().and_then(|text| ends(text)) {
                Some(at) => drop(self.ends.insert(source.clone(), at)),
                None => drop(self.ends.remove(source)),
            }
        }
        Ok(renewals)
    }

    /// Certificates whose time is over, for people.
    fn over(&self, now: Timestamp) -> impl Iterator<Item = (&PathBuf, Timestamp, String)> {
        let over = self.ends.iter().filter(move |(_, at)| **at <= now);
        over.map(|(source, at)| {
            let words = format!(
                "{}: its time was over at {at}; it still serves, but clients refuse it: put a renewed one there",
                source.display()
            );
            (source, *at, words)
        })
    }
}

/// Gives HAProxy a certificate; tells why it did not take it.
async fn give(client: &mut Client, name: &str, good: &Good) -> Result<Option<String>, Error> {
    // A reload takes it in: it changes the structure.
    if good.source.pem.len() > LARGEST {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&good.source.pem);
    let set = client
        .run_with(&format!("set ssl cert {name}"), &text)
        .await?;
    let mut words = set.clone();
    if set.contains("Transaction created") || set.contains("Transaction updated") {
        let committed = client.run(&[format!("commit ssl cert {name}")]).await?;
        words = committed.into_iter().next().unwrap_or_default();
        if words.contains("Success") {
            return Ok(None);
        }
    }
    let _ = client.run(&[format!("abort ssl cert {name}")]).await;
    Ok(Some(words))
}

/// Reads the end of a certificate's time from `show ssl cert`.
fn ends(text: &str) -> Option<Timestamp> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("notAfter: "))?;
    let line = line.trim().strip_suffix(" GMT")?;
    let at = DateTime::strptime("%b %e %H:%M:%S %Y", line).ok()?;
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

impl Turn {
    /// Copies what is new and good, and tells of what is not.
    pub(crate) async fn take_in_certificates(&mut self) {
        let due = self.certs.looked.is_none_or(|at| at.elapsed() >= EVERY);
        if self.observe_only || !due {
            return;
        }
        self.certs.looked = Some(Instant::now());
        let news = match self.kept.take_in().await {
            Ok(news) => news,
            Err(error) => return self.certs.trouble = Some(error.to_string()),
        };
        self.certs.trouble = self.kept.write(false).err().map(|error| error.to_string());
        self.settings.binds = self.kept.binds();
        for one in news {
            let (severity, reason, message) = match one {
                News::Bad(_, words) => (Severity::Warning, "CertificateRefused", words),
                News::Mended(path) => (
                    Severity::Normal,
                    "CertificateInForce",
                    format!("{} is good again", path.display()),
                ),
            };
            if severity == Severity::Warning {
                tracing::warn!(problem = %message, "certificate");
            }
            note(&self.recorder, severity, reason, message).await;
        }
    }

    /// What is wrong with certificates now, and what is not served for it.
    pub(crate) fn certificate_troubles(&self) -> (Vec<String>, Vec<String>) {
        let now = self.ctx.clock.now();
        let folder = (self.certs.trouble.iter()).map(|words| {
            format!(
                "certificates cannot be kept in {}: {words}",
                self.dir.display()
            )
        });
        let wrong = folder
            .chain(self.kept.wrong())
            .chain(self.certs.over(now).map(|(_, _, words)| words));
        (wrong.collect(), self.kept.left_out().collect())
    }

    /// A person may have said that certificates which are gone are not to be kept.
    pub(crate) fn give_up_certificates(&mut self, accepted: &[String]) {
        let keeps = self.kept.keeps_the_gone();
        if !keeps.is_some_and(|word| accepted.contains(&word)) {
            return;
        }
        self.certs.trouble = self
            .kept
            .forget_the_gone()
            .err()
            .map(|error| error.to_string());
        // Looked at anew, and swept once HAProxy runs without them.
        self.certs.looked = None;
        self.certs.swept = false;
    }

    /// Gives HAProxy renewed certificates, and tells of it.
    pub(crate) async fn renew_certificates(&mut self) {
        if self.running.is_none() || self.observe_only {
            return;
        }
        if self.settled && !std::mem::replace(&mut self.certs.swept, true) {
            self.kept.clean();
        }
        let renewals = self.certs.renew(&mut self.client, &self.kept).await;
        for renewal in renewals.unwrap_or_default() {
            let (severity, reason, message) = match renewal {
                Renewal::Renewed(path) => (
                    Severity::Normal,
                    "CertificateInForce",
                    format!("{} is in force", path.display()),
                ),
                Renewal::Refused(path, words) => (
                    Severity::Warning,
                    "CertificateRefused",
                    format!(
                        "{}: HAProxy keeps the old certificate: {words}",
                        path.display()
                    ),
                ),
            };
            note(&self.recorder, severity, reason, message).await;
        }
        let now = self.ctx.clock.now();
        let over: Vec<(PathBuf, Timestamp, String)> = (self.certs.over(now))
            .filter(|(source, at, _)| self.certs.told.get(*source) != Some(at))
            .map(|(source, at, words)| (source.clone(), at, words))
            .collect();
        for (source, at, words) in over {
            self.certs.told.insert(source, at);
            note(
                &self.recorder,
                Severity::Warning,
                "CertificateExpired",
                words,
            )
            .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificates_time_is_read() {
        let text = "Filename: /x\nStatus: Used\nnotBefore: Nov  1 10:00:00 2026 GMT\nnotAfter: Dec  2 08:43:39 2026 GMT\n";
        assert_eq!(ends(text), Some("2026-12-02T08:43:39Z".parse().unwrap()));
        assert_eq!(ends("Filename: /x\n"), None);
    }
}
