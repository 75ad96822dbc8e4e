//! Which requests count as bad, and which as a client's mistake: the user's to say, with defaults that suit most.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Which requests are bad. A request is bad when any of these says so, and one that HAProxy had to give to stable because
/// no canary task was usable always is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BadRequests {
    /// Statuses of bad answers: codes, and classes such as `5xx`.
    #[schemars(length(max = 64))]
    pub statuses: Vec<Statuses>,
    /// gRPC statuses of bad answers, where HAProxy can see them.
    #[schemars(length(max = 17))]
    pub grpc: Vec<GrpcStatus>,
    /// Who ended a session badly, or how, by HAProxy's termination state, whatever the status.
    #[schemars(length(max = 16))]
    pub terminations: Vec<Termination>,
}

impl Default for BadRequests {
    fn default() -> Self {
        Self {
            statuses: vec![Statuses::Class(5)],
            grpc: vec![
                GrpcStatus::Unknown,
                GrpcStatus::DeadlineExceeded,
                GrpcStatus::Unimplemented,
                GrpcStatus::Internal,
                GrpcStatus::Unavailable,
                GrpcStatus::DataLoss,
            ],
            terminations: vec![Termination::Server],
        }
    }
}

/// How a request was answered, as far as HAProxy tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status; 0: there was no answer.
    pub status: u16,
    /// Who ended it.
    pub ended: Ended,
    /// The gRPC status, where HAProxy saw one.
    pub grpc: Option<u8>,
}

/// Who ended a request, as far as counters keep it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The server, by its whole answer.
    Well,
    /// The server, in another way. With both letters of HAProxy's state, where they are known.
    ByServer(Option<[u8; 2]>),
    /// HAProxy. With both letters of its state, where they are known.
    ByProxy(Option<[u8; 2]>),
    /// The client, while the answer was on its way. One that left before it began is not counted at all.
    ByClient,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered well.
    Good,
    /// Refused as the client's mistake: a 4xx, or a gRPC status other than OK, that is not bad.
    ClientError,
    /// Bad, as the criteria say.
    Bad,
    /// The client went away or stalled: nobody's fault, and not counted.
    Nobodys,
}

impl BadRequests {
    /// What became of a request. Once the answer had begun, a bad status is the server's, although the client left.
    #[must_use]
    pub fn outcome(&self, answer: Answer) -> Outcome {
        let ended = self.terminations.iter().any(|t| t.names(answer.ended));
        let bad = ended
            || self.statuses.iter().any(|s| s.holds(answer.status))
            || (answer.grpc).is_some_and(|code| self.grpc.iter().any(|g| g.code() == code));
        let refused = answer.status / 100 == 4 || answer.grpc.is_some_and(|code| code != 0);
        match answer.ended {
            _ if bad => Outcome::Bad,
            Ended::ByClient => Outcome::Nobodys,
            _ if refused => Outcome::ClientError,
            Ended::Well | Ended::ByServer(_) | Ended::ByProxy(_) => Outcome::Good,
        }
    }
}

/// A status code, or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    /// All of a class: `5` is `5xx`.
    Class(u8),
    /// One code.
    Code(u16),
}

impl Statuses {
    /// Whether it is or holds this code.
    #[must_use]
    pub const fn holds(self, status: u16) -> bool {
        match self {
            Statuses::Class(class) => status / 100 == class as u16,
            Statuses::Code(code) => status == code,
        }
    }
}

