//! `frctl doctor`: from the socket to each part of frd, what is not well and what to do.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use fm_api::cluster::{ClusterProblems, Subject};
use fm_api::http::{ReadyBody, ReadyCheck, VersionBody};
use reqwest::Method;
use serde_json::json;

use crate::client::{Address, Client, shown};
use crate::error::{Error, Exit, Result};
use crate::session::Session;
use crate::term;
use crate::text::Look;

/// One thing that was looked at.
#[derive(Debug, serde::Serialize)]
struct Finding {
    name: String,
    ok: bool,
    message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn well(name: &str, message: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            ok: true,
            message: message.into(),
            advice: None,
        }
    }
    fn bad(name: &str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            ok: false,
            message: message.into(),
            advice: Some(advice.into()),
        }
    }
}

pub(super) async fn run(session: &Session) -> Result<Exit> {
    let findings = look(session).await?;
    let well = findings.iter().all(|finding| finding.ok);
    if !session.object(&json!({ "ok": well, "checks": findings }))? {
        term::print(&report(&findings, &session.look()))?;
    }
    Ok(if well { Exit::Done } else { Exit::Error })
}

fn report(findings: &[Finding], look: &Look) -> String {
    let mut out = String::new();
    for finding in findings {
        let mark = if finding.ok {
            look.paint.green("ok ")
        } else {
            look.paint.red("BAD")
        };
        out.push_str(&format!("{mark}  {}: {}\n", finding.name, finding.message));
        if let Some(advice) = &finding.advice {
            out.push_str(&format!("     do: {advice}\n"));
        }
    }
    out
}

async fn look(session: &Session) -> Result<Vec<Finding>> {
    let address = Address::parse(session.server())?;
    let mut findings = Vec::new();
    if let Address::Unix(path) = &address {
        let finding = socket(path);
        let there = finding.ok;
        findings.push(finding);
        if !there {
            return Ok(findings);
        }
    }
    let client = Client::new(address.clone())?;
    match client.get("/version").await {
        Ok(value) => {
            let body: VersionBody = shown(value)?;
            findings.push(Finding::well("answer", format!("frd answers at {address}")));
            findings.push(version(&body));
        }
        Err(error) => {
            findings.push(unanswered(&address, &error));
            return Ok(findings);
        }
    }
    match ready(&client).await {
        Ok(body) => findings.extend(body.checks.iter().map(part)),
        Err(error) => findings.push(Finding::bad(
            "parts",
            format!("frd does not say how its parts are: {error:#}"),
            "look at frd's log",
        )),
    }
    if let Ok(value) = client.get("/v1/problems").await {
        let cluster: ClusterProblems = shown(value)?;
        // The store is what this daemon itself says of it: it stands above.
        let elsewhere = (cluster.items.iter()).filter(|problem| problem.subject != Subject::Store);
        findings.extend(elsewhere.map(|problem| {
            let name = format!("{} {}", problem.subject.word(), problem.name);
            Finding::bad(&name, &problem.message, &problem.next)
        }));
    }
    Ok(findings)
}

/// Whether there is a socket; who may use it is seen by trying.
fn socket(path: &Path) -> Finding {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::bad(
            "socket",
            format!("the folder of {shown} may not be entered by you"),
            "use sudo, or join the group that owns the folder",
        ),
        Err(_) => Finding::bad(
            "socket",
            format!("there is no {shown}"),
            format!(
                "start frd with `--listen unix:{shown}`, or name its socket with --server or FRCTL_SERVER"
            ),
        ),
        Ok(meta) if !meta.file_type().is_socket() => Finding::bad(
            "socket",
            format!("{shown} is no socket"),
            "name frd's socket with --server or FRCTL_SERVER",
        ),
        Ok(meta) => Finding::well("socket", format!("{shown}, {}", owner(&meta))),
    }
}

fn owner(meta: &fs::Metadata) -> String {
    format!(
        "owner {}, group {}, mode {:o}",
        named("/etc/passwd", meta.uid()),
        named("/etc/group", meta.gid()),
        meta.mode() & 0o777
    )
}

/// The name of a user or group id, or the id.
fn named(file: &str, id: u32) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let id = id.to_string();
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == id).then(|| name.to_owned())
        })
        .unwrap_or(id)
}

fn unanswered(address: &Address, error: &Error) -> Finding {
    let mut advice = error.advice().unwrap_or("look at frd's log").to_owned();
    if let Address::Unix(path) = address
        && error.to_string().starts_with("you may not")
        && let Ok(meta) = fs::metadata(path)
    {
        let group = named("/etc/group", meta.gid());
        advice = if meta.gid() == 0 {
            "use sudo, or start frd with `--socket-group GROUP`, a group that you are in".to_owned()
        } else {
            format!(
                "use sudo, or let an administrator add you: `usermod -aG {group} $USER`, then log in again"
            )
        };
    }
    Finding::bad("answer", format!("{error:#}"), advice)
}

fn version(body: &VersionBody) -> Finding {
    let client = env!("CARGO_PKG_VERSION");
    let text = format!(
        "frctl {client}, frd {} (store: {}, identity {})",
        body.version, body.store, body.identity
    );
    if body.version == client {
        Finding::well("version", text)
    } else {
        Finding::bad(
            "version",
            text,
            "install the frctl that came with this frd: newer fields are not shown by an older one",
        )
    }
}

/// The state of each part, whether or not all is well.
async fn ready(client: &Client) -> Result<ReadyBody> {
    let failed = |error| Error::from(client.unreachable(error));
    let response = client
        .request(Method::GET, "/readyz")
        .timeout(Duration::from_secs(10))
        .send()
        .await
        .map_err(failed)?;
    let body = client.read(response).await?;
    let value = serde_json::from_slice(&body)
        .map_err(|error| Error::new("/readyz is not what frctl expects").because(error))?;
    shown(value)
}

fn part(check: &ReadyCheck) -> Finding {
    if check.ok && !check.warns {
        return Finding::well(&check.name, &check.message);
    }
    let advice = match check.name.as_str() {
        "store" => {
            "is etcd up and reachable, has it room (`etcdctl endpoint status`, `alarm list`), or is the disk of --data-dir full? Traffic stays as it is meanwhile"
        }
        "swarm" => {
            "does `docker info` answer here, and is this node a Swarm manager (`docker node ls`)?"
        }
        // It serves; what is wrong says what to do.
        "haproxy" if check.warns => "what is said above; `frctl edge list` shows every edge",
        "haproxy" => {
            "is haproxy installed, and are the ports of --http-bind free? frd's log has HAProxy's words"
        }
        "promotion" | "analysis" => {
            "nothing moves forward meanwhile; frd's log says why it does not run"
        }
        "api" => "frd's log says why",
        _ => "look at frd's log",
    };
    Finding::bad(&check.name, &check.message, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_says_what_to_do() {
        let check = ReadyCheck {
            name: "swarm".to_owned(),
            ok: false,
            warns: false,
            message: "docker does not answer".to_owned(),
        };
        let finding = part(&check);
        assert!(
            !finding.ok
                && finding
                    .advice
                    .is_some_and(|text| text.contains("docker info"))
        );
        assert!(!socket(Path::new("/nonexistent/frd.sock")).ok);
        assert!(!socket(Path::new("/etc/passwd")).ok);
        assert_eq!(named("/etc/passwd", 0), "root");
    }
}
