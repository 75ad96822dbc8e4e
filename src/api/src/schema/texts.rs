//! What texts a release may hold, in one table, and the few rules of its schema that the types cannot say.
//!
//! User text reaches HAProxy's maps, Docker's API and terminals; what stands here is the first wall before them.

use serde_json::{Map, Value, json};

use super::{MEMORY, SPAN};

mod workload;

/// Which text of which type, its pattern, its greatest length, and what is allowed in words.
struct Text {
    of: &'static str,
    field: &'static str,
    pattern: &'static str,
    longest: u64,
    words: &'static str,
}

const fn text(
    of: &'static str,
    field: &'static str,
    pattern: &'static str,
    longest: u64,
    words: &'static str,
) -> Text {
    Text {
        of,
        field,
        pattern,
        longest,
        words,
    }
}

const NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const NAME_WORDS_26: &str =
    "lower-case letters, digits and `-`, a letter or digit at both ends, at most 26";
const NAME_WORDS_20: &str =
    "lower-case letters, digits and `-`, a letter or digit at both ends, at most 20";
const HOST: &str =
    r"^(\*|(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)$";
const HOST_WORDS: &str = "a host name in lower case such as `shop.example.com`, `*.example.com` for all below it, or `*` for any; no scheme, no port";
const EXACT_HOST: &str =
    r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const EXACT_HOST_WORDS: &str =
    "a host name in lower case such as `next.shop.example.com`; no wildcard, no scheme, no port";
const HOST_TEMPLATE: &str = r"^([a-z0-9.-]|\{(revision|namespace|name)\})+$";
const HOST_TEMPLATE_WORDS: &str = "a host name in lower case such as `{revision}.preview.example.com`, with `{revision}`, `{namespace}` and `{name}` filled in; no wildcard";
const PATH: &str = r"^/[A-Za-z0-9._~!$&'()*+,=:@%/-]*$";
const PATH_WORDS: &str = "a path from `/` on, of letters, digits and ._~!$&'()*+,=:@%/-";
const OBJECT: &str = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$";
const OBJECT_WORDS: &str = "letters, digits, `_`, `.` and `-`, a letter or digit first";
const LABEL: &str = r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$";
const LABEL_WORDS: &str =
    "letters, digits, `.`, `_`, `/` and `-`, a letter or digit at both ends, at most 253";
const LINE: &str = r"^[^\x00-\x1F\x7F-\x9F\u2028\u2029]*$";
const LINE_WORDS: &str = "one line of text without control characters";
const LINES: &str = r"^[^\x00-\x08\x0B-\x1F\x7F-\x9F\u2028\u2029]*$";
const LINES_WORDS: &str = "text without control characters other than newline and tab";
const NAME_WORDS_40: &str =
    "lower-case letters, digits and `-`, a letter or digit at both ends, at most 40";
const URL: &str = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20\x7F-\x9F\u2028\u2029#]+$";
const URL_WORDS: &str =
    "an address such as `http://prometheus:9090`, http or https, without a login";
const JSON_PATH_WORDS: &str = "a JSONPath such as `$.data.rate`";
const NUMBER_WORDS: &str = "digits";