const STATUSES: &str = "a code from 100 to 599, or a class: `1xx`, `2xx`, `3xx`, `4xx`, `5xx`";

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Statuses::Class(class) => to.serialize_str(&format!("{class}xx")),
            Statuses::Code(code) => to.serialize_u16(*code),
        }
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Statuses;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(STATUSES)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Statuses, E> {
                match text.as_bytes() {
                    [class @ b'1'..=b'5', b'x', b'x'] => Ok(Statuses::Class(class - b'0')),
                    _ => Err(E::custom(format!("`{text}` is not {STATUSES}"))),
                }
            }
            fn visit_u64<E: serde::de::Error>(self, code: u64) -> Result<Statuses, E> {
                match u16::try_from(code) {
                    Ok(code @ 100..=599) => Ok(Statuses::Code(code)),
                    _ => Err(E::custom(format!("{code} is not {STATUSES}"))),
                }
            }
            fn visit_i64<E: serde::de::Error>(self, code: i64) -> Result<Statuses, E> {
                self.visit_u64(u64::try_from(code).map_err(E::custom)?)
            }
        }
        from.deserialize_any(Written).map_err(D::Error::custom)
    }
}

impl JsonSchema for Statuses {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Statuses".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"], "pattern": "^[1-5]xx$", "minimum": 100, "maximum": 599,
            "patternErrorMessage": STATUSES, "description": "A status code, or a class of them such as `5xx`.",
        })
    }
}

/// A gRPC status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[repr(u8)]
pub enum GrpcStatus {
    /// 1: the caller cancelled it.
    Cancelled = 1,
    /// 2: an error that says no more.
    Unknown = 2,
    /// 3: the caller gave a wrong argument.
    InvalidArgument = 3,
    /// 4: it took too long.
    DeadlineExceeded = 4,
    /// 5: something asked for was not found.
    NotFound = 5,
    /// 6: something to be made exists already.
    AlreadyExists = 6,
    /// 7: the caller may not do this.
    PermissionDenied = 7,
    /// 8: a quota or a resource is used up.
    ResourceExhausted = 8,
    /// 9: the system's state does not allow it.
    FailedPrecondition = 9,
    /// 10: it was given up, as two callers were in each other's way.
    Aborted = 10,
    /// 11: beyond the valid range.
    OutOfRange = 11,
    /// 12: the service has no such method.
    Unimplemented = 12,
    /// 13: something is broken in the service.
    Internal = 13,
    /// 14: the service is not available now.
    Unavailable = 14,
    /// 15: data is lost.
    DataLoss = 15,
    /// 16: the caller is not known.
    Unauthenticated = 16,
}

impl GrpcStatus {
    /// As it is on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

const TERMINATIONS: &str = "`server` (HAProxy's states S, s, D), `proxy` (P, R, I, L and others), or both letters of a state \
     such as `sH` or `SC`; a client that went away (C, c) is nobody's and never counts";

/// Who ended a session, or how: what HAProxy's termination state says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    /// The server refused, reset or closed the connection, was too slow or went down (`S`, `s`, `D`).
    Server,
    /// HAProxy itself: it refused the request or the answer, lacked a resource, met a limit (`P`, `R`, `I`, `L` and others).
    Proxy,
    /// One state by both its letters: `sH`, the server was too slow with its headers; `SC`, it refused the connection.
    State([u8; 2]),
}

/// First letters of states that are not a client's, and second letters.
const CAUSES: &[u8] = b"SsDPRILUK";
const PHASES: &[u8] = b"RQCHDLT-";

impl Termination {
    fn names(self, ended: Ended) -> bool {
        match (self, ended) {
            (Termination::Server, Ended::ByServer(_)) | (Termination::Proxy, Ended::ByProxy(_)) => {
                true
            }
            (Termination::State(wanted), Ended::ByServer(state) | Ended::ByProxy(state)) => {
                state == Some(wanted)
            }
            _ => false,
        }
    }
}

