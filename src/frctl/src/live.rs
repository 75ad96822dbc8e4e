//! A picture that is drawn anew each second, until its reader leaves; the last one stays on the terminal.

use std::time::Duration;

use fm_api::http::ErrorKind;

use crate::error::{Exit, Result};
use crate::term::{self, Screen};

/// Shows what `picture` gives, again and again. A daemon that is away for a while is waited for.
pub(crate) async fn show(mut picture: impl AsyncFnMut() -> Result<String>) -> Result<Exit> {
    let screen = Screen::enter()?;
    let mut keys = term::keys();
    let mut leave = std::pin::pin!(tokio::signal::ctrl_c());
    let mut last = String::new();
    loop {
        match picture().await {
            Ok(text) => {
                last = text;
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
