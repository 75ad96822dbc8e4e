//! `notifications:` — where events are told. Each entry is checked where it stands, so that its error has a line.

use fm_api::event::{REASONS, Severity};
use fm_api::quantity::Span;
use fm_api::validate::nearest;
use fm_notify::Shape;
use fm_notify::plan::{Rule, VARIABLES, wrong};
use serde::Deserialize;

use super::Secret;

const TEMPLATE: &str = "{{namespace}}/{{release}} {{reason}}: {{message}}";
/// At most so many in their time, if nothing is said.
const LIMIT: u32 = 30;
const PER: Span = Span::secs(60);

/// One channel.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(crate) struct Notification {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) url: Secret,
    pub(crate) signing_key: Option<Secret>,
    pub(crate) rule: Rule,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    webhook: Option<Address>,
    slack: Option<Address>,
    signing_key: Option<Secret>,
    severity: Option<Severity>,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    template: Option<String>,
    limit: Option<Limit>,
}

/// The address, which is a secret with many systems.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Address {
    url: Secret,
}

/// At most so many in this time.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limit {
    count: u32,
    per: Span,
}

impl TryFrom<Written> for Notification {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = written.name;
        if name.is_empty() || name.len() > 40 || !name.chars().all(fits) {
            let name = name.escape_debug();
            return Err(format!(
                "notifications.name: `{name}` is no name; allowed: up to 40 lower-case letters, digits and `-`"
            ));
        }
        let (shape, address) = match (written.webhook, written.slack) {
            (Some(webhook), None) => (Shape::Webhook, webhook),
            (None, Some(slack)) => (Shape::Slack, slack),
            _ => return Err("notifications: each entry has either webhook or slack".to_owned()),
        };
        for reason in &written.reasons {
            check_reason(reason)?;
        }
        let template = written.template.unwrap_or_else(|| TEMPLATE.to_owned());
        if let Some(wrong) = wrong(&template) {
            let known: Vec<String> = VARIABLES
                .iter()
                .map(|name| format!("{{{{{name}}}}}"))
                .collect();
            return Err(format!(
                "notifications.template: {wrong}; allowed: {}",
                known.join(", ")
            ));
        }
        let (limit, per) = written
            .limit
            .map_or((LIMIT, PER), |limit| (limit.count, limit.per));
        if !(1..=10_000).contains(&limit) || !(Span::secs(1)..=Span::secs(86_400)).contains(&per) {
            return Err(
                "notifications.limit: allowed: count from 1 to 10000, per from 1s to 1d".to_owned(),
            );
        }
        Ok(Self {
            name,
            shape,
            url: address.url,
            signing_key: written.signing_key,
            rule: Rule {
                severity: written.severity.unwrap_or(Severity::Normal),
                reasons: written.reasons,
                namespaces: written.namespaces,
                template,
                limit,
                per,
            },
        })
    }
}

/// A channel that waits for a word that nobody says would never tell anything.
fn check_reason(written: &str) -> Result<(), String> {
    if REASONS.contains(&written) {
        return Ok(());
    }
    let hint = match nearest(written, &REASONS) {
        Some(near) => format!(", did you mean `{near}`?"),
        None => format!("; allowed: {}", REASONS.join(", ")),
    };
    Err(format!(
        "notifications.reasons: no event has the reason `{}`{hint}",
        written.escape_debug()
    ))
}
