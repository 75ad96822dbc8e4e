//! `frd store …`: what a person does to the store itself, beside the daemon.
//!
//! What must never happen: a store changed under a running daemon; a copy put back that does not read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Subcommand;
use fm_store::{StoreError, embedded};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::settings::{Settings, Store};

/// What is done to the store.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Check, copy and put back the embedded store.
    #[command(subcommand)]
    Store(Work),
}

/// What is done to the embedded store.
#[derive(Debug, Clone, Subcommand)]
pub enum Work {
    /// Read everything in the store, or in a copy, and compare it with its checksums. The file must not be in use.
    Check {
        /// A copy; absent: the store itself.
        file: Option<PathBuf>,
    },
    /// Write the whole store to a file, also while frd runs.
    Backup {
        /// A file that does not exist yet.
        file: PathBuf,
    },
    /// Put a copy back in place of the store. frd must be stopped; what was there is kept beside it.
    Restore {
        /// The copy.
        file: PathBuf,
    },
    /// List the copies that frd keeps, the newest last.
    Copies,
}

/// Does it, and says what came of it.
///
/// # Errors
/// With the sentence that says what is wrong.
pub fn run(settings: &Settings, work: &Work) -> Result<String> {
    let directory = match &settings.store {
        Store::Embedded(directory) => directory,
        Store::Etcd(_) => bail!(
            "everything is kept in etcd: `etcdctl snapshot save FILE` copies it, `etcdctl snapshot restore` puts it back, \
             and `etcdctl endpoint hashkv` compares the members"
        ),
    };
    match work {
        Work::Check { file } => {
            let store = directory.join("store.redb");
            let path = file.as_deref().unwrap_or(&store);
            let checked = embedded::check(path).map_err(in_use)?;
            Ok(format!(
                "{} is whole: {} keys at revision {}",
                path.display(),
                checked.entries,
                checked.revision
            ))
        }
        Work::Backup { file } => back_up(directory, &settings.socket, file),
        Work::Restore { file } => {
            let (checked, aside) = embedded::restore(directory, file).map_err(in_use)?;
            let aside = aside.map_or_else(String::new, |aside| {
                format!("; what was there is now {}", aside.display())
            });
            Ok(format!(
                "{} is in place: {} keys at revision {}{aside}. Start frd",
                file.display(),
                checked.entries,
                checked.revision
            ))
        }
        Work::Copies => {
            let copies = embedded::copies(directory)
                .with_context(|| format!("the copies in {}", directory.display()))?;
            let lines: Vec<String> = copies
                .iter()
                .map(|copy| format!("{}  {} bytes", copy.path.display(), copy.bytes))
                .collect();
            Ok(if lines.is_empty() {
                format!("there are no copies in {} yet", directory.display())
            } else {
                lines.join("\n")
            })
        }
    }
}

fn in_use(error: StoreError) -> anyhow::Error {
    if let StoreError::Locked(_) = error {
        return anyhow!(
            "a frd is running on this store: stop it first, or write a copy (`frd store backup FILE`) and check that"
        );
    }
    error.into()
}

/// Of a store in use the running frd makes the copy.
fn back_up(directory: &Path, socket: &Path, to: &Path) -> Result<String> {
    if to.exists() {
        bail!("{} exists, and is not written over", to.display());
    }
    let bytes = match embedded::back_up(directory, to) {
        Ok(copy) => copy.bytes,
        Err(StoreError::Locked(_)) => {
            let copy = asked(socket)?;
            write(&copy, to).with_context(|| format!("{} to {}", copy.display(), to.display()))?
        }
        Err(error) => return Err(error.into()),
    };
    Ok(format!(
        "{} holds the whole store: {bytes} bytes",
        to.display()
    ))
}

/// Asks the frd at this socket for a copy.
fn asked(socket: &Path) -> Result<PathBuf> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(post(socket, "/v1/store/copies"));
    let answer = answer.with_context(|| {
        format!(
            "the store is in use, and no frd answers at {} (`--listen` says where it does)",
            socket.display()
        )
    })?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    match answer["path"].as_str() {
        Some(path) => Ok(PathBuf::from(path)),
        None => bail!("frd made no copy: {}", answer["error"]["message"]),
    }
}

async fn post(socket: &Path, path: &str) -> Result<Bytes> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::post(path)
        .header("host", "frd")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    Ok(body)
}

/// A file under its name once it is whole.
fn write(from: &Path, to: &Path) -> io::Result<u64> {
    let mut half = to.as_os_str().to_owned();
    half.push(".half");
    let mut target = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&half)?;
    let bytes = io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()?;
    fs::rename(&half, to)?;
    Ok(bytes)
}
