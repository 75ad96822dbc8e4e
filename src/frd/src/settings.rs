//! What the daemon does: its flags, then the file, then the defaults. Everything is checked here, before anything starts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fm_analysis::metrics::Access;
use fm_api::freeze::Freeze;
use fm_api::policy::Policy;
use fm_haproxy::{Bind, Mode};
use fm_notify::Channel;
use fm_swarm::RegistryLogin;
use fm_telemetry::peers::Peers;

use crate::cli::{Arguments, Endpoints, LogFormat};
pub use crate::config::logs::Ways;
use crate::config::{self, File};
use crate::roles::Roles;
use crate::sinks::Sink;

const DATA_DIR: &str = "/var/lib/fridaymorning";
const RUN_DIR: &str = "/run/fridaymorning";

/// A wrong flag or a wrong file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl SettingsError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// What the daemon does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub store: Store,
    /// Which controllers run here.
    pub controllers: BTreeSet<Controller>,
    /// Where the API is served.
    pub socket: PathBuf,
    /// Who may speak to the API besides the socket's owner.
    pub socket_group: Option<String>,
    /// Where Docker's API is.
    pub docker: String,
    /// Where other processes read what the agents of this one count; absent: at the socket, on this machine alone.
    pub telemetry: Option<SocketAddr>,
    /// How daemons show one another who they are.
    pub peers: Option<Peers>,
    /// Where HAProxy takes requests.
    pub binds: Vec<Bind>,
    /// HAProxy's configuration, maps and sockets.
    pub haproxy_dir: PathBuf,
    /// Where the golden signals are kept.
    pub signals: PathBuf,
    /// Who starts HAProxy.
    pub haproxy: Mode,
    /// How HAProxy reaches tasks.
    pub endpoints: Endpoints,
    /// Change nothing; say what would be done.
    pub observe_only: bool,
    /// Proxies before HAProxy whose word on the client is taken.
    pub trusted_proxies: Vec<String>,
    /// What shows that there was a store, so that no new one is made in silence.
    pub traces: Vec<PathBuf>,
    /// The name of this HAProxy among others.
    pub instance: String,
    /// Logins at registries.
    pub registries: BTreeMap<String, RegistryLogin>,
    /// Whom metrics may ask, and with which logins.
    pub access: Access,
    /// Whom webhooks may be sent to, with the same logins.
    pub webhooks: Access,
    /// Times in which no share of any release rises.
    pub freeze: Vec<Freeze>,
    /// Who may approve what.
    pub roles: Roles,
    /// What manifests may ask for; absent: what the store's age says.
    pub policy: Option<Policy>,
    /// Where events are told.
    pub notifications: Vec<Channel>,
    /// The daemon's own log.
    pub log: Log,
    /// Where signals are written to.
    pub sinks: Vec<Sink>,
    /// Where HAProxy's log arrives besides the default, and where it is sent on to.
    pub logs: Ways,
}

/// Where everything is kept.
#[derive(Debug, Clone)]
pub enum Store {
    /// In this folder, for this process alone.
    Embedded(PathBuf),
    /// In etcd.
    Etcd(fm_store::etcd::Options),
}

/// A controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Decides.
    Promotion,
    /// Makes Swarm so.
    Swarm,
    /// Makes HAProxy so.
    Haproxy,
    /// Judges.
    Analysis,
    /// Measures the tasks of this node.
    Node,
    /// Asks webhooks, and has jobs run before traffic.
    Gates,
}

impl Controller {
    const ALL: [Controller; 6] = [
        Controller::Promotion,
        Controller::Swarm,
        Controller::Haproxy,
        Controller::Analysis,
        Controller::Node,
        Controller::Gates,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Controller::Promotion => "promotion",
            Controller::Swarm => "swarm",
            Controller::Haproxy => "haproxy",
            Controller::Analysis => "analysis",
            Controller::Node => "node",
            Controller::Gates => "gates",
        }
    }
}

