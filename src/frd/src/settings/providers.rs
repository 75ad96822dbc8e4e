//! The logins of other systems, and the sinks that use them, from the file. Secrets are only looked for here, never kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use fm_analysis::metrics::{Access, Credential, Login, Secret};
use fm_api::criteria::metrics::origin;
use fm_api::image;
use fm_notify::Channel;
use fm_swarm::RegistryLogin;

use crate::config;
use crate::sinks::{Kind, Sink};

/// What is wrong with a provider.
type Wrong = String;

/// Reads them, for metrics and for webhooks; the error names the field.
pub(super) fn access(
    file: BTreeMap<String, config::Provider>,
    metrics: Option<Vec<String>>,
    webhooks: Option<Vec<String>>,
    sinks: &[config::sinks::Sink],
) -> Result<(Access, Access), Wrong> {
    let read = |list: Option<Vec<String>>, field: &str| {
        let list = list.map(|list| origins(&list).map_err(|wrong| format!("{field}{wrong}")));
        list.transpose()
    };
    let metrics = read(metrics, "metricAddresses")?;
    let webhooks = read(webhooks, "webhookAddresses")?;
    let all: BTreeSet<&String> = metrics.iter().chain(&webhooks).flatten().collect();
    let login = |(name, provider): (String, _)| {
        let wrong = |wrong: String| format!("providers.{name}{wrong}");
        let mut login = login(provider).map_err(wrong)?;
        if login.origins.is_empty() {
            login.origins = told(&name, sinks, &all);
        }
        let secret = login.credential.is_some() || login.signing_key.is_some();
        if secret && login.origins.is_empty() {
            return Err(wrong(
                ": a login is sent to its own servers alone, and this one names none; add \
                 `addresses: [\"https://HOST:PORT\"]`"
                    .to_owned(),
            ));
        }
        Ok((name, login))
    };
    let logins: BTreeMap<String, Login> =
        file.into_iter().map(login).collect::<Result<_, Wrong>>()?;
    let access = |allowed| Access {
        logins: logins.clone(),
        allowed,
    };
    Ok((access(metrics), access(webhooks)))
}

/// For which servers a login without `addresses` is, as far as the rest of the file tells: the sinks that use it, and the
/// one address that may be asked at all.
fn told(name: &str, sinks: &[config::sinks::Sink], all: &BTreeSet<&String>) -> BTreeSet<String> {
    let mine = sinks
        .iter()
        .filter(|sink| sink.auth_ref.as_deref() == Some(name));
    let sinks = mine.filter_map(|sink| origin(sink.url.as_str()).ok());
    let one = all.iter().filter(|_| all.len() == 1);
    sinks.chain(one.map(ToString::to_string)).collect()
}

/// Logins at registries.
pub(super) fn registries(
    file: BTreeMap<String, config::Registry>,
) -> Result<BTreeMap<String, RegistryLogin>, Wrong> {
    file.into_iter()
        .map(|(name, registry)| {
            let wrong = |wrong: String| format!("registryAuth.{name}{wrong}");
            let server = match registry.server {
                Some(server) => server,
                // Docker's own configuration has its logins under their servers' addresses.
                None if name == "localhost" || name.contains(['.', ':']) => name.clone(),
                None => {
                    return Err(wrong(
                        ": a login is sent to its own server alone, and this one names none; add \
                         `server: HOST[:PORT]`, for Docker Hub `server: docker.io`"
                            .to_owned(),
                    ));
                }
            };
            image::server(&server).map_err(|why| wrong(format!(".server: {why}")))?;
            let file = &registry.password_file;
            let password = std::fs::read_to_string(file)
                .map_err(|error| wrong(format!(".passwordFile: {}: {error}", file.display())))?;
            let login = RegistryLogin {
                server,
                username: registry.username,
                password: password.trim_end_matches(['\r', '\n']).to_owned(),
            };
            Ok((name, login))
        })
        .collect()
}

