//! Takes lines of any known format, one by one, and keeps what is counted of them.

use jiff::civil::DateTime;
use serde::Serialize;

use super::httplog::{self, host_and_path};
use super::own::{self, Own};
use super::rows::{Count, Rows};
use super::{Request, Route};
use crate::syslog;

/// Frontends, backends and servers kept apart; together with [`MAX_ROUTES`] this bounds the memory.
pub const MAX_PLACES: usize = 4096;
/// Routes kept apart. Their names are the clients' choice.
pub const MAX_ROUTES: usize = 1024;
/// A route's name is cut here.
const MAX_NAME: usize = 200;
/// Lines that could not be read and are shown.
const EXAMPLES: usize = 3;

/// What to count.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Rows by route too; with how many segments of the path.
    pub routes: Option<usize>,
    /// Only requests accepted from this time on, as the log writes time.
    pub since: Option<DateTime>,
    /// Only requests accepted before this time.
    pub until: Option<DateTime>,
}

/// What became of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lines {
    /// All of them.
    pub lines: u64,
    /// Counted in the tables.
    pub requests: u64,
    /// Of these: lines that end before their request does.
    pub cut: u64,
    /// Requests outside of the time that was asked for, or without a time when one was.
    pub left_out: u64,
    /// Requests of our own format that had no route.
    pub unrouted: u64,
    /// Something else that HAProxy said, and empty lines.
    pub other: u64,
    /// Lines that begin as a request, or as a wrapper, and are none.
    pub malformed: u64,
    /// Lines longer than any request; not looked at.
    pub overlong: u64,
    /// The first lines that could not be read, as `file:line: text`.
    pub examples: Vec<String>,
}

/// Counts lines.
#[derive(Debug)]
pub struct Stats {
    options: Options,
    pub(super) lines: Lines,
    pub(super) places: Rows,
    pub(super) routes: Rows,
    pub(super) clock: Clock,
    /// The name that is being looked up.
    name: Vec<u8>,
    source: String,
    /// Lines before this source.
    before: u64,
}

impl Stats {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            lines: Lines::default(),
            places: Rows::new(MAX_PLACES),
            routes: Rows::new(MAX_ROUTES),
            clock: Clock::default(),
            name: Vec::with_capacity(MAX_NAME),
            source: String::new(),
            before: 0,
        }
    }

    /// The lines that follow are of this file.
    pub fn begin(&mut self, source: &str) {
        source.clone_into(&mut self.source);
        self.before = self.lines.lines;
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Counts a line, without its end.
    pub fn line(&mut self, line: &[u8]) {
        self.lines.lines += 1;
        let Some(payload) = syslog::payload(line) else {
            return self.malformed(line);
        };
        if payload.first() == Some(&b'{') {
            match own::parse(payload) {
                Own::Request(request) => self.request(&request, line),
                Own::Unrouted => self.lines.unrouted += 1,
                Own::Handed => self.lines.other += 1,
                Own::Malformed => self.malformed(line),
            }
            return;
        }
        match httplog::parse(payload) {
            httplog::Line::Request(request, whole) => {
                self.lines.cut += u64::from(!whole);
                self.request(&request, line);
            }
            httplog::Line::Other => self.wrapped(line),
            httplog::Line::Malformed => self.malformed(line),
        }
    }

    /// A line that a wrapper which is not syslog's may hide.
    #[cold]
    fn wrapped(&mut self, line: &[u8]) {
        let own = own_json(line);
        if let Some(Own::Request(request)) = own.map(own::parse) {
            return self.request(&request, line);
        }
        let Some(inner) = httplog::unwrapped(line) else {
            self.lines.other += 1;
            return;
        };
        match httplog::parse(inner) {
            httplog::Line::Request(request, whole) => {
                self.lines.cut += u64::from(!whole);
                self.request(&request, line);
            }
            httplog::Line::Other if httplog::is_whole_date(inner) => self.lines.other += 1,
            httplog::Line::Other | httplog::Line::Malformed => self.malformed(line),
        }
    }

    /// A line of our own format that somebody else has read.
    pub fn own(&mut self, line: &crate::line::Line<'_>) {
        self.lines.lines += 1;
        match own::request(line) {
            Some(request) => self.request(&request, line.record.as_bytes()),
            None => self.malformed(line.record.as_bytes()),
        }
    }

    /// A line that was too long to be looked at.
    pub fn overlong(&mut self) {
        self.lines.lines += 1;
        self.lines.overlong += 1;
    }

    fn request(&mut self, request: &Request<'_>, line: &[u8]) {
        let at = request.accepted.and_then(|text| self.clock.read(text));
        if request.accepted.is_some() && at.is_none() {
            return self.malformed(line);
        }
        if !self.wanted(at) {
            self.lines.left_out += 1;
            return;
        }
        let count = Count::of(request);
        let mut place = request.place;
        if place.is_empty() {
            self.name.clear();
            self.name.extend_from_slice(request.frontend);
            self.name.push(b' ');
            self.name.extend_from_slice(request.backend);
            self.name.push(b'/');
            self.name.extend_from_slice(request.server);
            place = &self.name;
        }
        if !self.places.record(place, &count, legal_place) {
            return self.malformed(line);
        }
        self.lines.requests += 1;
        if let Some(at) = at {
            self.clock.saw(at);
        }
        if let Some(depth) = self.options.routes {
            self.name.clear();
            name_route(&mut self.name, request.route, depth);
            self.routes.record(&self.name, &count, |_| true);
        }
    }

    fn wanted(&self, at: Option<i64>) -> bool {
        let Options { since, until, .. } = &self.options;
        if since.is_none() && until.is_none() {
            return true;
        }
        at.is_some_and(|at| {
            since.is_none_or(|since| at >= millis(since))
                && until.is_none_or(|until| at < millis(until))
        })
    }

    #[cold]
    fn malformed(&mut self, line: &[u8]) {
        self.lines.malformed += 1;
        if self.lines.examples.len() < EXAMPLES {
            let shown = line.get(..160).unwrap_or(line);
            let more = if shown.len() < line.len() { "…" } else { "" };
            let text = String::from_utf8_lossy(shown);
            let number = self.lines.lines - self.before;
            let example = format!("{}:{number}: {text}{more}", self.source);
            self.lines.examples.push(example);
        }
    }
}

