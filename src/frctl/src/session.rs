//! What every command works with: the global options, the client, the reader's terminal.

use fm_api::keys::ReleaseKey;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::{Format, Global, Output};
use crate::client::{Address, Client};
use crate::error::{Error, Exit, Result};
use crate::term;
use crate::text::{self, Look, Paint};

/// The global options, understood.
#[derive(Debug)]
pub(crate) struct Session {
    global: Global,
}

impl Session {
    /// From the command line.
    pub(crate) const fn new(global: Global) -> Self {
        Self { global }
    }

    /// A client of the server that was named.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::new(Address::parse(&self.global.server)?)
    }

    /// The server as it was named.
    pub(crate) fn server(&self) -> &str {
        &self.global.server
    }

    /// The namespace that was named, if any.
    pub(crate) fn named_namespace(&self) -> Option<&str> {
        self.global.namespace.as_deref()
    }

    /// The namespace.
    pub(crate) fn namespace(&self) -> &str {
        self.named_namespace().unwrap_or("default")
    }

    /// How to print; a table unless said otherwise.
    pub(crate) fn output(&self) -> Output {
        (self.global.output.and_then(Format::common)).unwrap_or(Output::Table)
    }

    /// How to print, as it was asked for.
    pub(crate) fn asked(&self) -> Option<Format> {
        self.global.output
    }

    /// The release that `NAME` or `NAMESPACE/NAME` means.
    pub(crate) fn key(&self, name: &str) -> Result<ReleaseKey> {
        let (namespace, short) = match name.split_once('/') {
            Some((namespace, short)) => (namespace, short),
            None => (self.namespace(), name),
        };
        if let Some(named) = self.named_namespace()
            && named != namespace
        {
            return Err(
                Error::new(format!("`{name}` names another namespace than -n {named}"))
                    .exit(Exit::Usage),
            );
        }
        let fine = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if fine(namespace) && fine(short) {
            Ok(ReleaseKey::new(namespace, short))
        } else {
            Err(Error::new(format!("`{name}` is no name of a release"))
                .hint("write NAME or NAMESPACE/NAME, in lower-case letters, digits and -")
                .exit(Exit::Usage))
        }
    }

    /// Colours or none. Does not read the time zone, which takes longer than a whole request.
    pub(crate) fn paint(&self) -> Paint {
        Paint(term::colours(self.global.no_color))
    }

    /// How things are shown just now.
    pub(crate) fn look(&self) -> Look {
        Look {
            now: Timestamp::now(),
            width: term::size().map(|(columns, _)| columns),
            paint: self.paint(),
            zone: TimeZone::system(),
        }
    }

    /// Prints an object as JSON or YAML; for other formats nothing, and `false`.
    pub(crate) fn object(&self, value: &impl Serialize) -> Result<bool> {
        match self.output() {
            Output::Json => term::line(&json(value)?)?,
            Output::Yaml => term::print(&yaml(value)?)?,
            Output::Table | Output::Wide | Output::Name => return Ok(false),
        }
        Ok(true)
    }
}

/// A release as people write it in commands.
pub(crate) fn short(key: &ReleaseKey) -> String {
    if key.namespace() == "default" {
        key.name().to_owned()
    } else {
        key.to_string()
    }
}

/// JSON for programs and eyes.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(text::escaped)
        .map_err(|error| Error::new("this cannot be written as JSON").because(error))
}

/// YAML, with a newline at the end.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String> {
    let mut text = serde_saphyr::to_string(value)
        .map_err(|error| Error::new("this cannot be written as YAML").because(error))?;
    if text::guarded(&text) != text {
        // JSON is YAML as well, and escapes what would drive a terminal.
        text = json(value)?;
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
