//! What goes wrong, said with what to do about it, and the exit codes.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use fm_api::http::ErrorKind;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or promoted.
    Done,
    /// An error; an invalid manifest too. For `diff`: there are differences.
    Error,
    /// The command line was not understood.
    Usage,
    /// Rolled back or aborted.
    Back,
    /// The time given did not suffice.
    TimedOut,
    /// The next move is a person's.
    Person,
}

impl Exit {
    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::Back => 3,
            Exit::TimedOut => 4,
            Exit::Person => 5,
        }
    }

    /// Of two ends the one that a caller must hear of first.
    pub(crate) fn worse(self, other: Exit) -> Exit {
        const ORDER: [Exit; 6] = [
            Exit::Error,
            Exit::Usage,
            Exit::Back,
            Exit::TimedOut,
            Exit::Person,
            Exit::Done,
        ];
        ORDER
            .into_iter()
            .find(|exit| *exit == self || *exit == other)
            .unwrap_or(Exit::Error)
    }
}

/// What went wrong, and what to do.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    hint: Option<String>,
    exit: Exit,
    /// Who reads our output has gone away: nothing is wrong, and nothing can be said.
    pipe: bool,
    /// What the server said of the failure's kind, if it was the server.
    kind: Option<ErrorKind>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What commands return.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this sentence.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            exit: Exit::Error,
            pipe: false,
            kind: None,
            source: None,
        }
    }
    /// What to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// Another exit code than 1.
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
    /// The server's word for the kind of failure.
    pub(crate) const fn kind(mut self, kind: ErrorKind) -> Self {
        self.kind = Some(kind);
        self
    }
    /// What lies below it.
    pub(crate) fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
    /// The exit code it leads to.
    pub(crate) const fn ends(&self) -> Exit {
        self.exit
    }
    /// Whether only the reader of our output has gone away.
    pub(crate) const fn is_pipe(&self) -> bool {
        self.pipe
    }
    /// Whether it was frd that said so, and not the way to it.
    pub(crate) const fn is_answer(&self) -> bool {
        self.kind.is_some() && self.source.is_none()
    }
    /// Whether the server called the failure `kind`.
    pub(crate) fn is(&self, kind: ErrorKind) -> bool {
        self.kind == Some(kind)
    }
    /// The hint, if there is one.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // `{:#}` adds what lies below, as people read it: each cause once.
        if f.alternate() {
            let mut said = self.message.clone();
            let mut below = self.source();
            while let Some(error) = below {
                let text = error.to_string();
                if !said.contains(&text) {
                    write!(f, ": {text}")?;
                    said = text;
                }
                below = error.source();
            }
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let pipe = error.kind() == io::ErrorKind::BrokenPipe;
        let mut this = Error::new("input or output failed").because(error);
        this.pipe = pipe;
        this
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_outweighs_a_rollback_and_that_outweighs_a_wait() {
        assert_eq!(Exit::Done.worse(Exit::Person), Exit::Person);
        assert_eq!(Exit::Back.worse(Exit::TimedOut), Exit::Back);
        assert_eq!(Exit::Person.worse(Exit::Error), Exit::Error);
        assert_eq!(Exit::Done.worse(Exit::Done), Exit::Done);
    }

    #[test]
    fn each_cause_is_said_once() {
        let below = Error::new("connection refused");
        let error = Error::new("frd does not answer").because(below);
        assert_eq!(
            format!("{error:#}"),
            "frd does not answer: connection refused"
        );
    }
}
