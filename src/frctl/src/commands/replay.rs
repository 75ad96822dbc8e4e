//! `frctl analysis replay`: decides recorded traffic by a release's criteria.

use crate::cli::Replay;
use crate::error::{Error, Exit, Result};
use crate::session::Session;

pub(super) fn run(_session: &Session, _options: &Replay) -> Result<Exit> {
    Err(Error::new("not yet"))
}
