//! Certificates renewed without a reload: files that changed are given to HAProxy on its runtime socket.
//!
//! What must never happen: a half-written or wrong file replacing a certificate that works. HAProxy checks each one
//! before it takes it; a refused one is told once and tried again when the file changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fm_api::event::Severity;
use sha2::{Digest, Sha256};

use crate::agent::note;
use crate::config::Bind;
use crate::runtime::{Client, Error};
use crate::turn::Turn;

/// Larger files do not fit into HAProxy's buffer with their command.
const LARGEST: usize = 14_000;

/// What is known of the certificates.
#[derive(Debug, Default)]
pub(crate) struct Certs {
    given: BTreeMap<PathBuf, [u8; 32]>,
}

/// What happened to a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// HAProxy serves the new one.
    Renewed(PathBuf),
    /// HAProxy refused it and serves the old one.
    Refused(PathBuf, String),
}

/// The certificate files that these binds name, folders opened.
#[must_use]
pub(crate) fn files(binds: &[Bind]) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for crt in binds.iter().filter_map(|bind| bind.crt.as_ref()) {
        let path = Path::new(crt);
        if !path.is_dir() {
            all.push(path.to_owned());
            continue;
        }
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let file = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let extra = [".key", ".issuer", ".ocsp", ".sctl", ".dh"];
            if file.is_file()
                && !name.starts_with('.')
                && !extra.iter().any(|end| name.ends_with(end))
            {
                all.push(file);
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

impl Certs {
    /// Gives HAProxy every file whose contents it may not have. The first time it is given what it has most likely read
    /// itself: an adopted HAProxy may be older than the file.
    ///
    /// # Errors
    /// When HAProxy does not answer.
    pub(crate) async fn renew(
        &mut self,
        client: &mut Client,
        binds: &[Bind],
    ) -> Result<Vec<Renewal>, Error> {
        let mut renewals = Vec::new();
        for path in files(binds) {
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
            if self.given.get(&path) == Some(&hash) {
                continue;
            }
            let known = self.given.insert(path.clone(), hash).is_some();
            let renewal = give(client, path, &text).await?;
            if known || matches!(renewal, Renewal::Refused(..)) {
                renewals.push(renewal);
            }
        }
        Ok(renewals)
    }
}

async fn give(client: &mut Client, path: PathBuf, text: &str) -> Result<Renewal, Error> {
    if text.len() > LARGEST {
        let words = format!("it is larger than {LARGEST} bytes");
        return Ok(Renewal::Refused(path, words));
    }
    let name = path.display().to_string();
    let set = client
        .run_with(&format!("set ssl cert {name}"), text)
        .await?;
    if !set.contains("Transaction created") && !set.contains("Transaction updated") {
        let _ = client.run(&[format!("abort ssl cert {name}")]).await;
        return Ok(Renewal::Refused(path, set));
    }
    let committed = client.run(&[format!("commit ssl cert {name}")]).await?;
    let words = committed.into_iter().next().unwrap_or_default();
    if words.contains("Success") {
        return Ok(Renewal::Renewed(path));
    }
    let _ = client.run(&[format!("abort ssl cert {name}")]).await;
    Ok(Renewal::Refused(path, words))
}

impl Turn {
    /// Takes in renewed certificates, and tells of it.
    pub(crate) async fn renew_certificates(&mut self) {
        if self.running.is_none() || self.observe_only {
            return;
        }
        let renewals = self
            .certs
            .renew(&mut self.client, &self.settings.binds)
            .await;
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
    }
}
