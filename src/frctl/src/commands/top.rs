//! `frctl top`: how every revision does just now; of one release, how each task does.

use fm_api::keys::ReleaseKey;
use fm_api::signals::Top;
use serde_json::Value;

use crate::cli::{Output, TopOptions};
use crate::client::{Client, shown};
use crate::error::{Error, Exit, Result};
use crate::session::Session;
use crate::{live, render, term};

pub(super) async fn run(session: &Session, options: &TopOptions) -> Result<Exit> {
    let client = session.client()?;
    let on_screen = !options.once && term::size().is_some();
    match session.output() {
        Output::Table | Output::Wide if on_screen => {
            return live::show(async || {
                picture(session, fetch(session, &client, options).await?, options)
            })
            .await;
        }
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
    let query = if let Some(name) = &options.name {
        return client.get(&path(&session.key(name)?)).await;
    } else if options.all_namespaces {
        String::new()
    } else {
        // A name that could end the query is none; the server says so.
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        let namespace: String = session.namespace().chars().filter(plain).collect();
        format!("?namespace={namespace}")
    };
    client.get(&format!("/v1/top{query}")).await
}

/// Where one release and its tasks are found.
pub(super) fn path(key: &ReleaseKey) -> String {
    format!("/v1/top?namespace={}&name={}", key.namespace(), key.name())
}

fn picture(session: &Session, value: Value, options: &TopOptions) -> Result<String> {
    let top: Top = shown(value)?;
    let wide = session.output() == Output::Wide;
    let spread = options.all_namespaces;
    Ok(render::top(&top, &session.look(), spread, wide))
}