/// The daemon's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level or a filter.
    pub level: String,
    /// How it is written.
    pub format: LogFormat,
}

impl Settings {
    /// Reads the flags, and the file they name.
    ///
    /// # Errors
    /// What is wrong, with file, line and field where there is one.
    pub fn read(arguments: &Arguments) -> Result<Self, SettingsError> {
        let file = match &arguments.config {
            Some(path) => config::read(path)?,
            None => File::default(),
        };
        let name = arguments
            .config
            .as_ref()
            .map_or_else(String::new, |path| format!("{}: ", path.display()));
        Self::merge(arguments.clone(), file).map_err(|error| match error {
            Wrong::Flag(message) => SettingsError(message),
            Wrong::File(message) => SettingsError(format!("{name}{message}")),
        })
    }

    fn merge(flags: Arguments, mut file: File) -> Result<Self, Wrong> {
        let controllers = controllers(&flags, &file)?;
        let store = store(&flags, &file)?;
        if matches!(store, Store::Embedded(_)) && controllers.len() < Controller::ALL.len() {
            return Err(Wrong::Flag(
                "the embedded store belongs to one process, which must then run every controller; allowed: \
                 `--controllers all`, or `--etcd URL` to spread them over several"
                    .to_owned(),
            ));
        }
        let instance = instance(flags.instance.clone().or_else(|| file.instance.take()))?;
        let counts = controllers.contains(&Controller::Haproxy);
        let logs = std::mem::take(&mut file.logs).open(&instance, counts);
        let (access, webhooks) = providers::access(
            std::mem::take(&mut file.providers),
            file.metric_addresses.take(),
            file.webhook_addresses.take(),
            &file.sinks,
        )
        .map_err(Wrong::File)?;
        let (haproxy, owned_dir) = haproxy(&flags, &file)?;
        let haproxy_dir = flags.haproxy_dir.or(owned_dir);
        let chosen = haproxy_dir.is_some();
        let haproxy_dir = haproxy_dir.unwrap_or_else(|| match &store {
            Store::Embedded(directory) => directory.join("haproxy"),
            Store::Etcd(_) => Path::new(RUN_DIR).join("haproxy"),
        });
        let signals = match (&file.metrics.dir, &store) {
            (Some(directory), _) | (None, Store::Embedded(directory)) => directory.as_path(),
            // A folder that somebody chose is as lasting as he wants it; the default below /run is not.
            (None, Store::Etcd(_)) if chosen => haproxy_dir.as_path(),
            (None, Store::Etcd(_)) => Path::new(DATA_DIR),
        };
        let signals = absolute(&signals.join("signals.redb"))?;
        let haproxy_dir = absolute(&haproxy_dir)?;
        let traces = match flags.new_store {
            true => Vec::new(),
            false => vec![signals.clone(), fm_haproxy::trace(&haproxy_dir)],
        };
        Ok(Self {
            signals,
            traces,
            controllers,
            socket: socket(flags.listen.or(file.listen))?,
            socket_group: flags.socket_group.or(file.socket_group),
            docker: network::docker(flags.docker.or(file.docker))?,
            binds: network::binds(flags.http_bind, file.binds)?,
            haproxy_dir,
            trusted_proxies: network::trusted(file.trusted_proxies)?,
            haproxy,
            endpoints: flags.endpoints.or(file.endpoints).unwrap_or_default(),
            observe_only: flags.observe_only || file.observe_only,
            instance,
            registries: providers::registries(file.registry_auth).map_err(Wrong::File)?,
            telemetry: network::telemetry(file.telemetry.listen)?,
            peers: network::peers(file.telemetry.tls)?,
            sinks: providers::sinks(file.sinks, &access).map_err(Wrong::File)?,
            access,
            webhooks,
            freeze: freeze(file.freeze)?,
            policy: file.policy,
            notifications: providers::notifications(file.notifications).map_err(Wrong::File)?,
            roles: Roles::read(file.roles).map_err(Wrong::File)?,
            log: Log {
                level: flags
                    .log_level
                    .or(file.log.level)
                    .unwrap_or_else(|| "info".to_owned()),
                format: flags.log_format.or(file.log.format).unwrap_or_default(),
            },
            logs: logs.map_err(Wrong::File)?,
            store,
        })
    }
}

