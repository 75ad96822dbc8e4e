//! Which server an image comes from, as Docker decides it. Pure.
//!
//! What must never happen: two readings of one reference. A login is sent to the server that is read here, and to no other.

use crate::validate;

/// Docker's own registry, under which it goes where an image names none.
pub const HUB: &str = "docker.io";

/// Its other names, in images and in Docker's configuration.
const HUBS: [&str; 4] = [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];

/// The registry of an image reference; `None`: an id, which only a machine knows.
#[must_use]
pub fn registry(reference: &str) -> Option<String> {
    if reference.starts_with("sha256:") {
        return None;
    }
    let host = match reference.split_once('/') {
        Some((host, _)) if validate::is_registry(host) => host,
        _ => HUB,
    };
    Some(familiar(host))
}

/// A registry as somebody wrote it, also as a key of Docker's own configuration (`https://index.docker.io/v1/`).
///
/// # Errors
/// Why it is none.
pub fn server(written: &str) -> Result<String, String> {
    let rest = match written.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        Some(_) => return Err(format!("`{}` is no registry", written.escape_debug())),
        None => written,
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || !validate::is_host(host) {
        return Err(format!(
            "`{}` is no registry: a host name, perhaps with a port",
            written.escape_debug()
        ));
    }
    Ok(familiar(host))
}

fn familiar(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if HUBS.contains(&host.as_str()) {
        HUB.to_owned()
    } else {
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_read_as_docker_reads_it() {
        let id = format!("sha256:{}", "a".repeat(64));
        for (reference, wanted) in [
            ("shop", Some("docker.io")),
            ("team/shop:1", Some("docker.io")),
            ("docker.io/library/shop", Some("docker.io")),
            ("index.docker.io/team/shop", Some("docker.io")),
            (
                "registry.example.com/shop:1.4.2",
                Some("registry.example.com"),
            ),
            ("Registry.Example.com/shop", Some("registry.example.com")),
            (
                "registry.example.com:5000/a/b@sha256:00",
                Some("registry.example.com:5000"),
            ),
            ("localhost/shop", Some("localhost")),
            ("registry/shop", Some("docker.io")),
            (id.as_str(), None),
        ] {
            assert_eq!(registry(reference).as_deref(), wanted, "{reference}");
        }
    }

    #[test]
    fn a_server_is_read_also_as_dockers_configuration_names_it() {
        for (written, wanted) in [
            ("registry.example.com", "registry.example.com"),
            ("https://registry.example.com/v2/", "registry.example.com"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
        ] {
            assert_eq!(server(written).as_deref(), Ok(wanted));
        }
        for written in ["", "ftp://x", "https://", "a b", "u:p@host"] {
            assert!(server(written).is_err(), "{written}");
        }
    }
}
