//! Where HAProxy's log arrives, and the secret by which its lines are known.
//!
//! The secret stands in the configuration and in `log.secret` beside it, both for nobody else to read, so that an adopted
//! HAProxy goes on to be known. What must never happen: a secret that somebody else may have heard goes on to count.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

use fm_telemetry::proof::Proof;
use fm_telemetry::{Address, Receiver};

use crate::files;
use crate::options::{Mode, Options};

/// Ports that only root may take, and that nothing is known to use: while we are away nobody else can listen there in our place.
/// On an address of the loopback that chance gives, so that no other agent does either.
const RESERVED: [u16; 10] = [1011, 1012, 1013, 1014, 1015, 1016, 1017, 1018, 1019, 1020];

/// Listens where the operator says; on a socket in the agent's folder, where HAProxy is somebody else's and shares that;
/// else on a port of this machine, the same as before if that is still free, so that an adopted HAProxy goes on logging to it.
pub(crate) async fn listen(options: &Options) -> io::Result<(Receiver, Option<Proof>)> {
    let secret = options.dir.join("log.secret");
    let known = read(&secret);
    // Who only looks on changes nothing, and takes what a HAProxy of somebody else's writes.
    let proof = |known: Option<Proof>| match known {
        None if options.observe_only => Ok(None),
        None => fresh(&secret).map(Some),
        known => Ok(known),
    };
    match &options.mode {
        Mode::External {
            log: Some(address), ..
        } => {
            let (receiver, proof) = (Receiver::bind(*address).await?, proof(known)?);
            return Ok((receiver.proven_by(proof.clone()), proof));
        }
        Mode::External { log: None, .. } => {
            let socket = options.dir.join("log.sock");
            match Receiver::bind(Address::Unix(socket.clone())).await {
                Ok(receiver) => {
                    let proof = proof(known)?;
                    return Ok((receiver.proven_by(proof.clone()), proof));
                }
                Err(error) => tracing::warn!(
                    "{} cannot be used for HAProxy's log ({error}): a port on the loopback is used instead",
                    socket.display()
                ),
            }
        }
        Mode::Owned { .. } => {}
    }
    let path = options.dir.join("log.address");
    let before = std::fs::read_to_string(&path).ok();
    let before = before.and_then(|text| text.trim().parse::<SocketAddr>().ok());
    let again = match before.filter(|_| known.is_some()) {
        Some(before) => Receiver::bind(Address::Local(before)).await.ok(),
        None => None,
    };
    let (receiver, proof) = match again {
        Some(receiver) => (receiver, proof(known)?),
        // Somebody else may listen at the old one, and hear the old secret from HAProxy.
        None => (free().await?, proof(None)?),
    };
    files::replace(&path, receiver.address().to_string())?;
    Ok((receiver.proven_by(proof.clone()), proof))
}

async fn free() -> io::Result<Receiver> {
    for port in RESERVED {
        let [a, b, c, ..] = random()?;
        // Neither the network's own address nor its broadcast.
        let address = SocketAddr::from(([127, a, b, c.clamp(1, 254)], port));
        if let Ok(receiver) = Receiver::bind(Address::Local(address)).await {
            return Ok(receiver);
        }
    }
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Receiver::bind(Address::Local(any)).await
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The secret that is there, if it is one and nobody else can read it.
fn read(path: &Path) -> Option<Proof> {
    use std::os::unix::fs::PermissionsExt;
    let found = std::fs::symlink_metadata(path).ok()?;
    let private = found.is_file() && found.permissions().mode().trailing_zeros() >= 6;
    let text = std::fs::read_to_string(path).ok().filter(|_| private)?;
    Proof::new(text.trim())
}

/// A new one, from the system's own randomness.
fn fresh(path: &Path) -> io::Result<Proof> {
    let text: String = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
    files::replace(path, &text)?;
    Proof::new(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn options(dir: &Path, observe_only: bool) -> Options {
        Options {
            instance: "edge".into(),
            dir: dir.to_owned(),
            mode: Mode::Owned {
                binary: "/usr/sbin/haproxy".into(),
            },
            binds: Vec::new(),
            telemetry_address: String::new(),
            trusted_proxies: Vec::new(),
            observe_only,
        }
    }

    #[tokio::test]
    async fn the_secret_stays_as_long_as_nobody_else_may_have_heard_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path(), false);
        let (first, secret) = listen(&options).await.unwrap();
        let file = folder.path().join("log.secret");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let address = first.address().clone();
        drop(first);
        let (again, same) = listen(&options).await.unwrap();
        assert_eq!((again.address(), &same), (&address, &secret));
        // It is still there: somebody else holds our port.
        let (other, another) = listen(&options).await.unwrap();
        assert_ne!(other.address(), &address);
        assert!(another.is_some() && another != secret);
        // Others could read it.
        drop((again, other));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let (_open, third) = listen(&options).await.unwrap();
        assert!(third.is_some() && third != another);
    }

    #[tokio::test]
    async fn who_only_looks_on_makes_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let (_receiver, proof) = listen(&options(folder.path(), true)).await.unwrap();
        assert_eq!(proof, None);
        assert!(!folder.path().join("log.secret").exists());
    }
}
