//! The file that `--config` names. Unknown keys are refused, and each error says file, line and field.

pub(crate) mod logs;
pub(crate) mod notifications;
pub(crate) mod sinks;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fm_api::freeze::Freeze;
use fm_api::policy::Policy;
use serde::Deserialize;

use crate::cli::{Endpoints, LogFormat};
use crate::settings::SettingsError;

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct File {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) etcd: Option<Etcd>,
    pub(crate) controllers: Vec<String>,
    pub(crate) listen: Option<String>,
    pub(crate) socket_group: Option<String>,
    pub(crate) docker: Option<String>,
    pub(crate) binds: Vec<Bind>,
    pub(crate) trusted_proxies: Vec<String>,
    pub(crate) endpoints: Option<Endpoints>,
    pub(crate) observe_only: bool,
    pub(crate) instance: Option<String>,
    pub(crate) registry_auth: BTreeMap<String, Registry>,
    pub(crate) haproxy: Option<Haproxy>,
    pub(crate) log: Log,
    pub(crate) logs: logs::Logs,
    pub(crate) metrics: Metrics,
    pub(crate) providers: BTreeMap<String, Provider>,
    pub(crate) metric_addresses: Option<Vec<String>>,
    pub(crate) webhook_addresses: Option<Vec<String>>,
    pub(crate) freeze: Vec<Freeze>,
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) policy: Option<Policy>,
    pub(crate) sinks: Vec<sinks::Sink>,
    pub(crate) notifications: Vec<notifications::Notification>,
    pub(crate) telemetry: Telemetry,
}

/// A login at a system that metrics ask. At most one of bearer, basic and header.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Provider {
    pub(crate) bearer: Option<Secret>,
    pub(crate) basic: Option<Basic>,
    pub(crate) header: Option<Header>,
    pub(crate) ca: Option<PathBuf>,
    /// Signs the calls of webhooks.
    pub(crate) signing_key: Option<Secret>,
    pub(crate) addresses: Vec<String>,
}

/// Who has a role: users and groups of this machine, by name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Role {
    pub(crate) users: Vec<String>,
    pub(crate) groups: Vec<String>,
}

/// Where a secret is: exactly one of the two.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Secret {
    pub(crate) file: Option<PathBuf>,
    pub(crate) env: Option<String>,
}

/// A user and where the password is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Basic {
    pub(crate) username: String,
    pub(crate) file: Option<PathBuf>,
    pub(crate) env: Option<String>,
}

/// A header and where its value is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) file: Option<PathBuf>,
    pub(crate) env: Option<String>,
}

/// How to reach etcd.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Etcd {
    pub(crate) endpoints: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    /// etcd's --quota-backend-bytes.
    pub(crate) quota: Option<fm_api::quantity::Memory>,
}

/// An address of HAProxy's public side.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Bind {
    pub(crate) address: String,
    pub(crate) crt: Option<PathBuf>,
    #[serde(default)]
    pub(crate) alpn: Vec<String>,
}

/// A login at a registry of images.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Registry {
    /// Where it is sent; absent: its name says so, as in Docker's own configuration.
    pub(crate) server: Option<String>,
    pub(crate) username: String,
    pub(crate) password_file: PathBuf,
}

/// Who starts HAProxy. Exactly one of the two.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Haproxy {
    pub(crate) owned: Option<Owned>,
    pub(crate) external: Option<External>,
}

/// `frd` starts HAProxy and looks after it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Owned {
    pub(crate) binary: Option<PathBuf>,
    pub(crate) dir: Option<PathBuf>,
}

/// Somebody else starts HAProxy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct External {
    pub(crate) dir: PathBuf,
    /// Its runtime socket, with level admin.
    pub(crate) admin_socket: PathBuf,
    pub(crate) master_socket: PathBuf,
    /// The program, to ask it about a configuration before a reload.
    pub(crate) binary: Option<PathBuf>,
    /// `host:port` of ours to send its log to, if it cannot reach a socket in `dir`.
    pub(crate) log: Option<std::net::SocketAddr>,
}

/// The daemon's own log.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) level: Option<String>,
    pub(crate) format: Option<LogFormat>,
}

/// How other processes read what the agents of this one count.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// `ADDRESS:PORT` of this machine.
    pub(crate) listen: Option<String>,
    /// Over TLS, where each side shows a certificate.
    pub(crate) tls: Option<PeerTls>,
}

/// Our certificate and its key, and the authority that ours and the other daemons' are of: PEM files.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PeerTls {
    pub(crate) crt: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}

/// The golden signals.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// The folder in which they are kept; by default the store's, with etcd the one chosen for HAProxy or /var/lib/fridaymorning.
    pub(crate) dir: Option<PathBuf>,
}

