//! Which strings may stand where. Owner of nothing; pure.
//!
//! What must never happen: a string that a user wrote reaching the configuration, or breaking a map's line. The
//! configuration holds generated names only, besides header names and health check paths that pass the strict
//! patterns below; hosts, paths and header values stand in maps.

use sha2::{Digest, Sha256};

/// The first ten hex digits of the SHA-256 of these parts, which cannot run into each other.
#[must_use]
pub fn hash10(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher
        .finalize()
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A host as HAProxy may look it up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// This name and no other.
    Exact(String),
    /// Every name that ends in this text, which begins with a dot.
    Below(String),
    /// Any name.
    Any,
}

impl Host {
    /// Reads a host of a route; `None` for what is not a lower-case LDH name, `*.name` or `*`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(rest) => is_name(rest).then(|| Self::Below(format!(".{rest}"))),
            None => is_name(text).then(|| Self::Exact(text.to_owned())),
        }
    }

    /// What stands before the path in the key of the routes' map.
    #[must_use]
    pub fn prefix(&self) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Below(suffix) => format!("*{suffix}"),
            Self::Any => "*".to_owned(),
        }
    }

    /// Whether every request that reaches `self` would also fit `other`.
    #[must_use]
    pub fn is_within(&self, other: &Host) -> bool {
        match (self, other) {
            (_, Host::Any) => true,
            (Host::Exact(name), Host::Below(suffix)) => name.ends_with(suffix.as_str()),
            (Host::Below(inner), Host::Below(suffix)) => inner.ends_with(suffix.as_str()),
            (Host::Exact(a), Host::Exact(b)) => a == b,
            (Host::Any, Host::Exact(_) | Host::Below(_)) | (Host::Below(_), Host::Exact(_)) => {
                false
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

/// A path prefix as it stands in the routes' map: it ends in `/`, so that only whole segments match.
#[must_use]
pub fn path_key(path: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._~!$&'()*+,=:@%/-".contains(&b);
    if !path.starts_with('/') || path.len() > 1024 || !path.bytes().all(allowed) {
        return None;
    }
    Some(format!("{}/", path.trim_end_matches('/')))
}

/// Whether this is an address, or a network in CIDR.
#[must_use]
pub fn is_network(text: &str) -> bool {
    let (address, bits) = text
        .split_once('/')
        .map_or((text, None), |(a, b)| (a, Some(b)));
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| {
        bits.bytes().all(|byte| byte.is_ascii_digit())
            && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    })
}

/// A header name as it may stand in the configuration, in lower case.
#[must_use]
pub fn header_name(name: &str) -> Option<String> {
    let ok = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        // A leading dash would read like an option of the configuration language.
        && !name.starts_with('-');
    ok.then(|| name.to_ascii_lowercase())
}

/// A cookie name as it may stand in the configuration.
#[must_use]
pub fn is_cookie_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        // Either would read like something else to the configuration language.
        && !name.starts_with(['-', '.'])
}

/// Whether a header's or cookie's value may stand in a map's key.
#[must_use]
pub fn is_header_value(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 128
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._~=+/:@-".contains(&b))
}

/// Whether a health check path may stand in the configuration: stricter than a route's path, because quotes, `$`,
/// `\`, `#`, brackets and white space mean something there.
#[must_use]
pub fn is_check_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 256
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._~/?=&%+,:@-".contains(&b))
}

/// Whether a file's path, which the operator chose, may stand in the configuration.
#[must_use]
pub fn is_file_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 512
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._~/+,:@-".contains(&b))
}

/// Whether this may be a field of a split record, or an id behind a comment in the configuration.
#[must_use]
pub fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_in_lower_case_or_wildcards() {
        assert_eq!(Host::parse("*"), Some(Host::Any));
        assert_eq!(
            Host::parse("*.example.com"),
            Some(Host::Below(".example.com".into()))
        );
        assert_eq!(
            Host::parse("shop.example.com"),
            Some(Host::Exact("shop.example.com".into()))
        );
        for bad in [
            "", "*.", "*.*", "a..b", "-a", "a-", "A.b", "a b", "a\nb", "a/b", "a:80", "*a", ".a",
            "#a",
        ] {
            assert_eq!(Host::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn paths_end_in_a_slash_and_hold_no_syntax() {
        assert_eq!(path_key("/").as_deref(), Some("/"));
        assert_eq!(path_key("/api").as_deref(), Some("/api/"));
        assert_eq!(path_key("/api//").as_deref(), Some("/api/"));
        for bad in [
            "",
            "api",
            "/a } || { always_true",
            "/a\nhttp-request deny",
            "/a\"",
            "/a\\",
            "/a#",
            "/a;b",
            "/%[env(SECRET)]",
            "/é",
        ] {
            assert_eq!(path_key(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_check_path_means_nothing_to_the_configuration_language() {
        assert!(is_check_path("/healthz?full=1&x=%20"));
        for bad in [
            "healthz",
            "/a b",
            "/'-i'",
            "/\"${SECRET}\"",
            "/$x",
            "/%[env(SECRET)]",
            "/a#",
            "/a\\n",
            "/a\n",
        ] {
            assert!(!is_check_path(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_host_lies_within_its_wildcards() {
        let exact = Host::Exact("a.b.example.com".into());
        let inner = Host::Below(".b.example.com".into());
        let outer = Host::Below(".example.com".into());
        assert!(exact.is_within(&inner) && exact.is_within(&outer) && exact.is_within(&Host::Any));
        assert!(
            inner.is_within(&outer) && !outer.is_within(&inner) && !Host::Any.is_within(&outer)
        );
        assert!(!Host::Exact("xexample.com".into()).is_within(&outer));
    }
}