/// Whose fault it is: the message says which file.
enum Wrong {
    Flag(String),
    File(String),
}

fn absolute(path: &Path) -> Result<PathBuf, Wrong> {
    std::path::absolute(path).map_err(|error| Wrong::Flag(format!("{}: {error}", path.display())))
}

fn controllers(flags: &Arguments, file: &File) -> Result<BTreeSet<Controller>, Wrong> {
    let (names, wrong): (&[String], fn(String) -> Wrong) = if flags.controllers.is_empty() {
        (&file.controllers, |m| {
            Wrong::File(format!("controllers: {m}"))
        })
    } else {
        (&flags.controllers, |m| {
            Wrong::Flag(format!("--controllers: {m}"))
        })
    };
    let mut chosen = BTreeSet::new();
    for name in names {
        match (
            name.as_str(),
            Controller::ALL.iter().find(|c| c.name() == name),
        ) {
            ("all" | "none", _) if names.len() > 1 => {
                return Err(wrong(format!("`{name}` stands alone")));
            }
            ("all", _) => chosen.extend(Controller::ALL),
            ("none", _) => {}
            (_, Some(controller)) => {
                chosen.insert(*controller);
            }
            (other, None) => {
                return Err(wrong(format!(
                    "there is no controller `{other}`; allowed: all, none, promotion, swarm, haproxy, analysis, gates, node"
                )));
            }
        }
    }
    if names.is_empty() {
        chosen.extend(Controller::ALL);
    }
    Ok(chosen)
}

fn store(flags: &Arguments, file: &File) -> Result<Store, Wrong> {
    let from_file = file.etcd.as_ref();
    if flags.data_dir.is_none()
        && flags.etcd.is_empty()
        && from_file.is_some()
        && file.data_dir.is_some()
    {
        return Err(Wrong::File(
            "dataDir and etcd exclude each other".to_owned(),
        ));
    }
    let endpoints = match from_file {
        _ if !flags.etcd.is_empty() => flags.etcd.clone(),
        Some(etcd) if flags.data_dir.is_none() => etcd.endpoints.clone(),
        _ => {
            let asked = flags.etcd_user.is_some()
                || [
                    &flags.etcd_password_file,
                    &flags.etcd_ca,
                    &flags.etcd_cert,
                    &flags.etcd_key,
                ]
                .iter()
                .any(|path| path.is_some());
            if asked {
                return Err(Wrong::Flag("--etcd-… need --etcd URL".to_owned()));
            }
            let directory = flags.data_dir.as_deref().or(file.data_dir.as_deref());
            return Ok(Store::Embedded(absolute(
                directory.unwrap_or(Path::new(DATA_DIR)),
            )?));
        }
    };
    for endpoint in &endpoints {
        if !(endpoint.starts_with("http://") || endpoint.starts_with("https://")) {
            return Err(Wrong::Flag(format!(
                "`{endpoint}` is no address of etcd; allowed: http://host:port or https://host:port"
            )));
        }
    }
    if endpoints.is_empty() {
        return Err(Wrong::File(
            "etcd.endpoints: at least one address is needed".to_owned(),
        ));
    }
    let path = |flag: &Option<PathBuf>, of_file: Option<&Option<PathBuf>>| {
        flag.clone().or_else(|| of_file.cloned().flatten())
    };
    Ok(Store::Etcd(fm_store::etcd::Options {
        endpoints,
        username: flags
            .etcd_user
            .clone()
            .or_else(|| from_file.and_then(|e| e.user.clone())),
        password_file: path(
            &flags.etcd_password_file,
            from_file.map(|e| &e.password_file),
        ),
        ca: path(&flags.etcd_ca, from_file.map(|e| &e.ca)),
        cert: path(&flags.etcd_cert, from_file.map(|e| &e.cert)),
        key: path(&flags.etcd_key, from_file.map(|e| &e.key)),
        quota: from_file.and_then(|e| e.quota).map(|quota| quota.bytes()),
    }))
}

