//! The split record: the one map entry that decides a route's traffic, and that HAProxy writes into each log line.
//!
//! Because the record itself is in the line, a line always tells which revision served it, under which split, whatever
//! has changed since. Fields are separated by `|` and hold only `[A-Za-z0-9_./-]`:
//!
//! `mode|seed|weight|stableBackend|canaryBackend|namespace/name|stableRevision|canaryRevision|generation`
//!
//! and, only where requests are mirrored, `|mirror` behind it.

use fm_api::keys::{ReleaseKey, RevisionId};
use fm_api::quantity::Weight;

/// How a request's bucket is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// At random, each request alone: `r`.
    Random,
    /// From the cookie: `c`.
    Cookie,
    /// From the client's address: `h`.
    Source,
    /// Not at all: every request is meant for the canary's backend alone, and stays outside the test: `p`.
    Preview,
}

/// A decoded split record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitRecord {
    /// How a bucket is found.
    pub mode: Mode,
    /// The rollout's seed.
    pub seed: String,
    /// The canary's share: buckets below its basis points are the canary's.
    pub weight: Weight,
    /// Backend of stable.
    pub stable_backend: String,
    /// Backend of the canary; `-` in the text when there is none.
    pub canary_backend: Option<String>,
    /// The release.
    pub release: ReleaseKey,
    /// The revision behind the stable backend.
    pub stable: RevisionId,
    /// The revision behind the canary backend; `-` in the text when there is none.
    pub canary: Option<RevisionId>,
    /// `Traffic::generation`.
    pub generation: u64,
    /// The share of the safe requests that are sent to the canary as well.
    pub mirror: Weight,
}

impl SplitRecord {
    /// The text that stands in the map and in log lines.
    #[must_use]
    pub fn encode(&self) -> String {
        let mode = match self.mode {
            Mode::Random => 'r',
            Mode::Cookie => 'c',
            Mode::Source => 'h',
            Mode::Preview => 'p',
        };
        let mirror = match self.mirror {
            Weight::ZERO => String::new(),
            share => format!("|{}", share.basis_points()),
        };
        format!(
            "{mode}|{}|{}|{}|{}|{}|{}|{}|{}{mirror}",
            self.seed,
            self.weight.basis_points(),
            self.stable_backend,
            self.canary_backend.as_deref().unwrap_or("-"),
            self.release,
            self.stable,
            self.canary.as_ref().map_or("-", RevisionId::as_str),
            self.generation,
        )
    }

    /// Reads it back; `None` for anything that is not exactly such a record.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('|');
        let mode = match fields.next()? {
            "r" => Mode::Random,
            "c" => Mode::Cookie,
            "h" => Mode::Source,
            "p" => Mode::Preview,
            _ => return None,
        };
        let seed = fields.next()?.to_owned();
        let share = |text: &str| -> Option<Weight> {
            let bp = text.parse().ok().filter(|bp| *bp <= 10_000)?;
            Some(Weight::from_basis_points(bp))
        };
        let weight = share(fields.next()?)?;
        let stable_backend = fields.next()?.to_owned();
        let present = |text: &str| (text != "-").then(|| text.to_owned());
        let canary_backend = present(fields.next()?);
        let release = fields.next()?.parse().ok()?;
        let stable = RevisionId::new(fields.next()?);
        let canary = present(fields.next()?).map(|text| RevisionId::new(&text));
        let generation = fields.next()?.parse().ok()?;
        let mirror = match fields.next() {
            Some(text) => share(text)?,
            None => Weight::ZERO,
        };
        fields.next().is_none().then_some(Self {
            mode,
            seed,
            weight,
            stable_backend,
            canary_backend,
            release,
            stable,
            canary,
            generation,
            mirror,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let record = SplitRecord {
            mode: Mode::Cookie,
            seed: "0badcafe".into(),
            weight: Weight::from_basis_points(1),
            stable_backend: "r0123456789_a".into(),
            canary_backend: None,
            release: ReleaseKey::new("default", "shop"),
            stable: RevisionId::new("aaaaaaaaaa"),
            canary: None,
            generation: 7,
            mirror: Weight::ZERO,
        };
        let mirroring = SplitRecord {
            mirror: Weight::from_basis_points(10_000),
            ..record.clone()
        };
        assert_eq!(SplitRecord::parse(&mirroring.encode()), Some(mirroring));
        assert_eq!(SplitRecord::parse(&record.encode()), Some(record));
        for text in [
            "",
            "r",
            "x|s|1|a|b|n/s|r|r|1",
            "r|s|10001|a|b|n/s|r|r|1",
            "r|s|1|a|b|n/s|r|r|1|more",
            "r|s|1|a|b|n/s|r|r|1|10001",
            "r|s|1|a|b|n/s|r|r|1|5|5",
        ] {
            assert_eq!(SplitRecord::parse(text), None, "{text}");
        }
    }
}