/// Where events are told.
pub(super) fn notifications(
    file: Vec<config::notifications::Notification>,
) -> Result<Vec<Channel>, Wrong> {
    let mut names = BTreeSet::new();
    let one = |(at, channel): (usize, config::notifications::Notification)| {
        let wrong = |why: String| format!("notifications[{at}]{why}");
        if !names.insert(channel.name.clone()) {
            return Err(wrong(format!(".name: `{}` is taken already", channel.name)));
        }
        let url = secret(".url", channel.url.file, channel.url.env).map_err(wrong)?;
        let key = channel
            .signing_key
            .map(|key| secret(".signingKey", key.file, key.env).map_err(wrong));
        Ok(Channel {
            name: channel.name,
            url,
            shape: channel.shape,
            signing_key: key.transpose()?,
            rule: channel.rule,
        })
    };
    file.into_iter().enumerate().map(one).collect()
}

fn login(provider: config::Provider) -> Result<Login, Wrong> {
    let mut given = Vec::new();
    if let Some(bearer) = provider.bearer {
        given.push(Credential::Bearer(secret(
            ".bearer",
            bearer.file,
            bearer.env,
        )?));
    }
    if let Some(basic) = provider.basic {
        given.push(Credential::Basic {
            username: basic.username,
            password: secret(".basic", basic.file, basic.env)?,
        });
    }
    if let Some(header) = provider.header {
        let value = secret(".header", header.file, header.env)?;
        given.push(Credential::Header {
            name: header.name,
            value,
        });
    }
    if given.len() > 1 {
        return Err(": at most one of bearer, basic and header is allowed".to_owned());
    }
    let ca = provider.ca.map(|path| {
        std::fs::read(&path).map_err(|error| format!(".ca: {}: {error}", path.display()))
    });
    let signing_key = provider
        .signing_key
        .map(|key| secret(".signingKey", key.file, key.env));
    Ok(Login {
        signing_key: signing_key.transpose()?,
        credential: given.pop(),
        ca: ca.transpose()?,
        origins: origins(&provider.addresses).map_err(|wrong| format!(".addresses{wrong}"))?,
    })
}

pub(crate) fn secret(
    field: &str,
    file: Option<PathBuf>,
    env: Option<String>,
) -> Result<Secret, Wrong> {
    match (file, env) {
        (Some(path), None) => match std::fs::File::open(&path) {
            Ok(_) => Ok(Secret::File(path)),
            Err(error) => Err(format!("{field}.file: {}: {error}", path.display())),
        },
        (None, Some(name)) if std::env::var_os(&name).is_some() => Ok(Secret::Env(name)),
        (None, Some(name)) => Err(format!("{field}.env: frd's environment has no {name}")),
        _ => Err(format!("{field}: exactly one of file and env is needed")),
    }
}

fn origins(addresses: &[String]) -> Result<BTreeSet<String>, Wrong> {
    let one = |(index, address): (usize, &String)| {
        origin(address).map_err(|wrong| format!("[{index}]: `{address}` is no address: {wrong}"))
    };
    addresses.iter().enumerate().map(one).collect()
}

/// The sinks with their logins.
pub(super) fn sinks(file: Vec<config::sinks::Sink>, access: &Access) -> Result<Vec<Sink>, Wrong> {
    let mut names = BTreeSet::new();
    let one = |(at, sink): (usize, config::sinks::Sink)| {
        let wrong = |why: String| format!("sinks[{at}].{why}");
        let login = sink.auth_ref.as_ref().map(|name| {
            let known = access.logins.get(name);
            let login =
                known.ok_or_else(|| wrong(format!("authRef: providers has no `{name}`")))?;
            let to = origin(sink.url.as_str()).map_err(|why| wrong(format!("address: {why}")))?;
            let fits = login.check(name, &to);
            fits.map_err(|why| wrong(format!("authRef: {why}")))?;
            Ok::<Login, Wrong>(login.clone())
        });
        let kind = match sink.kind {
            Kind::Influx => "influx",
            Kind::RemoteWrite => "remoteWrite",
        };
        let host = sink.url.host_str().unwrap_or_default();
        let name = sink.name.unwrap_or_else(|| format!("{kind} {host}"));
        if !names.insert(name.clone()) {
            return Err(wrong(format!("name: `{name}` is taken already")));
        }
        Ok(Sink {
            name,
            kind: sink.kind,
            url: sink.url,
            login: login.transpose()?,
            labels: sink.labels,
            interval: sink.interval,
        })
    };
    file.into_iter().enumerate().map(one).collect()
}