/// `[]` marks the items of a list, `{}` the names of a mapping, `{}=` its values.
const TEXTS: &[Text] = &[
    text("Metadata", "namespace", NAME, 20, NAME_WORDS_20),
    text("Metadata", "name", NAME, 26, NAME_WORDS_26),
    text("Dependency", "namespace", NAME, 20, NAME_WORDS_20),
    text("Dependency", "name", NAME, 26, NAME_WORDS_26),
    text("ReleaseSpec", "group", NAME, 40, NAME_WORDS_40),
    text("Metadata", "labels{}", LABEL, 253, LABEL_WORDS),
    text("Metadata", "labels{}=", LINE, 1024, LINE_WORDS),
    text("Metadata", "annotations{}", LABEL, 253, LABEL_WORDS),
    text("Metadata", "annotations{}=", LINES, 65_536, LINES_WORDS),
    text(
        "Metadata",
        "uid",
        r"^[A-Za-z0-9-]+$",
        64,
        "set by the server; leave it out",
    ),
    text("Metadata", "changedBy", LINE, 256, LINE_WORDS),
    text("Metadata", "changedWhy", LINES, 1000, LINES_WORDS),
    text("Metric", "name", NAME, 40, NAME_WORDS_40),
    text("PrometheusSource", "address", URL, 1024, URL_WORDS),
    text("PrometheusSource", "query", LINES, 16_384, LINES_WORDS),
    text("PrometheusSource", "authRef", OBJECT, 64, OBJECT_WORDS),
    text("InfluxSource", "address", URL, 1024, URL_WORDS),
    text("InfluxSource", "database", OBJECT, 128, OBJECT_WORDS),
    text("InfluxSource", "query", LINES, 16_384, LINES_WORDS),
    text("InfluxSource", "authRef", OBJECT, 64, OBJECT_WORDS),
    text("WebSource", "url", URL, 4096, URL_WORDS),
    text(
        "WebSource",
        "headers{}",
        r"^[A-Za-z0-9-]{1,64}$",
        64,
        "letters, digits and `-`, at most 64",
    ),
    text("WebSource", "headers{}=", LINE, 1024, LINE_WORDS),
    text("WebSource", "body", LINES, 16_384, LINES_WORDS),
    text("WebSource", "jsonPath", LINE, 512, JSON_PATH_WORDS),
    text("WebSource", "authRef", OBJECT, 64, OBJECT_WORDS),
    text(
        "JobSource",
        "image",
        r"^[!-~]+$",
        512,
        "`name:tag`, `registry:port/name:tag`, `name@sha256:…` or `sha256:…`",
    ),
    text("JobSource", "registryAuth", OBJECT, 64, OBJECT_WORDS),
    text("JobSource", "command[]", LINES, 16_384, LINES_WORDS),
    text("JobSource", "args[]", LINES, 16_384, LINES_WORDS),
    text(
        "JobSource",
        "env{}",
        r"^[A-Za-z_][A-Za-z0-9_.-]*$",
        256,
        "letters, digits, `_`, `.` and `-`, no digit first",
    ),
    text("JobSource", "env{}=", LINES, 16_384, LINES_WORDS),
    text("JobSource", "networks[]", OBJECT, 128, OBJECT_WORDS),
    text("JobSource", "jsonPath", LINE, 512, JSON_PATH_WORDS),
    text("Candidate", "name", NAME, 20, NAME_WORDS_20),
    text(
        "Candidate",
        "image",
        r"^[!-~]+$",
        512,
        "`name:tag`, `registry:port/name:tag`, `name@sha256:…` or `sha256:…`",
    ),
    text(
        "Candidate",
        "env{}",
        r"^[A-Za-z_][A-Za-z0-9_.-]*$",
        256,
        "letters, digits, `_`, `.` and `-`, no digit first",
    ),
    text("Candidate", "env{}=", LINES, 65_536, LINES_WORDS),
    text("Webhook", "name", NAME, 40, NAME_WORDS_40),
    text("Webhook", "url", URL, 4096, URL_WORDS),
    text("Webhook", "authRef", OBJECT, 64, OBJECT_WORDS),
    text(
        "Webhook",
        "headers{}",
        r"^[A-Za-z0-9-]{1,64}$",
        64,
        "letters, digits and `-`, at most 64",
    ),
    text("Webhook", "headers{}=", LINE, 1024, LINE_WORDS),
    text("Webhook", "metadata{}", LABEL, 253, LABEL_WORDS),
    text("Webhook", "metadata{}=", LINES, 4096, LINES_WORDS),
    text("BeforeTraffic", "name", NAME, 40, NAME_WORDS_40),
    text(
        "BeforeTraffic",
        "image",
        r"^[!-~]+$",
        512,
        "`name:tag`, `registry:port/name:tag`, `name@sha256:…` or `sha256:…`",
    ),
    text("BeforeTraffic", "registryAuth", OBJECT, 64, OBJECT_WORDS),
    text("BeforeTraffic", "command[]", LINES, 16_384, LINES_WORDS),
    text("BeforeTraffic", "args[]", LINES, 16_384, LINES_WORDS),
    text(
        "BeforeTraffic",
        "env{}",
        r"^[A-Za-z_][A-Za-z0-9_.-]*$",
        256,
        "letters, digits, `_`, `.` and `-`, no digit first",
    ),
    text("BeforeTraffic", "env{}=", LINES, 16_384, LINES_WORDS),
    text("Freeze", "cron", LINE, 256, "such as `0 18 * * fri`"),
    text("Freeze", "from", LINE, 64, "such as `2026-12-24T00:00`"),
    text("Freeze", "to", LINE, 64, "such as `2026-12-27T00:00`"),
    text("Freeze", "timeZone", LINE, 64, "such as `Europe/Berlin`"),
    text("Freeze", "message", LINE, 256, LINE_WORDS),
    text("Route", "hosts[]", HOST, 253, HOST_WORDS),
    text(
        "Preview",
        "hosts[]",
        HOST_TEMPLATE,
        253,
        HOST_TEMPLATE_WORDS,
    ),
    text(
        "PreviewMatch",
        "header",
        r"^[A-Za-z0-9-]{1,64}$",
        64,
        "letters, digits and `-`, at most 64",
    ),
    text(
        "PreviewMatch",
        "value",
        r"^([A-Za-z0-9._~=+/:@-]|\{(revision|namespace|name)\})+$",
        128,
        "letters, digits, ._~=+/:@-, `{revision}`, `{namespace}` and `{name}`, at most 128",
    ),
    text("PreviewHosts", "hosts[]", EXACT_HOST, 253, EXACT_HOST_WORDS),
    text("Route", "paths[]", PATH, 512, PATH_WORDS),
    text("RouteHealthCheck", "path", PATH, 512, PATH_WORDS),
    text(
        "MatchRule",
        "header",
        r"^[A-Za-z0-9-]{1,64}$",
        64,
        "letters, digits and `-`, at most 64",
    ),
    text(
        "MatchRule",
        "value",
        r"^[A-Za-z0-9._~=+/:@-]{1,128}$",
        128,
        "letters, digits and ._~=+/:@-, at most 128",
    ),
    text(
        "MatchRule",
        "cookie",
        r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$",
        64,
        "letters, digits and `_`, and `.` or `-` after the first, at most 64",
    ),
    text("MatchRule", "path", PATH, 512, PATH_WORDS),
];

