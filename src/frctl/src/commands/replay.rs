//! `frctl analysis replay`: decides recorded traffic by a release's criteria, line by line.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use fm_analysis::replay;
use fm_api::verdict::{Decision, Reason};

use super::record::word;

use crate::cli::{self, Output};
use crate::error::{Error, Exit, Result};
use crate::session::Session;
use crate::text::clean;
use crate::{files, term};

/// A second of a million response times fits in.
const LONGEST: u64 = 16 * 1024 * 1024;

pub(super) fn run(session: &Session, options: &cli::Replay) -> Result<Exit> {
    if options.file.as_os_str() == "-" && options.input.as_os_str() == "-" {
        return Err(
            Error::new("only one of -f and --input can be standard input").exit(Exit::Usage),
        );
    }
    let release = match files::single(&options.file) {
        Ok(release) => release,
        Err(problems) => {
            for problem in &problems {
                term::complain(&clean(&problem.to_string()));
            }
            return Ok(Exit::Error);
        }
    };
    let name = options.input.display().to_string();
    let input: Box<dyn BufRead> = if name == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&options.input)
            .map_err(|error| Error::new(format!("{name} cannot be read")).because(error))?;
        Box::new(BufReader::new(file))
    };
    let mut replay = replay::Replay::new(&release);
    let mut out = BufWriter::new(io::stdout().lock());
    let programs = matches!(session.output(), Output::Json | Output::Yaml);
    let mut said = None;
    let mut input = Lines::new(input);
    while let Some(line) = input
        .next()
        .map_err(|error| Error::new(format!("{name} cannot be read")).because(error))?
    {
        let decided = match replay.line(&line) {
            Ok(decided) => decided,
            Err(error) => {
                out.flush()?;
                return Err(Error::new(format!("{name}: {}", clean(&error.to_string()))));
            }
        };
        if programs {
            serde_json::to_writer(&mut out, &decided)
                .map_err(|error| Error::from(io::Error::from(error)))?;
            out.write_all(b"\n")?;
        } else {
            person(&mut out, &decided, &mut said)?;
        }
        // Who replays a growing recording sees each line when it is decided.
        if name == "-" {
            out.flush()?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// Lines of text, none of them longer than memory should hold.
struct Lines<R> {
    input: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            line: Vec::new(),
        }
    }

    /// The next line without its end; a longer one comes cut, and is then no JSON. What is no UTF-8 is no JSON either.
    fn next(&mut self) -> io::Result<Option<Cow<'_, str>>> {
        self.line.clear();
        let read = (&mut self.input)
            .take(LONGEST)
            .read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&self.line)))
    }
}

/// For people: a line when the conclusion or its reason changes, and every tenth.
fn person(
    out: &mut impl Write,
    decided: &replay::Output,
    said: &mut Option<(Decision, Reason)>,
) -> io::Result<()> {
    let now = (decided.verdict, decided.reason);
    if *said == Some(now) && !decided.tick.is_multiple_of(10) {
        return Ok(());
    }
    *said = Some(now);
    let word = word(&decided.verdict);
    writeln!(
        out,
        "{:>5} s  {word:<12}  harm {:>6.2}  non-inferior {:>6.2}  {}",
        decided.tick, decided.log_e_harm, decided.log_e_ni, decided.sentence
    )
}
