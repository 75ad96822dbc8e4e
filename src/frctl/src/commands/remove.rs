//! `frctl delete`.

use std::time::Duration;

use fm_api::http::ErrorKind;
use reqwest::Method;

use crate::cli::Delete;
use crate::client::Client;
use crate::error::{Error, Exit, Result};
use crate::session::Session;
use crate::term;

pub(super) async fn run(session: &Session, options: &Delete) -> Result<Exit> {
    let client = session.client()?;
    let mut exit = Exit::Done;
    let mut deleting = Vec::new();
    for name in &options.names {
        let key = session.key(name)?;
        let query = if options.orphan { "?orphan=true" } else { "" };
        let path = format!("{}{query}", Client::release(&key));
        let request = client.request(Method::DELETE, &path);
        match client.send(request).await.map_err(Error::from) {
            Ok(_) => {
                term::line(&format!("release {key} deleting"))?;
                deleting.push(key);
            }
            Err(error) if error.is(ErrorKind::NotFound) => {
                term::complain_of(&error);
                exit = Exit::Error;
            }
            Err(error) => return Err(error),
        }
    }
    if !options.wait {
        return Ok(exit);
    }
    let deadline = tokio::time::Instant::now() + options.timeout;
    let mut lost = false;
    for key in deleting {
        loop {
            match client.get(&Client::release(&key)).await {
                Ok(_) => lost = false,
                Err(error) if error.is(ErrorKind::NotFound) => {
                    term::line(&format!("release {key} deleted"))?;
                    break;
                }
                Err(error) if error.is(ErrorKind::Unavailable) => {
                    if !std::mem::replace(&mut lost, true) {
                        term::complain(&format!("{error}; trying again…"));
                    }
                }
                Err(error) => return Err(error),
            }
            if tokio::time::Instant::now() >= deadline {
                let hint = format!("`frctl describe {key}` says what it waits for");
                return Err(Error::new(format!("{key} is not gone yet"))
                    .hint(hint)
                    .exit(Exit::TimedOut));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    Ok(exit)
}
