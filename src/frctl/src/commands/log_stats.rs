//! `frctl log-stats`: tables of counts and response times from HAProxy's access logs.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use fm_telemetry::access::feed;
use fm_telemetry::access::report::{By, Sort};
use fm_telemetry::access::stats::{Options, Stats};

use crate::cli::{self, LogBy, LogSort, Output};
use crate::error::{Error, Exit, Result};
use crate::render::log_stats;
use crate::session::Session;
use crate::term;

pub(super) fn run(session: &Session, options: &cli::LogStats) -> Result<Exit> {
    if session.output() == Output::Name {
        return Err(Error::new("log-stats has no names to print").exit(Exit::Usage));
    }
    let by: Vec<By> = options.by.iter().copied().map(kind).collect();
    let routes = by.contains(&By::Route).then_some(options.path_depth);
    let mut stats = Stats::new(Options {
        routes,
        since: options.since,
        until: options.until,
    });
    let mut progress = Progress::new(&options.files);
    for path in &options.files {
        let outcome = one(path, &mut stats, &mut progress);
        progress.clear();
        outcome?;
    }
    let sort = match options.sort {
        LogSort::Requests => Sort::Requests,
        LogSort::Bad => Sort::Bad,
        LogSort::P99 => Sort::Slow,
        LogSort::Name => Sort::Name,
    };
    let programs = matches!(session.output(), Output::Json | Output::Yaml);
    let top = match options.top {
        Some(0) => usize::MAX,
        Some(top) => top,
        None if programs => usize::MAX,
        None => 20,
    };
    let report = stats.report(&by, sort, top);
    if !session.object(&report)? {
        let wide = session.output() == Output::Wide;
        term::print(&log_stats::text(&report, wide, &session.look()))?;
    }
    let lines = &report.lines;
    // What was left out on purpose is there.
    let known = report.total.requests + lines.left_out + lines.unrouted;
    if lines.lines == 0 || known > 0 {
        return Ok(Exit::Done);
    }
    Err(
        Error::new("no line of it is a request that HAProxy logged").hint(
            "log-stats reads `option httplog`, httpslog and FridayMorning's own JSON lines, behind whatever a logger puts \
             before them; with `option tcplog`, or the log of another program, there is nothing to count",
        ),
    )
}

const fn kind(by: LogBy) -> By {
    match by {
        LogBy::Backend => By::Backend,
        LogBy::Server => By::Server,
        LogBy::Route => By::Route,
        LogBy::Frontend => By::Frontend,
    }
}

fn one(path: &Path, stats: &mut Stats, progress: &mut Progress) -> Result<()> {
    let name = path.display().to_string();
    let unreadable = |error| Error::new(format!("{name} cannot be read")).because(error);
    let mut input: Box<dyn Read> = if name == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut head = [0; 2];
    let mut known = 0;
    while known < head.len() {
        match input.read(head.get_mut(known..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => known += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    let head = head.get(..known).unwrap_or_default();
    if head == b"\x1f\x8b" {
        return Err(Error::new(format!("{name} is compressed"))
            .hint(format!("zcat {name} | frctl log-stats -")));
    }
    stats.begin(&name);
    feed::read(head.chain(input), stats, |read, stats| {
        progress.read(read, stats);
        Ok(())
    })
    .map_err(unreadable)
}

/// A line on standard error, when that is a terminal and the work is long.
struct Progress {
    started: Instant,
    said: Instant,
    shown: bool,
    done: u64,
    /// Bytes of all files; unknown with standard input among them.
    total: Option<u64>,
    terminal: bool,
}

impl Progress {
    /// Work that ends before this needs no progress.
    const PATIENCE: Duration = Duration::from_millis(700);
    const EVERY: Duration = Duration::from_millis(100);

    fn new(files: &[std::path::PathBuf]) -> Self {
        let size = |path: &std::path::PathBuf| {
            let meta = std::fs::metadata(path).ok().filter(|meta| meta.is_file());
            meta.map(|meta| meta.len())
        };
        let now = Instant::now();
        Self {
            started: now,
            said: now,
            shown: false,
            done: 0,
            total: files.iter().map(size).sum(),
            terminal: term::is_stderr(),
        }
    }

    fn read(&mut self, bytes: usize, stats: &Stats) {
        self.done += bytes as u64;
        if !self.terminal {
            return;
        }
        let now = Instant::now();
        let patient = now.duration_since(self.started) < Self::PATIENCE;
        if patient || now.duration_since(self.said) < Self::EVERY {
            return;
        }
        self.said = now;
        self.shown = true;
        let spent = now.duration_since(self.started);
        let lines = stats.lines().lines;
        term::progress(&log_stats::progress(self.done, self.total, lines, spent));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            term::progress("");
        }
    }
}
