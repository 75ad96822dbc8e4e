//! Follows a release until its rollout has ended, and says so line by line.

use std::time::Duration;

use fm_api::http::View;
use fm_api::keys::ReleaseKey;
use fm_api::status::{Phase, Status, reasons};
use tokio::time::Instant;

use crate::client::{Client, shown};
use crate::error::{Error, Exit, Result};
use crate::follow::{News, follow, next};
use crate::render::{canary_at, phase, step, taken_in};
use crate::session::{Session, short};
use crate::term;
use crate::text::Look;

/// How the rollout of the spec's `generation` ended; `None` while it goes on.
pub(crate) fn ended(view: &View, generation: u64) -> Option<Exit> {
    let status = view
        .status
        .as_ref()
        .filter(|_| taken_in(view, generation))?;
    match status.phase {
        Phase::Healthy | Phase::Over => Some(Exit::Done),
        // What users do not get may come back, and is no end of a rollout; the time limit is for what does not.
        Phase::Degraded if status.impaired.is_some() && status.canary.is_some() => {
            status.waits_for_person.then_some(Exit::Person)
        }
        Phase::Degraded if status.impaired.is_some() && !status.waits_for_person => None,
        // Nothing was taken back: it has not begun.
        Phase::Degraded if status.reason == reasons::IMAGE_UNRESOLVED => Some(Exit::Person),
        Phase::Degraded => Some(Exit::Back),
        Phase::Invalid | Phase::Deleting => Some(Exit::Error),
        Phase::Paused => Some(Exit::Person),
        Phase::Pending | Phase::Progressing if status.waits_for_person => Some(Exit::Person),
        Phase::Pending | Phase::Progressing | Phase::RollingBack => None,
    }
}

/// The generation that the view's spec has.
pub(crate) fn generation(view: &View) -> u64 {
    view.release
        .as_ref()
        .and_then(|release| release.metadata.generation)
        .unwrap_or(0)
}

/// Follows a release to the end of its rollout, or for `timeout`; one line a change.
pub(crate) async fn to_the_end(
    session: &Session,
    client: &Client,
    key: &ReleaseKey,
    least: Option<u64>,
    timeout: Duration,
) -> Result<Exit> {
    let deadline = Instant::now() + timeout;
    let mut news = follow(client, &format!("{}/view", Client::release(key)));
    let mut said = String::new();
    let mut last = String::new();
    loop {
        let Ok(news) = tokio::time::timeout_at(deadline, next(&mut news)).await else {
            term::complain(&format!(
                "{}: not over within {}; {last}",
                short(key),
                fm_api::quantity::Span::millis(timeout.as_millis() as u64)
            ));
            return Ok(Exit::TimedOut);
        };
        match news? {
            News::Put(value) => {
                let view: View = shown(value)?;
                let Some(status) = &view.status else { continue };
                let mark = mark(status);
                if mark != said {
                    said = mark;
                    term::line(&line(key, status, &session.look()))?;
                }
                last.clone_from(&status.why);
                let generation = generation(&view).max(least.unwrap_or(0));
                if let Some(exit) = ended(&view, generation) {
                    advise(&view, status, exit);
                    return Ok(exit);
                }
            }
            News::Delete => return Err(Error::new(format!("{} was deleted", short(key)))),
            News::Lost(message) => term::complain(&format!("{message}; trying again…")),
            News::Back => term::complain("frd answers again"),
            News::Refused(error) => return Err(error),
        }
    }
}

/// What must change for a new line to be worth it.
fn mark(status: &Status) -> String {
    format!(
        "{:?} {} {} {} {}",
        status.phase, status.step, status.weight, status.reason, status.waits_for_person
    )
}

/// One line for a log.
pub(crate) fn line(key: &ReleaseKey, status: &Status, look: &Look) -> String {
    let mut text = format!(
        "{}  {}  {}",
        look.clock(look.now),
        short(key),
        phase(status.phase, look.paint)
    );
    if status.step > 0 {
        text.push_str(&format!("  step {}  {}", step(status), canary_at(status)));
    }
    format!("{text}  {}", status.why)
}

fn advise(view: &View, status: &Status, exit: Exit) {
    if exit == Exit::Person {
        term::complain(&crate::render::person(view, status));
    }
    if exit == Exit::Back
        && let Some(rollout) = &status.last_rollout
    {
        term::complain(&format!("{}: {}", rollout.reason, rollout.why));
    }
}
