//! The terminal: its size, its colours, and the live picture's own screen. Whatever ends the program orderly, the
//! terminal must be left as it was found.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc;

use crate::error::{Error, Result};

/// Columns and rows of the terminal that standard output is; `None` if it is none.
pub(crate) fn size() -> Option<(usize, usize)> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    match tcgetwinsize(&stdout) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Some((usize::from(size.ws_col), usize::from(size.ws_row)))
        }
        _ => Some((80, 24)),
    }
}

/// Whether standard output takes colours.
pub(crate) fn colours(refused: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !refused && !set("NO_COLOR") && !dumb
}

/// Writes to standard output at once.
pub(crate) fn print(text: &str) -> Result<()> {
    raw(&crate::text::guarded(text))
}

/// Writes what drives the terminal, which is ours alone.
fn raw(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// Writes what may be no text to standard output at once.
pub(crate) fn bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

/// Writes a line to standard output at once.
pub(crate) fn line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Writes a line to standard error; nobody can be told if that fails.
pub(crate) fn complain(text: &str) {
    let text = crate::text::guarded(text);
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether standard error is a terminal.
pub(crate) fn is_stderr() -> bool {
    io::stderr().is_terminal()
}

/// Writes a line over the one before on standard error, or erases it; nobody can be told if that fails.
pub(crate) fn progress(text: &str) {
    let columns = tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(20));
    let text = crate::text::guarded(&crate::text::cut(text, columns - 1));
    let _ = write!(io::stderr().lock(), "\r{text}\x1b[K");
}

/// Says an error and what to do about it.
pub(crate) fn complain_of(error: &Error) {
    complain(&format!("error: {error:#}"));
    if let Some(hint) = error.advice() {
        complain(&format!("hint: {hint}"));
    }
}

/// A screen of its own for the live picture, without cursor; keys come one by one. Dropping it restores everything.
#[derive(Debug)]
pub(crate) struct Screen {
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn enter() -> Result<Self> {
        let stdin = io::stdin();
        let mut before = None;
        if stdin.is_terminal()
            && let Ok(modes) = tcgetattr(&stdin)
        {
            let mut raw = modes.clone();
            raw.local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            // Stopping with Ctrl-Z would leave the shell with our screen.
            raw.special_codes[SpecialCodeIndex::VSUSP] = 0;
            raw.special_codes[SpecialCodeIndex::VMIN] = 1;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            if tcsetattr(&stdin, OptionalActions::Now, &raw).is_ok() {
                before = Some(modes);
            }
        }
        let screen = Self { before };
        raw("\x1b[?1049h\x1b[?25l")?;
        Ok(screen)
    }

    /// Draws a picture in place of the one before.
    pub(crate) fn draw(&self, picture: &str) -> Result<()> {
        let (columns, rows) = size().unwrap_or((80, 24));
        let lines: Vec<&str> = picture.lines().collect();
        let hidden = lines.len().saturating_sub(rows);
        let mut out = String::from("\x1b[H");
        for (index, line) in lines.iter().take(rows).enumerate() {
            if index > 0 {
                out.push_str("\r\n");
            }
            let last = hidden > 0 && index + 1 == rows;
            let line = if last {
                format!("… {} more lines; q to leave", hidden + 1)
            } else {
                (*line).to_owned()
            };
            out.push_str(&crate::text::guarded(&crate::text::cut(&line, columns)));
            out.push_str("\x1b[K");
        }
        // Erasing below the last row would scroll a full screen.
        if lines.len() < rows {
            out.push_str("\r\n\x1b[J");
        }
        raw(&out)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = raw("\x1b[?25h\x1b[?1049l");
        if let Some(modes) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }
}

/// Keys that are pressed; none if standard input is no terminal. The reading thread ends with the process.
pub(crate) fn keys() -> mpsc::Receiver<u8> {
    let (sender, receiver) = mpsc::channel(16);
    if io::stdin().is_terminal() {
        std::thread::spawn(move || {
            let mut byte = [0u8];
            while matches!(io::stdin().lock().read(&mut byte), Ok(1)) {
                if sender.blocking_send(byte[0]).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}
