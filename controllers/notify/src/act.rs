//! Tells one channel, one event after another; what cannot be delivered is tried again, and in time given up.

use std::time::Duration;

use fm_api::event::Event;
use fm_api::keys;
use fm_runtime::{Cache, Context, decode};
use fm_store::{Fence, Txn};
use fm_web::{Access, Client, Request};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::plan::{self, After, Failure, Lane, Place, Step, Trouble};
use crate::{Channel, Shape};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon the store is asked again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// So long after it happened an event is tried. Then it is lost: the log says so, and the next summary counts it.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// Looks by itself, should it miss a change.
const LOOK: Duration = Duration::from_secs(10);

/// Up to where a channel was told.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    revision: u64,
    id: String,
}

/// Tells one channel for as long as we lead.
pub(crate) async fn tell(ctx: &Context, cache: &Cache, channel: &Channel, fence: &Fence) {
    let client = Client::new(Access::default(), "notifications");
    let key = format!("{}{}", keys::prefix("notifications"), channel.name);
    let mut lane = loop {
        match begin(ctx, cache, channel, &key, fence).await {
            Ok(lane) => break lane,
            Err(error) => {
                tracing::debug!(
                    channel = channel.name,
                    error,
                    "notifications wait for the store"
                );
                tokio::time::sleep(FIRST_PAUSE).await;
            }
        }
    };
    let mut changes = cache.subscribe();
    let mut trouble = Trouble::default();
    loop {
        let events = events(cache, lane.told.0);
        let step = lane.next(&channel.rule, &events, ctx.clock.now());
        let (id, body) = match &step {
            Step::Send { event, .. } => (event.id.clone(), body(channel, event)),
            Step::Summary(text) => {
                let id = format!("{}-{}-{}", channel.name, lane.told.0, lane.told.1);
                (id, summary(channel, text))
            }
            Step::Wait(until) => {
                let wait = until.map(|until| until.duration_since(ctx.clock.now()));
                let wait = wait.map_or(LOOK, |wait| Duration::try_from(wait).unwrap_or_default());
                tokio::select! {
                    changed = changes.next() => if changed.is_none() { return },
                    () = tokio::time::sleep(wait.min(LOOK)) => {}
                }
                continue;
            }
        };
        let sent = deliver(&client, channel, &body, &id).await;
        let after = trouble.after(&id, sent.as_ref().err());
        if let Err(Failure::Refused(why) | Failure::Away(why)) = &sent {
            tell_of(channel, why, &after);
        }
        match after {
            After::Next { .. } => {
                lane.done(&step);
                store(ctx, &key, &lane.told, fence).await;
            }
            After::Again { pause, .. } => {
                let before = ctx.clock.now().checked_sub(PATIENCE).unwrap_or_default();
                let lost = lane.give_up(&channel.rule, &events, before);
                if lost > 0 {
                    tracing::warn!(channel = channel.name, lost, "notifications are lost");
                    store(ctx, &key, &lane.told, fence).await;
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

fn tell_of(channel: &Channel, why: &str, after: &After) {
    let channel = &channel.name;
    match after {
        After::Next { .. } => tracing::warn!(channel, why, "a notification is lost"),
        After::Again { first: true, .. } => {
            tracing::warn!(channel, why, "a notification is tried again");
        }
        After::Again { .. } => {}
    }
}

/// From where it was told, or from now on where it is new.
async fn begin(
    ctx: &Context,
    cache: &Cache,
    channel: &Channel,
    key: &str,
    fence: &Fence,
) -> Result<Lane, String> {
    let known = ctx
        .store
        .get(key)
        .await
        .map_err(|error| error.to_string())?;
    let known: Option<Told> = known.as_ref().and_then(|entry| decode(entry).ok());
    let told = match known {
        Some(told) => (told.revision, told.id),
        None => {
            let known = events(cache, 0);
            let newest = known
                .last()
                .map(|(revision, event)| (*revision, event.id.clone()));
            let newest = newest.unwrap_or_default();
            store(ctx, key, &newest, fence).await;
            newest
        }
    };
    Ok(Lane::after(told, &channel.rule, ctx.clock.now()))
}

fn events(cache: &Cache, after: u64) -> Vec<(u64, Event)> {
    let all = cache.list(&keys::prefix("events"));
    let mut new: Vec<(u64, Event)> = all
        .iter()
        .filter(|entry| entry.revision >= after)
        .filter_map(|entry| Some((entry.revision, decode(entry).ok()?)))
        .collect();
    new.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
    new
}

async fn store(ctx: &Context, key: &str, told: &Place, fence: &Fence) {
    let told = Told {
        revision: told.0,
        id: told.1.clone(),
    };
    let Ok(value) = serde_json::to_vec(&told) else {
        return;
    };
    let txn = Txn::new().fenced(Some(fence)).put(key.to_owned(), value);
    if let Err(error) = ctx.store.commit(txn).await {
        // Then it may be told once more after a restart.
        tracing::debug!(key, %error, "up to where it was told is not kept");
    }
}

fn summary(channel: &Channel, text: &str) -> String {
    let text = match channel.shape {
        Shape::Slack => plan::escaped(text),
        Shape::Webhook => text.to_owned(),
    };
    json!({ "text": text }).to_string()
}

fn body(channel: &Channel, event: &Event) -> String {
    match channel.shape {
        Shape::Slack => json!({ "text": channel.rule.slack(event) }),
        Shape::Webhook => json!({
            "text": channel.rule.text(event),
            "id": event.id,
            "at": event.at,
            "namespace": event.namespace,
            "release": event.name,
            "severity": plan::severity(event.severity),
            "reason": event.reason,
            "message": event.message,
            "source": event.source,
            "count": event.count,
        }),
    }
    .to_string()
}

async fn deliver(client: &Client, channel: &Channel, body: &str, id: &str) -> Result<(), Failure> {
    match tokio::time::timeout(TIMEOUT, send(client, channel, body, id)).await {
        Ok(sent) => sent,
        Err(_) => {
            let why = format!("no answer within {} s", TIMEOUT.as_secs());
            Err(Failure::Away(why))
        }
    }
}

async fn send(client: &Client, channel: &Channel, body: &str, id: &str) -> Result<(), Failure> {
    let away = Failure::Away;
    let url = channel
        .url
        .read()
        .await
        .map_err(|why| away(format!("url: {why}")))?;
    let mut headers = std::collections::BTreeMap::from([("webhook-id".to_owned(), id.to_owned())]);
    if let Some(key) = &channel.signing_key {
        let key = key
            .read()
            .await
            .map_err(|why| away(format!("signingKey: {why}")))?;
        let at = jiff::Timestamp::now().as_second();
        let signature = fm_web::sign(&key, id, at, body.as_bytes()).map_err(away)?;
        headers.insert("webhook-timestamp".to_owned(), at.to_string());
        headers.insert("webhook-signature".to_owned(), signature);
    }
    let request = Request {
        // The address may be a secret: what is wrong with it is told without it.
        url: fm_web::url(url.trim()).map_err(|_| away("url: this is no address".to_owned()))?,
        body: Some(("application/json", body.to_owned())),
        headers: Some(&headers),
        auth_ref: None,
        limit: 64 * 1024,
    };
    let (status, answer) = client.send(request).await.map_err(away)?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let why = format!("HTTP {status}: {}", fm_web::start(&answer));
    // Too early, too many, too slow: these pass.
    let refused = (400..500).contains(&status) && ![408, 425, 429].contains(&status);
    Err(match refused {
        true => Failure::Refused(why),
        false => Failure::Away(why),
    })
}