impl Serialize for Termination {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Termination::Server => to.serialize_str("server"),
            Termination::Proxy => to.serialize_str("proxy"),
            Termination::State(letters) => {
                to.collect_str(&letters.map(char::from).iter().collect::<String>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Termination {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        match text.as_bytes() {
            b"server" => Ok(Termination::Server),
            b"proxy" => Ok(Termination::Proxy),
            [cause, phase] if CAUSES.contains(cause) && PHASES.contains(phase) => {
                Ok(Termination::State([*cause, *phase]))
            }
            _ => Err(D::Error::custom(format!("`{text}` is not {TERMINATIONS}"))),
        }
    }
}

impl JsonSchema for Termination {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Termination".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": "^(server|proxy|[SsDPRILUK][RQCHDLT-])$",
            "patternErrorMessage": TERMINATIONS, "description": "Who ended a session, or how: what HAProxy's termination state says.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Ended = Ended::Well;
    const SERVER: Ended = Ended::ByServer(Some(*b"sH"));
    const PROXY: Ended = Ended::ByProxy(Some(*b"PR"));

    fn outcome(bad: &str, status: u16, ended: Ended, grpc: Option<u8>) -> Outcome {
        let bad: BadRequests = serde_json::from_str(bad).unwrap();
        bad.outcome(Answer {
            status,
            ended,
            grpc,
        })
    }

    #[test]
    fn the_defaults_blame_the_server_and_nobody_for_a_client_that_left() {
        use Outcome::{Bad, ClientError, Good, Nobodys};
        for (status, ended, grpc, wanted) in [
            (200, WELL, None, Good),
            (304, WELL, None, Good),
            (404, WELL, None, ClientError),
            (429, PROXY, None, ClientError),
            (500, WELL, None, Bad),
            (503, SERVER, None, Bad),
            (504, SERVER, None, Bad),
            (200, SERVER, None, Bad),
            (0, SERVER, None, Bad),
            (502, PROXY, None, Bad),
            (200, Ended::ByClient, None, Nobodys),
            (500, Ended::ByClient, None, Bad),
            (200, WELL, Some(0), Good),
            (200, WELL, Some(14), Bad),
            (200, WELL, Some(5), ClientError),
        ] {
            assert_eq!(
                outcome("{}", status, ended, grpc),
                wanted,
                "{status} {ended:?} {grpc:?}"
            );
        }
    }

    #[test]
    fn what_is_bad_is_the_users_to_say() {
        use Outcome::{Bad, ClientError, Good};
        let bad = r#"{"statuses":["4xx",503],"grpc":["notFound"],"terminations":["proxy"]}"#;
        assert_eq!(outcome(bad, 404, WELL, None), Bad);
        assert_eq!(outcome(bad, 503, WELL, None), Bad);
        assert_eq!(outcome(bad, 500, WELL, None), Good);
        assert_eq!(outcome(bad, 200, SERVER, None), Good);
        assert_eq!(outcome(bad, 200, PROXY, None), Bad);
        assert_eq!(outcome(bad, 200, WELL, Some(5)), Bad);
        assert_eq!(outcome(bad, 200, WELL, Some(14)), ClientError);
        let text = serde_json::to_string(&serde_json::from_str::<BadRequests>(bad).unwrap());
        assert_eq!(text.unwrap(), bad);
        for wrong in [
            r#"{"statuses":["6xx"]}"#,
            r#"{"statuses":[99]}"#,
            r#"{"statuses":[true]}"#,
            r#"{"terminations":["C"]}"#,
            r#"{"terminations":["cD"]}"#,
            r#"{"terminations":["S"]}"#,
            r#"{"terminations":["SX"]}"#,
        ] {
            assert!(
                serde_json::from_str::<BadRequests>(wrong).is_err(),
                "{wrong}"
            );
        }
    }
    #[test]
    fn a_state_is_named_by_both_its_letters() {
        use Outcome::{Bad, Good, Nobodys};
        let bad = r#"{"statuses":[],"grpc":[],"terminations":["sH","PR"]}"#;
        for (ended, wanted) in [
            (Ended::ByServer(Some(*b"sH")), Bad),
            (Ended::ByServer(Some(*b"SC")), Good),
            (Ended::ByServer(None), Good),
            (Ended::ByProxy(Some(*b"PR")), Bad),
            (Ended::ByProxy(Some(*b"PH")), Good),
            (Ended::ByClient, Nobodys),
            (WELL, Good),
        ] {
            assert_eq!(outcome(bad, 200, ended, None), wanted, "{ended:?}");
        }
        let read: BadRequests = serde_json::from_str(bad).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), bad);
    }
}
