//! One copy: the request as HAProxy told it.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};

use super::MARK;
use super::spop::{self, Data};

/// Tells HAProxy's frontend for copies which split record decided the original.
const RECORD: &str = "x-fm-record";
/// And which pair it is half of.
const PAIR: &str = "x-fm-pair";
const FORWARDED_FOR: &str = "x-forwarded-for";
/// What speaks of the user's connection and not of the request, or that only we may say.
const LEFT_OUT: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "content-length",
    "expect",
    RECORD,
    PAIR,
    MARK,
];
/// A request to be sent once more.
#[derive(Debug)]
pub(super) struct Copy {
    /// The request.
    pub(super) request: Request<Empty<Bytes>>,
    /// The canary's backend.
    pub(super) backend: String,
}

impl Copy {
    /// Of what HAProxy tells; `None` where it cannot be repeated as it was.
    pub(super) fn of(arguments: &[(&str, Data<'_>)]) -> Option<Self> {
        let bytes = |wanted: &str| {
            arguments.iter().find_map(|(name, data)| match data {
                Data::Bytes(bytes) if *name == wanted => Some(*bytes),
                Data::Bytes(_)
                | Data::Bool(_)
                | Data::Number(_)
                | Data::Address(_)
                | Data::Null => None,
            })
        };
        let source = arguments.iter().find_map(|(name, data)| match data {
            Data::Address(source) if *name == "source" => Some(*source),
            Data::Bytes(_) | Data::Bool(_) | Data::Number(_) | Data::Address(_) | Data::Null => {
                None
            }
        });
        let record = bytes("record")?;
        // The fifth field of the record.
        let backend = record.split(|byte| *byte == b'|').nth(4)?;
        let method = Method::from_bytes(bytes("method")?).ok()?;
        if !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return None;
        }
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(bytes("path")?).ok()?;
        let all = request.headers_mut();
        *all = headers(bytes("headers")?, source)?;
        for (name, value) in [(RECORD, record), (PAIR, bytes("pair")?)] {
            let value = HeaderValue::from_bytes(value).ok()?;
            all.insert(HeaderName::from_static(name), value);
        }
        let backend = String::from_utf8_lossy(backend).into_owned();
        Some(Self { request, backend })
    }
}

fn headers(told: &[u8], source: Option<IpAddr>) -> Option<HeaderMap> {
    let mut all = HeaderMap::new();
    for (name, value) in spop::headers(told)? {
        let name = HeaderName::from_bytes(name).ok()?;
        if !LEFT_OUT.contains(&name.as_str()) {
            all.append(name, HeaderValue::from_bytes(value).ok()?);
        }
    }
    // As HAProxy does it for the original: the client's address behind whatever stands there.
    if let Some(source) = source {
        let value = HeaderValue::from_str(&source.to_string()).ok()?;
        all.append(HeaderName::from_static(FORWARDED_FOR), value);
    }
    all.insert(HeaderName::from_static(MARK), HeaderValue::from_static("1"));
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in pairs.iter().chain(&[("", "")]) {
            for text in [name, value] {
                bytes.push(u8::try_from(text.len()).unwrap());
                bytes.extend(text.as_bytes());
            }
        }
        bytes
    }

    fn of(method: &str, path: &str, pairs: &[(&str, &str)]) -> Option<Copy> {
        let headers = told(pairs);
        Copy::of(&[
            ("record", Data::Bytes(b"r|0|0|a|b|n/s|r|r|1|500")),
            ("pair", Data::Bytes(b"1234")),
            ("method", Data::Bytes(method.as_bytes())),
            ("path", Data::Bytes(path.as_bytes())),
            ("headers", Data::Bytes(&headers)),
            ("source", Data::Address([192, 0, 2, 1].into())),
        ])
    }

    #[test]
    fn a_copy_is_the_request_with_the_clients_address_and_our_mark() {
        let Copy { request, backend } = of(
            "GET",
            "/cart?id=1",
            &[
                ("host", "shop.example.com"),
                ("cookie", "a=b"),
                ("cookie", "c=d"),
                ("connection", "close"),
                ("x-fm-record", "forged"),
                ("x-forwarded-for", "198.51.100.7"),
            ],
        )
        .unwrap();
        assert_eq!(
            (backend.as_str(), request.uri().to_string().as_str()),
            ("b", "/cart?id=1")
        );
        let all = |name: &str| -> Vec<_> {
            let values = request.headers().get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(all("host"), ["shop.example.com"]);
        assert_eq!(all("cookie"), ["a=b", "c=d"]);
        assert_eq!(all("connection"), [""; 0]);
        assert_eq!(all(RECORD), ["r|0|0|a|b|n/s|r|r|1|500"]);
        assert_eq!(all(FORWARDED_FOR), ["198.51.100.7", "192.0.2.1"]);
        assert_eq!(
            (all(MARK), all(PAIR)),
            (vec!["1".to_owned()], vec!["1234".to_owned()])
        );
    }

    #[test]
    fn what_is_not_safe_or_cannot_be_repeated_is_no_copy() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "CONNECT", "get", ""] {
            assert!(of(method, "/", &[]).is_none(), "{method}");
        }
        assert!(of("GET", "/a b", &[]).is_none());
        assert!(of("GET", "/", &[("a b", "c")]).is_none());
        assert!(of("GET", "/", &[("a", "b\nc")]).is_none());
        assert!(Copy::of(&[("method", Data::Bytes(b"GET"))]).is_none());
        assert!(of("OPTIONS", "*", &[("host", "a")]).is_some());
    }
}
