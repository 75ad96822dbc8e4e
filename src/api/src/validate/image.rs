//! Docker's grammar of image references.

/// What is wrong with an image reference; `None`: nothing.
pub(super) fn wrong(reference: &str) -> Option<String> {
    if let Some(digest) = reference.strip_prefix("sha256:") {
        return (!is_digest(digest))
            .then(|| "an image id is `sha256:` and 64 hex digits".to_owned());
    }
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    if let Some(digest) = digest
        && !digest.strip_prefix("sha256:").is_some_and(is_digest)
    {
        return Some("after `@` comes `sha256:` and 64 hex digits".to_owned());
    }
    let (name, tag) = match name.rsplit_once(':') {
        // A colon before a slash is the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    if let Some(tag) = tag
        && !is_tag(tag)
    {
        return Some(format!(
            "`{tag}` is no tag: letters, digits, `_`, `.` and `-`, at most 128"
        ));
    }
    let path = match name.split_once('/') {
        Some((host, path)) if is_registry(host) => {
            if !is_host(host) {
                return Some(format!(
                    "`{host}` is no registry: a host name, perhaps with a port"
                ));
            }
            path
        }
        _ => name,
    };
    if name.len() > 255 {
        return Some("the name is longer than 255 characters".to_owned());
    }
    let wrong = path.split('/').find(|part| !is_component(part))?;
    Some(if wrong.is_empty() {
        "a part of the name is empty".to_owned()
    } else {
        format!(
            "`{wrong}` is no part of an image's name: lower-case letters and digits, between them `.`, `_`, `__` or `-`"
        )
    })
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// As Docker decides whether the first part is a registry or a name.
pub(crate) fn is_registry(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|b| b.is_ascii_uppercase())
}

pub(crate) fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && host.split('.').all(label)
}

fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.bytes().next().is_some_and(word)
        && text.bytes().last().is_some_and(word)
        && separators
            .filter(|s| !s.is_empty())
            .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_that_docker_takes_are_taken() {
        let digest = "a".repeat(64);
        for reference in [
            "shop".to_owned(),
            "shop:1.4.2".to_owned(),
            "library/shop".to_owned(),
            "registry.example.com/team/shop:v1".to_owned(),
            "localhost:5000/shop".to_owned(),
            "127.0.0.1:5000/a/b/c:latest".to_owned(),
            format!("shop@sha256:{digest}"),
            format!("shop:1@sha256:{digest}"),
            format!("sha256:{digest}"),
            "a__b/c--d.e:X_1".to_owned(),
        ] {
            assert_eq!(wrong(&reference), None, "{reference}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for reference in [
            "",
            ":",
            ":1",
            "shop:",
            "Shop:1",
            "shop:1:2",
            "shop@sha256:12",
            "shop@md5:aa",
            "sha256:xyz",
            "a//b",
            "/a",
            "a/",
            "shop:-1",
            "-shop",
            "shop_",
            "a..b",
            "registry.example.com:99999/a",
            "registry.example.com:/a",
            "https://a/b",
            "a_-b",
        ] {
            assert!(wrong(reference).is_some(), "{reference}");
        }
    }
}
