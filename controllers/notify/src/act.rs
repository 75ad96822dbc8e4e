//! Tells one channel, one event after another; what cannot be delivered is tried again, and in time given up.

use std::time::Duration;

use fm_api::event::Event;
use fm_api::keys;
use fm_runtime::{Cache, Context, decode};
use fm_store::{Fence, Txn};
use fm_web::{Access, Client, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::plan::{self, Lane, Place, Step};
use crate::{Channel, Shape};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause after a failure; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So often one event is tried: some ten minutes. Then it is lost, and the log says so.
const TRIES: u32 = 15;
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
    loop {
        let events = events(cache, lane.told.0);
        let step = lane.next(&channel.rule, &events, ctx.clock.now());
        let wait = match &step {
            Step::Send { event, .. } => {
                deliver(&client, channel, &body(channel, event), &event.id).await;
                lane.done(&step);
                store(ctx, &key, &lane.told, fence).await;
                continue;
            }
            Step::Summary(text) => {
                let id = format!("{}-{}-{}", channel.name, lane.told.0, lane.told.1);
                let told = json!({ "text": text });
                deliver(&client, channel, &told.to_string(), &id).await;
                lane.done(&step);
                store(ctx, &key, &lane.told, fence).await;
                continue;
            }
            Step::Wait(until) => until.map_or(LOOK, |until| {
                let wait = until.duration_since(ctx.clock.now());
                Duration::try_from(wait).unwrap_or_default().min(LOOK)
            }),
        };
        tokio::select! {
            changed = changes.next() => if changed.is_none() { return },
            () = tokio::time::sleep(wait) => {}
        }
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

fn body(channel: &Channel, event: &Event) -> String {
    let text = channel.rule.text(event);
    match channel.shape {
        Shape::Slack => json!({ "text": text }),
        Shape::Webhook => json!({
            "text": text,
            "id": event.id,
            "at": event.at,
            "namespace": event.namespace,
            "release": event.name,
            "severity": plan::severity(event.severity),
            "reason": event.reason,
            "message": event.message,
            "source": event.source,
        }),
    }
    .to_string()
}

async fn deliver(client: &Client, channel: &Channel, body: &str, id: &str) {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=TRIES {
        let sent = tokio::time::timeout(TIMEOUT, send(client, channel, body, id)).await;
        let why = match sent {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        };
        if attempt == TRIES {
            tracing::warn!(
                channel = channel.name,
                why,
                attempt,
                "a notification is lost"
            );
            return;
        }
        if attempt == 1 {
            tracing::warn!(channel = channel.name, why, "a notification is tried again");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn send(client: &Client, channel: &Channel, body: &str, id: &str) -> Result<(), String> {
    let url = channel
        .url
        .read()
        .await
        .map_err(|why| format!("url: {why}"))?;
    let mut headers = std::collections::BTreeMap::from([("webhook-id".to_owned(), id.to_owned())]);
    if let Some(key) = &channel.signing_key {
        let key = key
            .read()
            .await
            .map_err(|why| format!("signingKey: {why}"))?;
        let at = jiff::Timestamp::now().as_second();
        let signature = fm_web::sign(&key, id, at, body.as_bytes())?;
        headers.insert("webhook-timestamp".to_owned(), at.to_string());
        headers.insert("webhook-signature".to_owned(), signature);
    }
    let request = Request {
        // The address may be a secret: what is wrong with it is told without it.
        url: fm_web::url(url.trim()).map_err(|_| "url: this is no address".to_owned())?,
        body: Some(("application/json", body.to_owned())),
        headers: Some(&headers),
        auth_ref: None,
        limit: 64 * 1024,
    };
    let (status, answer) = client.send(request).await?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    Err(format!("HTTP {status}: {}", fm_web::start(&answer)))
}
