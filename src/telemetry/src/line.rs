//! One line of HAProxy's log: the contract between HAProxy's configuration and the counters.
//!
//! One JSON object a line over TCP, from a HAProxy `ring` (`format raw`, `log-proto legacy`: lines end with LF).
//! Nothing that a client controls is in it, but for numbers that HAProxy made:
//!
//! `{"rc":"<split record>","sd":"c","st":200,"ts":"--","tr":12,"ta":15,"a":"10.0.0.1:32768","gs":-1,"p":4711,"n":1234}`
//!
//! | field | meaning | needed |
//! |---|---|---|
//! | `rc` | the [`crate::record::SplitRecord`] that decided the request; empty: no route | yes |
//! | `sd` | `s` stable; `c` canary by the split; `m` forced to the canary by a match rule, and stays `m` if it fell back; `n` forced to stable by a match rule; `o` stable by the split, and sent to the canary as well; `k` that second request; `x` stable, asked because the canary meant did not answer; `y` the canary, asked because stable did not; `h` handed on to another frontend of ours, whose line tells what became of it; `f` (earlier configurations) meant for the canary, served by stable | with a record |
//! | `st` | status of the answer; 0 or less: none | with a record |
//! | `ts` | termination state, at least its first two characters | with a record |
//! | `tr` | milliseconds to the server's first byte; negative: none | no |
//! | `ta` | milliseconds from the request to the end of the answer; negative: none | no |
//! | `a` | the server that was asked last, `address:port`; `-:-`: none was; `unix:…`: no server of the revision meant was usable, and the other revision was asked | no |
//! | `gs` | the answer's `grpc-status` header; negative: none | no |
//! | `mi` | the number that an original (`o`) and its copy (`k`) share; negative: neither | with those |
//! | `p`, `n` | HAProxy's process and its running number of the line (`%pid`, `%lc`); lost lines show as missing numbers | no |
//!
//! Who made a 5xx is told by `ts`: with `-` the server, else HAProxy. HAProxy 2.6 shows no trailers to its rules (a status
//! there is logged as none), so of gRPC it is only the answers without a body (most errors) whose status is seen.
//!
//! Where HAProxy has no value it writes `-`, also where a number is due: a request that it could not read (400) has neither
//! record nor side. It counts as one without a route.
//!
//! Any other field, in any order, of any JSON type, is passed over; escapes are read over, and refused in `rc`, `sd`
//! and `ts`. A line that does not begin with `{` is no request (HAProxy's own notices come over the same wire).
//! What must never happen: a panic, or a partly read line that counts.

/// A line, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The split record; empty: the request had no route.
    pub record: &'a str,
    /// Which side it was meant for.
    pub side: Side,
    /// Status of the answer; 0 or less: none.
    pub status: i32,
    /// The first two characters of the termination state.
    pub termination: [u8; 2],
    /// Milliseconds to the server's first byte, if there was one.
    pub time_to_first_byte: Option<u32>,
    /// Milliseconds to the end of the answer.
    pub total_time: Option<u32>,
    /// The server that was asked last, as HAProxy wrote it; empty or `-:-`: none.
    pub endpoint: &'a str,
    /// gRPC's status, if the answer's header told it.
    pub grpc: Option<u8>,
    /// What an original and its copy share.
    pub pair: Option<u64>,
    /// HAProxy's process and its running number of the request.
    pub sequence: Option<(u64, u64)>,
}

/// Which side a request was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Stable, by the split: `s`.
    Stable,
    /// The canary, by the split: `c`.
    Canary,
    /// The canary by the split, but none of its servers was usable and stable served it.
    Fallback,
    /// Stable by the split, but none of its servers was usable and the canary served it.
    StableFallback,
    /// The canary, by a match rule: `m`.
    Forced,
    /// Stable, by a match rule: `n`.
    ForcedStable,
    /// Stable, by the split, and the canary was asked as well: `o`, the original.
    Mirrored,
    /// The canary, asked as well, by us; its answer went to nobody: `k`, the copy.
    Copy,
    /// Stable, asked because the canary did not answer: `x`. The request counts in the canary's line.
    ForCanary,
    /// The canary, asked because no server of stable was usable: `y`. The request counts in stable's line.
    ForStable,
    /// Handed on to another frontend of ours, whose line counts: `h`.
    Handed,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered, and not with 5xx.
    Good,
    /// The server failed, was too slow, or was not there.
    Bad,
    /// The client gave up, or was itself too slow: nobody's fault.
    ClientAbort,
}

impl Line<'_> {
    /// What became of the request.
    ///
    /// Bad is: status 5xx, whoever made it; or ended because the server closed, reset, refused or was too slow, in
    /// whatever phase (`S…`, `s…`: `SC sC SH sH SD sD sQ …`), or was killed when it went down (`D…`). A client that
    /// leaves or stalls (`C…`, `c…`) is nobody's fault, and HAProxy notes a 5xx of its own for some of these; only where the answer had
    /// begun (`CD`, `cD`, `CL`, `cL`) is a 5xx the server's.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let [cause, phase] = self.termination;
        let failed = (500..=599).contains(&self.status);
        match (cause, phase) {
            (b'C' | b'c', b'D' | b'L') if failed => Outcome::Bad,
            (b'C' | b'c', _) => Outcome::ClientAbort,
            (b'S' | b's' | b'D', _) => Outcome::Bad,
            _ if failed => Outcome::Bad,
            _ => Outcome::Good,
        }
    }

    /// Index of the status class: 1 to 5, or 0 for no answer.
    #[must_use]
    pub fn class(&self) -> usize {
        match self.status {
            100..=599 => usize::try_from(self.status / 100).unwrap_or(0),
            _ => 0,
        }
    }
}

