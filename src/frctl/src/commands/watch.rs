//! `frctl watch`: the live picture of one release.

use std::collections::VecDeque;
use std::time::Duration;

use fm_api::event::Event;
use fm_api::http::{ListBody, View};
use fm_api::keys::ReleaseKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::{Output, Watch};
use crate::client::{Client, shown, typed};
use crate::error::{Error, Exit, Result};
use crate::follow::{News, follow, next};
use crate::render::{Frame, frame};
use crate::session::{Session, short};
use crate::term::{self, Screen};
use crate::text::Look;
use crate::wait;

/// Events that are kept for the picture.
const KEPT: usize = 20;

pub(super) async fn run(session: &Session, options: &Watch) -> Result<Exit> {
    let client = session.client()?;
    let key = session.key(&options.name)?;
    let value = client
        .get(&format!("{}/view", Client::release(&key)))
        .await?;
    match session.output() {
        Output::Json | Output::Yaml | Output::Name if !options.once => {
            return objects(session, &client, &key, options).await;
        }
        Output::Json | Output::Yaml => {
            session.object(&value)?;
            return Ok(Exit::Done);
        }
        Output::Table | Output::Wide | Output::Name => {}
    }
    let list: ListBody<Event> = client
        .shown(&super::events::path(Some(&key), None, KEPT))
        .await?;
    let mut picture = Picture {
        key: key.clone(),
        view: shown(value)?,
        events: list.items.into(),
        lost: None,
        mark: String::new(),
    };
    if options.once {
        term::print(&picture.draw(&session.look()))?;
        return Ok(Exit::Done);
    }
    let news = follow(&client, &format!("{}/view", Client::release(&key)));
    let path = super::events::path(Some(&key), None, KEPT);
    let happened = follow(&client, &format!("{path}&revision={}", list.revision));
    if term::size().is_none() {
        return blocks(session, &mut picture, news, happened, options.exit).await;
    }
    let screen = Screen::enter()?;
    let end = live(session, &screen, &mut picture, news, happened, options.exit).await;
    drop(screen);
    // The last picture stays on the screen that the reader had before.
    term::print(&picture.draw(&session.look()))?;
    end
}

/// What is shown, as far as it is known.
#[derive(Debug)]
struct Picture {
    key: ReleaseKey,
    view: View,
    events: VecDeque<Event>,
    lost: Option<String>,
    mark: String,
}

impl Picture {
    fn draw(&mut self, look: &Look) -> String {
        let shown = Frame {
            view: &self.view,
            events: self.events.make_contiguous(),
            lost: self.lost.as_deref().or(self.view.stale.as_deref()),
        };
        frame(&shown, look)
    }

    /// Takes in something new of the release.
    fn learn(&mut self, news: News) -> Result<()> {
        match news {
            News::Put(value) => {
                self.lost = None;
                self.view = shown(value)?;
            }
            News::Back => self.lost = None,
            News::Lost(message) => self.lost = Some(message),
            News::Delete => return Err(Error::new(format!("{} was deleted", short(&self.key)))),
            News::Refused(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes in an event.
    fn happened(&mut self, news: News) -> Result<()> {
        if let News::Put(value) = news {
            let event: Event = shown(value)?;
            // One that happened again is the newest.
            self.events.retain(|known| known.id != event.id);
            self.events.push_back(event);
            while self.events.len() > KEPT {
                self.events.pop_front();
            }
        }
        Ok(())
    }

    /// How the rollout ended, if it has.
    fn ended(&self) -> Option<Exit> {
        wait::ended(&self.view, wait::generation(&self.view))
    }

    /// Whether something changed that is worth a new block where nothing can be redrawn.
    fn changed(&mut self) -> bool {
        let status = self.view.status.as_ref();
        let side = |side: Option<&fm_api::status::RevisionStatus>| {
            side.map(|side| {
                (
                    side.number,
                    side.ready,
                    side.healthy,
                    side.last_failure.clone(),
                )
            })
        };
        let force: Vec<_> = self
            .view
            .haproxy
            .iter()
            .map(|(instance, seen)| (instance, &seen.traffic, &seen.problem))
            .collect();
        let mark = format!(
            "{:?} {:?} {:?} {:?} {force:?} {:?} {:?}",
            status.map(|status| (status.phase, status.step, status.weight, &status.reason)),
            status.map(|status| status.waits_for_person),
            side(status.and_then(|status| status.stable.as_ref())),
            side(status.and_then(|status| status.canary.as_ref())),
            self.view.verdict.as_ref().map(|verdict| verdict.decision),
            (&self.lost, self.view.stale.is_some()),
        );
        std::mem::replace(&mut self.mark, mark.clone()) != mark
    }
}

/// Redrawn in place: at each change, each second, and when the terminal's size changes.
async fn live(
    session: &Session,
    screen: &Screen,
    picture: &mut Picture,
    mut news: mpsc::Receiver<News>,
    mut happened: mpsc::Receiver<News>,
    exit: bool,
) -> Result<Exit> {
    let mut keys = term::keys();
    let mut resized = signal(SignalKind::window_change())?;
    let mut ended = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            it = next(&mut news) => picture.learn(it?)?,
            Some(it) = happened.recv() => picture.happened(it)?,
            Some(key) = keys.recv() => if matches!(key, b'q' | b'Q') { return Ok(Exit::Done) },
            _ = interrupted.recv() => return Ok(Exit::Done),
            _ = ended.recv() => return Ok(Exit::Done),
            _ = hung_up.recv() => return Ok(Exit::Done),
            _ = resized.recv() => {}
            _ = second.tick() => {}
        }
        screen.draw(&picture.draw(&session.look()))?;
        if let (true, Some(end)) = (exit, picture.ended()) {
            return Ok(end);
        }
    }
}

/// One block for each change, for logs.
async fn blocks(
    session: &Session,
    picture: &mut Picture,
    mut news: mpsc::Receiver<News>,
    mut happened: mpsc::Receiver<News>,
    exit: bool,
) -> Result<Exit> {
    loop {
        if picture.changed() {
            let look = session.look();
            let head = format!("=== {}", look.clock(look.now));
            term::print(&format!("{head}\n{}\n", picture.draw(&look)))?;
        }
        if let (true, Some(end)) = (exit, picture.ended()) {
            return Ok(end);
        }
        tokio::select! {
            it = next(&mut news) => picture.learn(it?)?,
            Some(it) = happened.recv() => picture.happened(it)?,
        }
    }
}

/// One object a line (a document each as YAML), for programs.
async fn objects(
    session: &Session,
    client: &Client,
    key: &ReleaseKey,
    options: &Watch,
) -> Result<Exit> {
    let mut news = follow(client, &format!("{}/view", Client::release(key)));
    loop {
        match next(&mut news).await? {
            News::Put(value) => {
                match session.output() {
                    Output::Yaml => {
                        term::print(&format!("---\n{}", crate::session::yaml(&value)?))?;
                    }
                    Output::Name => term::line(&key.to_string())?,
                    Output::Json | Output::Table | Output::Wide => {
                        term::line(&crate::text::escaped(value.to_string()))?
                    }
                }
                let view: View = typed(value)?;
                if let (true, Some(end)) =
                    (options.exit, wait::ended(&view, wait::generation(&view)))
                {
                    return Ok(end);
                }
            }
            News::Delete => return Err(Error::new(format!("{} was deleted", short(key)))),
            News::Lost(message) => term::complain(&format!("{message}; trying again…")),
            News::Back => term::complain("frd answers again"),
            News::Refused(error) => return Err(error),
        }
    }
}
