//! The store on etcd 3.4 or newer.
//!
//! Every call has a time limit and names the endpoints when it fails. One member is talked to at a time; when it fails, the
//! next one is asked within the same call. A transaction that a failing member may have done is first looked for, and done
//! again only if it did not happen. A token that expired is renewed, with the password file read again. A write whose call
//! failed as unavailable may still have happened: the caller reads again, as after any failure. What must never happen: a
//! call without a time limit; a password in a message.

mod calls;
mod members;
mod quota;
mod txn;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Certificate, ConnectOptions, GetOptions, Identity, TlsOptions};

use self::calls::Connection;
use crate::{Entry, LeaseId, Listing, SharedStore, Space, Store, StoreError, Txn, Watch, limits};

/// How many entries of a list are read at once.
const PAGE: i64 = 200;
/// etcd itself limits what it sends; a page or a watch after a long disconnect may be larger than gRPC's usual 4 MiB.
const MAX_MESSAGE: usize = 1 << 30;
/// How many batches wait for a slow reader of a watch.
const WATCH_BUFFER: usize = 64;
/// How often an unused connection is asked for life, and how long that may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(3));
const CONNECT: Duration = Duration::from_secs(3);

/// How to reach etcd.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `http://host:2379` or `https://host:2379`.
    pub endpoints: Vec<String>,
    /// Who we are, when etcd asks.
    pub username: Option<String>,
    /// Where the password is; never on a command line.
    pub password_file: Option<PathBuf>,
    /// The certificate authority to trust, in PEM.
    pub ca: Option<PathBuf>,
    /// Our certificate, in PEM.
    pub cert: Option<PathBuf>,
    /// Our certificate's key, in PEM.
    pub key: Option<PathBuf>,
    /// Its --quota-backend-bytes, where it does not say so itself (before 3.6) and it is not etcd's own 2 GiB.
    pub quota: Option<u64>,
}

/// Connects, and makes sure that etcd answers.
///
/// # Errors
/// [`StoreError::Unavailable`] when it does not answer; [`StoreError::Refused`] when it does not let us in or the options
/// do not fit together.
pub async fn connect(options: Options) -> Result<SharedStore, StoreError> {
    if options.endpoints.is_empty() {
        return Err(StoreError::Refused("no etcd endpoint is given".to_owned()));
    }
    // What is wrong with it is told before any connection.
    credentials(&options).await?;
    let mut settings = ConnectOptions::new()
        .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
        .with_keep_alive_while_idle(true)
        .with_connect_timeout(CONNECT)
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let Some(tls) = tls(&options).await? {
        settings = settings.with_tls(tls);
    }
    let secure = |endpoint: &String| endpoint.starts_with("https://");
    let uncertified = options.cert.is_none() && options.endpoints.iter().any(secure);
    let connected = try_connect(options, settings).await;
    match connected {
        Ok(etcd) => Ok(Arc::new(etcd)),
        // A server that wants a certificate only hangs up.
        Err(StoreError::Unavailable(why)) if uncertified => Err(StoreError::Unavailable(format!(
            "{why}; it may demand a client certificate, and none is given"
        ))),
        Err(error) => Err(error),
    }
}

async fn try_connect(options: Options, settings: ConnectOptions) -> Result<Etcd, StoreError> {
    let connection = Connection::new(options, settings);
    let space = Arc::new(quota::Known::default());
    let etcd = Etcd { connection, space };
    // Any key will do: only the answer counts.
    etcd.get("/fridaymorning/").await?;
    tokio::spawn(quota::follow(
        etcd.connection.clone(),
        Arc::downgrade(&etcd.space),
    ));
    Ok(etcd)
}

/// The user's name and password, if we have them.
async fn credentials(options: &Options) -> Result<Option<(String, String)>, StoreError> {
    match (&options.username, &options.password_file) {
        (None, None) => Ok(None),
        (Some(name), Some(file)) => {
            let text = String::from_utf8(read(file).await?).map_err(|_| {
                StoreError::Refused(format!("{}: the password is not UTF-8", file.display()))
            })?;
            let password = text.strip_suffix('\n').unwrap_or(&text);
            let password = password.strip_suffix('\r').unwrap_or(password);
            Ok(Some((name.clone(), password.to_owned())))
        }
        (Some(_), None) => Err(StoreError::Refused(
            "an etcd user is given without a password file".to_owned(),
        )),
        (None, Some(_)) => Err(StoreError::Refused(
            "an etcd password file is given without a user".to_owned(),
        )),
    }
}

async fn tls(options: &Options) -> Result<Option<TlsOptions>, StoreError> {
    let secure = options
        .endpoints
        .iter()
        .any(|endpoint| endpoint.starts_with("https://"));
    if !secure {
        return match (&options.ca, &options.cert, &options.key) {
            (None, None, None) => Ok(None),
            _ => Err(StoreError::Refused(
                "certificates for etcd are given, but its endpoints are not https".to_owned(),
            )),
        };
    }
    if options
        .endpoints
        .iter()
        .any(|endpoint| !endpoint.starts_with("https://"))
    {
        return Err(StoreError::Refused(
            "either all etcd endpoints are https or none is".to_owned(),
        ));
    }
    let mut tls = TlsOptions::new();
    if let Some(ca) = &options.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(ca).await?));
    }
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            tls = tls.identity(Identity::from_pem(read(cert).await?, read(key).await?));
        }
        (None, None) => {}
        _ => {
            return Err(StoreError::Refused(
                "a client certificate for etcd needs its key, and the key its certificate"
                    .to_owned(),
            ));
        }
    }
    Ok(Some(tls))
}

async fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    tokio::fs::read(path)
        .await
        .map_err(|error| StoreError::Refused(format!("{}: {error}", path.display())))
}

struct Etcd {
    connection: Connection,
    /// The room it had when it was last asked.
    space: Arc<quota::Known>,
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let found = self
            .connection
            .call(|client| {
                let mut kv = client.kv_client().max_decoding_message_size(MAX_MESSAGE);
                async move { kv.get(key, None).await }
            })
            .await?;
        found.kvs().first().map(entry).transpose()
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        loop {
            match self.list_once(prefix).await {
                // The revision of the first page was compacted meanwhile: the pages no longer fit together.
                Err(StoreError::Compacted { .. }) => {}
                result => return result,
            }
        }
    }

    async fn range(&self, from: &str, to: &str, most: usize) -> Result<Listing, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_range(to).with_limit(most);
        let mut page = self
            .connection
            .call(|client| {
                let mut kv = client.kv_client().max_decoding_message_size(MAX_MESSAGE);
                let options = options.clone();
                async move { kv.get(from, Some(options)).await }
            })
            .await?;
        let read_at = page.header().map(|header| header.revision());
        let found = page.take_kvs();
        Ok(Listing {
            revision: revision(read_at),
            entries: found.iter().map(entry).collect::<Result<_, _>>()?,
        })
    }

    async fn commit(&self, txn: Txn) -> Result<u64, StoreError> {
        limits::check(&txn)?;
        txn::commit(&self.connection, &txn).await
    }

    async fn watch(&self, prefix: &str, from: u64) -> Result<Watch, StoreError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(WATCH_BUFFER);
        tokio::spawn(watch::follow(
            self.connection.clone(),
            prefix.to_owned(),
            from,
            sender,
        ));
        Ok(Watch::new(receiver))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        // etcd counts in whole seconds.
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let granted = self
            .connection
            .call(|client| {
                let mut leases = client.lease_client();
                async move { leases.grant(seconds.max(1), None).await }
            })
            .await?;
        Ok(LeaseId(granted.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.connection
            .call(|client| {
                let mut leases = client.lease_client();
                // The first answer is part of opening the stream, which is all we want of it.
                async move { leases.keep_alive(lease.0).await.map(drop) }
            })
            .await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let revoked = self
            .connection
            .call(|client| {
                let mut leases = client.lease_client();
                async move { leases.revoke(lease.0).await.map(drop) }
            })
            .await;
        match revoked {
            Err(StoreError::LeaseEnded) => Ok(()),
            result => result,
        }
    }

    fn space(&self) -> Option<Space> {
        let known = self.space.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn describe(&self) -> String {
        format!("etcd {}", self.connection.endpoints())
    }
}

impl Etcd {
    async fn list_once(&self, prefix: &str) -> Result<Listing, StoreError> {
        let end = end_of(prefix);
        let mut start = prefix.as_bytes().to_vec();
        let mut at: Option<i64> = None;
        let mut entries = Vec::new();
        loop {
            let mut options = GetOptions::new().with_range(end.clone()).with_limit(PAGE);
            if let Some(at) = at {
                options = options.with_revision(at);
            }
            let mut page = self
                .connection
                .call(|client| {
                    let mut kv = client.kv_client().max_decoding_message_size(MAX_MESSAGE);
                    let (start, options) = (start.clone(), options.clone());
                    async move { kv.get(start, Some(options)).await }
                })
                .await?;
            let read_at = *at.get_or_insert(page.header().map_or(0, |header| header.revision()));
            let more = page.more();
            let found = page.take_kvs();
            if let Some(last) = found.last() {
                start = last.key().to_vec();
                start.push(0);
            }
            for kv in &found {
                entries.push(entry(kv)?);
            }
            if !more || found.is_empty() {
                return Ok(Listing {
                    revision: revision(Some(read_at)),
                    entries,
                });
            }
        }
    }
}

/// The first key after all that begin with the prefix.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // No end: everything.
    vec![0]
}

fn revision(number: Option<i64>) -> u64 {
    number
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

fn entry(kv: &etcd_client::KeyValue) -> Result<Entry, StoreError> {
    Ok(Entry {
        key: key(kv)?,
        value: kv.value().to_vec(),
        revision: revision(Some(kv.mod_revision())),
    })
}

fn key(kv: &etcd_client::KeyValue) -> Result<String, StoreError> {
    String::from_utf8(kv.key().to_vec()).map_err(|_| {
        StoreError::Refused(format!(
            "a key that is not UTF-8: {}",
            String::from_utf8_lossy(kv.key())
        ))
    })
}
