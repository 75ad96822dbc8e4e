//! `frctl events`: what happened.

use std::collections::BTreeMap;

use fm_api::event::{Event, Severity};
use fm_api::http::ListBody;
use fm_api::keys::ReleaseKey;
use serde_json::Value;

use crate::cli::{Events, Output};
use crate::client::{shown, typed};
use crate::error::{Exit, Result};
use crate::follow::{News, follow, next};
use crate::render::message;
use crate::session::Session;
use crate::table::Table;
use crate::term;
use crate::text::Look;

/// Where events are listed and followed.
pub(super) fn path(key: Option<&ReleaseKey>, namespace: Option<&str>, limit: usize) -> String {
    let mut path = format!("/v1/events?limit={limit}");
    if let Some(namespace) = key.map(ReleaseKey::namespace).or(namespace) {
        path.push_str(&format!("&namespace={namespace}"));
    }
    if let Some(key) = key {
        path.push_str(&format!("&name={}", key.name()));
    }
    path
}

pub(super) async fn run(session: &Session, options: &Events) -> Result<Exit> {
    let client = session.client()?;
    let key = match &options.name {
        Some(name) => Some(session.key(name)?),
        None => None,
    };
    let namespace = (!options.all_namespaces).then(|| session.namespace());
    let path = path(key.as_ref(), namespace, options.limit);
    let list: ListBody<Value> = typed(client.get(&path).await?)?;
    if !options.watch {
        if session.object(&serde_json::json!({ "items": list.items }))? {
            return Ok(Exit::Done);
        }
        let events: Vec<Event> = list.items.into_iter().map(shown).collect::<Result<_>>()?;
        if events.is_empty() {
            term::complain("nothing happened lately (events are kept for a day)");
        } else {
            term::print(&table(&events, &session.look(), key.is_none()))?;
        }
        return Ok(Exit::Done);
    }
    let mut told = Told::default();
    for item in list.items {
        one(session, item, key.is_none(), &mut told)?;
    }
    let mut news = follow(&client, &format!("{path}&revision={}", list.revision));
    loop {
        match next(&mut news).await? {
            News::Put(value) => one(session, value, key.is_none(), &mut told)?,
            News::Delete => {}
            News::Lost(message) => term::complain(&format!("{message}; trying again…")),
            News::Back => term::complain("frd answers again"),
            News::Refused(error) => return Err(error),
        }
    }
}

/// How often each event had happened when it was shown last.
#[derive(Default)]
struct Told(BTreeMap<String, u32>);

impl Told {
    /// So many are remembered: as many as are kept.
    const MOST: usize = 10_000;

    fn is_news(&mut self, event: &Event) -> bool {
        let before = self.0.insert(event.id.clone(), event.count);
        if self.0.len() > Self::MOST {
            self.0.pop_first();
        }
        before.is_none_or(|count| count < event.count)
    }
}

/// One event as a line; what was shown already is not shown again, unless it happened again.
fn one(session: &Session, value: Value, names: bool, told: &mut Told) -> Result<()> {
    let event: Event = shown(value.clone())?;
    if !told.is_news(&event) {
        return Ok(());
    }
    match session.output() {
        Output::Json => term::line(&crate::text::escaped(value.to_string())),
        Output::Yaml => term::print(&format!("---\n{}", crate::session::yaml(&value)?)),
        Output::Name => term::line(&event.id),
        Output::Table | Output::Wide => {
            let look = session.look();
            let [at, _, release, reason, source, message] = row(&event, &look);
            let release = if names {
                format!("{release}  ")
            } else {
                String::new()
            };
            term::line(&format!("{at}  {release}{reason}  {message} ({source})"))
        }
    }
}

fn row(event: &Event, look: &Look) -> [String; 6] {
    let (severity, reason) = match event.severity {
        Severity::Normal => ("normal".to_owned(), event.reason.clone()),
        Severity::Warning => (
            look.paint.yellow("warning"),
            look.paint.yellow(&event.reason),
        ),
    };
    let release = if event.name.is_empty() {
        "-".to_owned()
    } else {
        format!("{}/{}", event.namespace, event.name)
    };
    [
        look.clock(event.seen()),
        severity,
        release,
        reason,
        event.source.clone(),
        message(event, look),
    ]
}

fn table(events: &[Event], look: &Look, names: bool) -> String {
    let mut table = if names {
        Table::new(["AT", "SEVERITY", "RELEASE", "REASON", "SOURCE", "MESSAGE"])
    } else {
        Table::new(["AT", "SEVERITY", "REASON", "SOURCE", "MESSAGE"])
    };
    for event in events {
        let [at, severity, release, reason, source, message] = row(event, look);
        if names {
            table.row([at, severity, release, reason, source, message]);
        } else {
            table.row([at, severity, reason, source, message]);
        }
    }
    table.render(look)
}