/// Our own line behind a wrapper. What a wrapper writes has no quotes: in them stands what clients say.
fn own_json(line: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(line.get(..256).unwrap_or(line), b"{\"rc\":")?;
    let plain = memchr::memchr(b'"', line.get(..at)?).is_none();
    line.get(at..).filter(|_| plain)
}

/// `frontend backend/server` in the characters that HAProxy allows in names, and `<NOSRV>`.
fn legal_place(name: &[u8]) -> bool {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:~<>".contains(b);
    let mut parts = name.splitn(2, |b| *b == b' ');
    let frontend = parts.next().unwrap_or_default();
    let mut parts = parts.next().unwrap_or_default().splitn(2, |b| *b == b'/');
    let (backend, server) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    [frontend, backend, server]
        .iter()
        .all(|part| (1..=128).contains(&part.len()) && part.iter().all(legal))
}

/// Host and the first segments of the path, or release and revision.
fn name_route(name: &mut Vec<u8>, route: Route<'_>, depth: usize) {
    match route {
        Route::Release(release, revision) => {
            name.extend_from_slice(release.as_bytes());
            name.push(b' ');
            name.extend_from_slice(revision.as_bytes());
        }
        Route::Line(rest) => {
            let (host, path) = host_and_path(rest, depth);
            let host = host.unwrap_or(b"-");
            let end = memchr::memchr(b':', host).unwrap_or(host.len());
            let from = name.len();
            name.extend_from_slice(host.get(..end).unwrap_or_default());
            name.get_mut(from..)
                .unwrap_or_default()
                .make_ascii_lowercase();
            name.extend_from_slice(path.unwrap_or_default());
        }
    }
    name.truncate(MAX_NAME);
}

/// Milliseconds since 1970 on the log's own clock, whatever its zone.
fn millis(at: DateTime) -> i64 {
    let day = at.date().duration_since(jiff::civil::date(1970, 1, 1));
    let time = at.time().duration_since(jiff::civil::Time::midnight());
    (day + time).as_millis().try_into().unwrap_or(i64::MAX)
}

/// Reads times; most lines are of the same second as the one before.
#[derive(Debug, Default)]
pub(super) struct Clock {
    text: [u8; 20],
    second: i64,
    /// The first and the last time seen.
    pub(super) span: Option<(i64, i64)>,
}

impl Clock {
    fn read(&mut self, text: &[u8; 24]) -> Option<i64> {
        let (second, fraction) = text.split_first_chunk::<20>()?;
        if *second != self.text {
            self.second = civil(second)?;
            self.text = *second;
        }
        let ms = digits(fraction.get(1..)?)?;
        Some(self.second + ms)
    }

    fn saw(&mut self, at: i64) {
        let (first, last) = self.span.unwrap_or((at, at));
        self.span = Some((first.min(at), last.max(at)));
    }
}

/// Milliseconds of `22/Nov/2026:18:45:07`.
fn civil(text: &[u8; 20]) -> Option<i64> {
    let number = |from: usize, to: usize| digits(text.get(from..to)?)?.try_into().ok();
    let months = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let name = text.get(3..6)?;
    let month = months.as_chunks::<3>().0.iter().position(|m| m == name)?;
    let at = DateTime::new(
        number(7, 11)?,
        i8::try_from(month + 1).ok()?,
        number(0, 2)?.try_into().ok()?,
        number(12, 14)?.try_into().ok()?,
        number(15, 17)?.try_into().ok()?,
        number(18, 20)?.try_into().ok()?,
        0,
    );
    at.ok().map(millis)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0i64, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + i64::from(byte - b'0'))
    })
}
