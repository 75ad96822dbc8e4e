//! `frctl top`: how every revision does just now.

use std::time::Duration;

use fm_api::http::ErrorKind;
use fm_api::signals::Top;
use serde_json::Value;

use crate::cli::{Output, TopOptions};
use crate::client::{Client, shown};
use crate::error::{Error, Exit, Result};
use crate::render;
use crate::session::Session;
use crate::term::{self, Screen};

pub(super) async fn run(session: &Session, options: &TopOptions) -> Result<Exit> {
    let client = session.client()?;
    let live = !options.once && term::size().is_some();
    match session.output() {
        Output::Table | Output::Wide if live => return draw(session, &client, options).await,
        Output::Table | Output::Wide => {
            term::print(&picture(
                session,
                fetch(session, &client, options).await?,
                options,
            )?)?;
        }
        Output::Json | Output::Yaml => {
            session.object(&fetch(session, &client, options).await?)?;
        }
        Output::Name => return Err(Error::new("top has no names").exit(Exit::Usage)),
    }
    Ok(Exit::Done)
}

async fn fetch(session: &Session, client: &Client, options: &TopOptions) -> Result<Value> {
    let query = if options.all_namespaces {
        String::new()
    } else {
        // A name that could end the query is none; the server says so.
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let namespace: String = session.namespace().chars().filter(plain).collect();
        format!("?namespace={namespace}")
    };
    client.get(&format!("/v1/top{query}")).await
}

fn picture(session: &Session, value: Value, options: &TopOptions) -> Result<String> {
    let top: Top = shown(value)?;
    Ok(render::top(&top, &session.look(), options.all_namespaces))
}

/// Redrawn in place each second.
async fn draw(session: &Session, client: &Client, options: &TopOptions) -> Result<Exit> {
    let screen = Screen::enter()?;
    let mut keys = term::keys();
    let mut leave = std::pin::pin!(tokio::signal::ctrl_c());
    let mut last = String::new();
    loop {
        match fetch(session, client, options).await {
            Ok(value) => {
                last = picture(session, value, options)?;
                screen.draw(&last)?;
            }
            Err(error) if error.is(ErrorKind::Unavailable) => {
                screen.draw(&format!("{error}; trying again…\n{last}"))?;
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            _ = &mut leave => break,
            Some(key) = keys.recv() => if matches!(key, b'q' | b'Q' | 3) { break },
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    drop(screen);
    term::print(&last)?;
    Ok(Exit::Done)
}