fn all() -> impl Iterator<Item = &'static Text> {
    TEXTS.iter().chain(workload::TEXTS)
}

/// Longest lists and mappings.
const COUNTS: &[(&str, &str, u64)] = &[
    ("Workload", "command", 256),
    ("Workload", "args", 256),
    ("Workload", "networks", 32),
    ("Workload", "mounts", 64),
    ("Workload", "secrets", 64),
    ("Workload", "configs", 64),
    ("Workload", "groups", 32),
    ("Workload", "aliases", 32),
    ("Capabilities", "add", 64),
    ("Capabilities", "drop", 64),
    ("Dns", "servers", 8),
    ("Dns", "search", 16),
    ("Dns", "options", 16),
    ("JobSource", "command", 64),
    ("JobSource", "args", 64),
    ("JobSource", "networks", 8),
    ("BeforeTraffic", "command", 64),
    ("BeforeTraffic", "args", 64),
    ("Healthcheck", "test", 64),
    ("Placement", "constraints", 32),
    ("Placement", "preferences", 8),
];

/// Adds all this to the release's schema.
pub(super) fn constrain(schema: &mut Value) {
    for text in all() {
        let rule = json!({ "type": "string", "pattern": text.pattern, "maxLength": text.longest, "patternErrorMessage": text.words });
        place(schema, text, &rule);
    }
    for (of, field, most) in COUNTS {
        if let Some(property) = property(schema, of, field) {
            property.insert("maxItems".to_owned(), json!(most));
        }
    }
    for (of, format) in [("Span", SPAN), ("Memory", MEMORY)] {
        if let Some(definition) = definition(schema, of) {
            definition.insert("format".to_owned(), json!(format));
        }
    }
    for field in [
        "uid",
        "generation",
        "createdAt",
        "deletedAt",
        "changedBy",
        "changedWhy",
        "adopted",
        "orphan",
        "removeAdopted",
    ] {
        if let Some(property) = property(schema, "Metadata", field) {
            property.insert("readOnly".to_owned(), json!(true));
        }
    }
    exclusive(schema);
}

/// One strategy; one kind of affinity.
fn exclusive(schema: &mut Value) {
    if let Some(strategy) = definition(schema, "Strategy") {
        strategy.insert("minProperties".to_owned(), json!(1));
        strategy.insert("maxProperties".to_owned(), json!(1));
    }
    if let Some(affinity) = definition(schema, "Affinity") {
        affinity.insert("minProperties".to_owned(), json!(1));
        affinity.insert("maxProperties".to_owned(), json!(1));
    }
    if let Some(approval) = definition(schema, "Approval") {
        let words = json!("`manual`, or `{ role: NAME }` with a role of frd's configuration");
        approval.insert("patternErrorMessage".to_owned(), words);
        let kinds = approval.get_mut("oneOf").and_then(Value::as_array_mut);
        for kind in kinds.into_iter().flatten() {
            if let Some(role) = kind
                .pointer_mut("/properties/role")
                .and_then(Value::as_object_mut)
            {
                role.insert("pattern".to_owned(), json!(OBJECT));
                role.insert("maxLength".to_owned(), json!(64));
            }
        }
    }
    if let Some(weight) = definition(schema, "Weight") {
        weight.insert("minimum".to_owned(), json!(0.01));
        weight.insert("multipleOf".to_owned(), json!(0.01));
    }
}

fn place(schema: &mut Value, text: &Text, rule: &Value) {
    let name = text.field.trim_end_matches(['[', ']', '{', '}', '=']);
    let Some(property) = property(schema, text.of, name) else {
        return;
    };
    let below = match &text.field[name.len()..] {
        "[]" => "items",
        "{}" => "propertyNames",
        "{}=" => "additionalProperties",
        _ => {
            property.extend(rule.as_object().cloned().unwrap_or_default());
            return;
        }
    };
    property.insert(below.to_owned(), rule.clone());
}

fn definition<'a>(schema: &'a mut Value, of: &str) -> Option<&'a mut Map<String, Value>> {
    schema.get_mut("$defs")?.get_mut(of)?.as_object_mut()
}

fn property<'a>(schema: &'a mut Value, of: &str, name: &str) -> Option<&'a mut Map<String, Value>> {
    definition(schema, of)?
        .get_mut("properties")?
        .get_mut(name)?
        .as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_reaches_a_field() {
        let mut schema = super::super::release().clone();
        for text in all() {
            let name = text.field.trim_end_matches(['[', ']', '{', '}', '=']);
            assert!(
                property(&mut schema, text.of, name).is_some(),
                "{}.{}",
                text.of,
                text.field
            );
        }
        for (of, field, _) in COUNTS {
            assert!(property(&mut schema, of, field).is_some(), "{of}.{field}");
        }
    }
}