/// Reads a line that begins with `{`; `None`: it is malformed.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Line<'_>> {
    let mut reader = Reader { bytes, at: 0 };
    let mut fields = Fields::default();
    reader.expect(b'{')?;
    if reader.peek()? == b'}' {
        reader.at += 1;
    } else {
        loop {
            let key = reader.string()?;
            reader.expect(b':')?;
            fields.read(key, &mut reader)?;
            match reader.token()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
    }
    reader.blanks();
    (reader.at == bytes.len()).then_some(())?;
    fields.finish()
}

#[derive(Default)]
struct Fields<'a> {
    record: Option<&'a str>,
    side: Option<&'a str>,
    status: Option<i64>,
    termination: Option<&'a str>,
    first_byte: Option<i64>,
    total: Option<i64>,
    endpoint: Option<&'a str>,
    grpc: Option<i64>,
    pair: Option<i64>,
    process: Option<i64>,
    number: Option<i64>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, key: &[u8], reader: &mut Reader<'a>) -> Option<()> {
        match key {
            b"rc" => self.record = Some(reader.text()?),
            b"sd" => self.side = Some(reader.text()?),
            b"ts" => self.termination = Some(reader.text()?),
            b"st" => self.status = Some(reader.number()?),
            b"tr" => self.first_byte = reader.number_or_none()?,
            b"ta" => self.total = reader.number_or_none()?,
            b"a" => self.endpoint = Some(reader.text()?),
            b"gs" => self.grpc = reader.number_or_none()?,
            b"mi" => self.pair = reader.number_or_none()?,
            b"p" => self.process = Some(reader.number()?),
            b"n" => self.number = Some(reader.number()?),
            _ => reader.skip()?,
        }
        Some(())
    }

    fn finish(self) -> Option<Line<'a>> {
        let record = self
            .record
            .map(|text| if text == "-" { "" } else { text })?;
        let positive = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
        let sequence = positive(self.process).zip(positive(self.number));
        if record.is_empty() {
            return Some(Line {
                record,
                side: Side::Stable,
                status: 0,
                termination: *b"--",
                time_to_first_byte: None,
                total_time: None,
                endpoint: "",
                grpc: None,
                pair: None,
                sequence,
            });
        }
        let side = match self.side? {
            "s" => self.unless_other(Side::Stable, Side::StableFallback),
            "c" => self.unless_other(Side::Canary, Side::Fallback),
            "f" => Side::Fallback,
            "m" => Side::Forced,
            "n" => Side::ForcedStable,
            "o" => Side::Mirrored,
            "k" => Side::Copy,
            "x" => Side::ForCanary,
            "y" => Side::ForStable,
            "h" => Side::Handed,
            _ => return None,
        };
        Some(Line {
            record,
            side,
            status: i32::try_from(self.status?).ok()?,
            termination: *self.termination?.as_bytes().first_chunk::<2>()?,
            time_to_first_byte: self.first_byte.and_then(|ms| u32::try_from(ms).ok()),
            total_time: self.total.and_then(|ms| u32::try_from(ms).ok()),
            endpoint: self.endpoint.unwrap_or(""),
            grpc: self.grpc.and_then(|status| u8::try_from(status).ok()),
            pair: positive(self.pair),
            sequence,
        })
    }
}

impl Fields<'_> {
    /// A backend without usable servers asks the other revision's, through a socket of ours. Where nobody answered there
    /// either, the revision that was meant has failed, as if it had been asked alone.
    fn unless_other(&self, side: Side, other: Side) -> Side {
        let answered = self
            .status
            .is_some_and(|status| (100..500).contains(&status));
        match self.endpoint {
            Some(endpoint) if answered && endpoint.starts_with("unix:") => other,
            Some(_) | None => side,
        }
    }
}

/// Walks over JSON without building anything.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.blanks();
        self.bytes.get(self.at).copied()
    }

    fn token(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.token()? == wanted).then_some(())
    }

    /// The bytes between two quotes, escapes as they stand.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..)?;
            let found = memchr::memchr2(b'"', b'\\', rest)?;
            self.at += found;
            if self.bytes.get(self.at) == Some(&b'"') {
                self.at += 1;
                return self.bytes.get(start..self.at - 1);
            }
            self.at += 2;
        }
    }

    /// A string that has no escapes, control characters or anything beyond ASCII.
    fn text(&mut self) -> Option<&'a str> {
        let bytes = self.string()?;
        bytes
            .iter()
            .all(|b| (0x20..0x7f).contains(b) && *b != b'\\')
            .then(|| std::str::from_utf8(bytes).ok())?
    }

    /// A whole number.
    fn number(&mut self) -> Option<i64> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let start = self.at;
        let mut value = 0i64;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            value = value
                .checked_mul(10)?
                .checked_add(i64::from(*digit - b'0'))?;
            self.at += 1;
        }
        (self.at > start).then_some(if negative { -value } else { value })
    }

    /// A whole number, or the `-` that HAProxy writes where it has none.
    fn number_or_none(&mut self) -> Option<Option<i64>> {
        let dash = self.peek()? == b'-';
        let alone = !self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit);
        if dash && alone {
            self.at += 1;
            return Some(None);
        }
        self.number().map(Some)
    }

    /// Passes over any value, as far as is needed to find its end.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => self.scalar()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Passes over a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'+' | b'.') =
            self.bytes.get(self.at)
        {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests;