fn haproxy(flags: &Arguments, file: &File) -> Result<(Mode, Option<PathBuf>), Wrong> {
    let owned = |binary: Option<&PathBuf>| Mode::Owned {
        binary: flags
            .haproxy_binary
            .as_ref()
            .or(binary)
            .cloned()
            .unwrap_or_else(|| PathBuf::from("haproxy")),
    };
    match &file.haproxy {
        None => Ok((owned(None), None)),
        Some(config::Haproxy {
            owned: Some(of_file),
            external: None,
        }) => Ok((owned(of_file.binary.as_ref()), of_file.dir.clone())),
        Some(config::Haproxy {
            owned: None,
            external: Some(external),
        }) => {
            let mode = Mode::External {
                master: absolute(&external.master_socket)?,
                admin: absolute(&external.admin_socket)?,
                binary: flags
                    .haproxy_binary
                    .clone()
                    .or_else(|| external.binary.clone()),
                log: external.log,
            };
            Ok((mode, Some(external.dir.clone())))
        }
        Some(_) => Err(Wrong::File(
            "haproxy: exactly one of owned and external is needed".to_owned(),
        )),
    }
}

fn socket(listen: Option<String>) -> Result<PathBuf, Wrong> {
    let Some(listen) = listen else {
        return Ok(Path::new(RUN_DIR).join("frd.sock"));
    };
    if listen.starts_with("https://") || listen.starts_with("http://") {
        return Err(Wrong::Flag(format!(
            "listen: this version serves no network address such as `{listen}`; allowed: unix:PATH"
        )));
    }
    let path = listen
        .strip_prefix("unix:")
        .map(|path| path.strip_prefix("//").unwrap_or(path));
    match path {
        Some(path) if !path.is_empty() => {
            let path = absolute(Path::new(path))?;
            // The kernel's limit for the address of a unix socket is 108 bytes with the closing zero.
            if path.as_os_str().len() > 107 {
                return Err(Wrong::Flag(format!(
                    "listen: `{}` is too long for a unix socket; allowed: up to 107 bytes",
                    path.display()
                )));
            }
            Ok(path)
        }
        _ => Err(Wrong::Flag(format!(
            "listen: `{listen}` is no address; allowed: unix:PATH"
        ))),
    }
}

fn instance(asked: Option<String>) -> Result<String, Wrong> {
    let fits = |name: &str| {
        (1..=63).contains(&name.len())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
    };
    match asked {
        Some(name) if fits(&name) => Ok(name),
        Some(name) => Err(Wrong::Flag(format!(
            "instance: `{name}` is no name; allowed: up to 63 letters, digits, `-` and `.`"
        ))),
        None => {
            let host = host_name();
            Ok(if fits(&host) {
                host
            } else {
                "local".to_owned()
            })
        }
    }
}

/// The machine's name.
pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn freeze(windows: Vec<Freeze>) -> Result<Vec<Freeze>, Wrong> {
    for (at, window) in windows.iter().enumerate() {
        window.check().map_err(|wrong| {
            let dot = if wrong.field.is_empty() { "" } else { "." };
            Wrong::File(format!(
                "freeze[{at}]{dot}{}: {}; allowed: {}",
                wrong.field, wrong.what, wrong.allowed
            ))
        })?;
    }
    if fm_api::freeze::never_over(windows.iter()) {
        return Err(Wrong::File(
            "freeze: one window begins before the others are over, all the year: nothing would ever go on; \
             allowed: windows that leave some time between them"
                .to_owned(),
        ));
    }
    Ok(windows)
}

pub(crate) use providers::secret;

mod network;
mod providers;
#[cfg(test)]
mod tests;