/// Reads the file. Paths in it that are not absolute are below its folder.
pub(crate) fn read(path: &Path) -> Result<File, SettingsError> {
    let shown = path.display();
    let problem = |error: std::io::Error| SettingsError::new(format!("{shown}: {error}"));
    let size = std::fs::metadata(path).map_err(problem)?.len();
    if size > MAX_FILE {
        return Err(SettingsError::new(format!(
            "{shown}: the file has {size} bytes; allowed: up to {MAX_FILE}"
        )));
    }
    let bytes = std::fs::read(path).map_err(problem)?;
    let mut file = parse(&shown.to_string(), &bytes)?;
    file.resolve(path.parent().unwrap_or(Path::new("")));
    Ok(file)
}

fn parse(shown: &str, bytes: &[u8]) -> Result<File, SettingsError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes
            .iter()
            .take(error.valid_up_to())
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        SettingsError::new(format!("{shown}:{line}: the file is not UTF-8"))
    })?;
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(File::default());
    }
    let mut options = serde_saphyr::Options::default();
    options.strict_booleans = true;
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let place = error
            .location()
            .map_or_else(String::new, |at| format!("{}:{}:", at.line(), at.column()));
        SettingsError::new(format!("{shown}:{place} {error}"))
    })
}

impl File {
    fn resolve(&mut self, folder: &Path) {
        let below = |path: &mut PathBuf| *path = folder.join(&*path);
        let maybe = |path: &mut Option<PathBuf>| {
            if let Some(path) = path {
                below(path);
            }
        };
        maybe(&mut self.data_dir);
        maybe(&mut self.metrics.dir);
        if let Some(etcd) = &mut self.etcd {
            for path in [
                &mut etcd.password_file,
                &mut etcd.ca,
                &mut etcd.cert,
                &mut etcd.key,
            ] {
                maybe(path);
            }
        }
        self.logs.resolve(folder);
        if let Some(tls) = &mut self.telemetry.tls {
            for path in [&mut tls.crt, &mut tls.key, &mut tls.ca] {
                *path = folder.join(&*path);
            }
        }
        for channel in &mut self.notifications {
            maybe(&mut channel.url.file);
            let key = channel.signing_key.as_mut();
            key.into_iter().for_each(|key| maybe(&mut key.file));
        }
        for bind in &mut self.binds {
            maybe(&mut bind.crt);
        }
        for registry in self.registry_auth.values_mut() {
            below(&mut registry.password_file);
        }
        for provider in self.providers.values_mut() {
            maybe(&mut provider.ca);
            let bearer = provider.bearer.as_mut().map(|secret| &mut secret.file);
            let basic = provider.basic.as_mut().map(|basic| &mut basic.file);
            let header = provider.header.as_mut().map(|header| &mut header.file);
            let signing = provider.signing_key.as_mut().map(|key| &mut key.file);
            for file in [bearer, basic, header, signing].into_iter().flatten() {
                maybe(file);
            }
        }
        if let Some(haproxy) = &mut self.haproxy {
            if let Some(owned) = &mut haproxy.owned {
                maybe(&mut owned.dir);
            }
            if let Some(external) = &mut haproxy.external {
                below(&mut external.dir);
                below(&mut external.admin_socket);
                below(&mut external.master_socket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_read() {
        let text = b"
dataDir: /data
binds:
  - { address: '0.0.0.0:443', crt: /etc/certs, alpn: [h2, http/1.1] }
registryAuth:
  main: { server: registry.example.com, username: robot, passwordFile: secret }
haproxy: { owned: { binary: /usr/sbin/haproxy } }
log: { level: debug, format: json }
";
        let mut file = parse("frd.yaml", text).unwrap();
        file.resolve(Path::new("/etc/frd"));
        assert_eq!(file.binds[0].alpn, ["h2", "http/1.1"]);
        assert_eq!(
            file.registry_auth["main"].password_file,
            Path::new("/etc/frd/secret")
        );
        assert_eq!(file.log.format, Some(LogFormat::Json));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let error = parse("frd.yaml", b"dataDir: /data\ndocer: x\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("frd.yaml:2:"), "{error}");
        assert!(
            error.contains("docer") && error.contains("docker"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_log_receiver_is_refused_with_its_place() {
        for (entry, wanted) in [
            ("syslog: 'udp://nowhere'", "no address"),
            ("syslog: '/dev/log'", "unix:/PATH"),
            ("forward: '127.0.0.1:0'", "ADDRESS:PORT"),
            ("forward: '127.0.0.1:1', syslog: 'unix:/a'", "either"),
            (
                "syslog: 'unix:/a', sharedKey: { env: KEY }",
                "belong to forward",
            ),
            ("forward: '127.0.0.1:1', sharedKey: secret", "sharedKey"),
            (
                "forward: '127.0.0.1:1', secret: { env: KEY }",
                "forward has sharedKey",
            ),
        ] {
            let text = format!("logs:\n  receive:\n    - {{ {entry} }}\n");
            let error = parse("frd.yaml", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("frd.yaml:3:"), "{error}");
            assert!(error.contains(wanted) || wanted == "sharedKey", "{error}");
        }
    }

    #[test]
    fn a_sink_is_read_and_a_wrong_one_refused_with_its_place() {
        let text = b"sinks:
  - { influx: { address: 'http://tsdb:8086/', database: fm, retentionPolicy: week }, authRef: tsdb, interval: 5s }
  - { influx: { address: 'https://tsdb/base', org: my org, bucket: b }, labels: { cluster: eu-1 } }
  - { remoteWrite: { address: 'http://prometheus:9090/api/v1/write' }, name: prometheus }
";
        let file = parse("frd.yaml", text).unwrap();
        let urls: Vec<&str> = file.sinks.iter().map(|sink| sink.url.as_str()).collect();
        assert_eq!(
            urls,
            [
                "http://tsdb:8086/write?db=fm&rp=week&precision=s",
                "https://tsdb/base/api/v2/write?org=my+org&bucket=b&precision=s",
                "http://prometheus:9090/api/v1/write",
            ]
        );
        let intervals: Vec<u32> = file.sinks.iter().map(|sink| sink.interval).collect();
        assert_eq!(intervals, [5, 10, 10]);
        for (entry, wanted) in [
            ("{ name: x }", "either"),
            ("{ influx: { address: 'http://x' } }", "org and bucket"),
            (
                "{ influx: { address: 'http://x', database: a, bucket: b } }",
                "version 1",
            ),
            ("{ remoteWrite: { address: 'tsdb:9090' } }", "no address"),
            (
                "{ remoteWrite: { address: 'http://u:secret@x/' } }",
                "holds a login",
            ),
            (
                "{ remoteWrite: { address: 'http://x' }, interval: 60s }",
                "1s to 20s",
            ),
            (
                "{ remoteWrite: { address: 'http://x' }, labels: { 'a-b': c } }",
                "no name",
            ),
        ] {
            let text = format!("sinks:\n  - {entry}\n");
            let error = parse("frd.yaml", text.as_bytes()).unwrap_err().to_string();
            assert!(
                error.starts_with("frd.yaml:2:") && error.contains(wanted),
                "{error}"
            );
        }
    }

    #[test]
    fn a_wrong_notification_is_refused_with_its_place() {
        for (entry, wanted) in [
            ("name: a", "either webhook or slack"),
            ("name: A b, slack: { url: { env: X } }", "no name"),
            (
                "name: a, slack: { url: { env: X } }, template: '{{reson}}'",
                "{{reson}} is no variable",
            ),
            (
                "name: a, slack: { url: { env: X } }, template: '{{reason'",
                "not closed",
            ),
            (
                "name: a, slack: { url: { env: X } }, limit: { count: 0, per: 1m }",
                "count from 1",
            ),
            ("name: a, slack: { url: 'http://x' }", "mapping"),
            (
                "name: a, slack: { url: { env: X } }, reasons: [Promotd]",
                "no event has the reason `Promotd`, did you mean `Promoted`?",
            ),
            (
                "name: a, slack: { url: { env: X } }, reasons: [x]",
                "allowed: Aborted, ",
            ),
        ] {
            let text = format!("notifications:\n  - {{ {entry} }}\n");
            let error = parse("frd.yaml", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("frd.yaml:2:"), "{error}");
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_wrong_place_to_send_logs_to_is_refused_with_its_place() {
        for (entry, wanted) in [
            ("to: fluentd", "HOST:PORT"),
            ("to: 'fluentd:0'", "HOST:PORT"),
            ("to: 'flu entd:24224'", "HOST:PORT"),
            ("to: 'fluentd:24224', tag: 'a b'", "without blanks"),
            ("to: 'fluentd:24224', key: x", "sharedKey"),
        ] {
            let text = format!("logs:\n  forward:\n    - {{ {entry} }}\n");
            let error = parse("frd.yaml", text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("frd.yaml:3:"), "{error}");
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_place() {
        let error = parse("frd.yaml", b"binds:\n  - address: [1]\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("frd.yaml:2:"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let error = parse("frd.yaml", b"log: {}\nx: \xff\n")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "frd.yaml:2: the file is not UTF-8");
    }

    #[test]
    fn an_empty_file_changes_nothing() {
        assert!(
            parse("frd.yaml", b"# nothing yet\n")
                .unwrap()
                .data_dir
                .is_none()
        );
    }
}
