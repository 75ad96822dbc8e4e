//! The file: every series at every resolution. Its rows are bounded: beyond the most, the oldest of each go early.
//!
//! Nothing here is needed to serve or to decide. A file that cannot be read is put aside, and a new one begun.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
};

use crate::codec::{decode, encode};
use crate::ladder::{LADDER, bucket};
use crate::model::{Sample, Series};
use crate::recent::Second;

/// Resolution, series and second -> sample.
const ROWS: TableDefinition<'_, (u8, u32, i64), &[u8]> = TableDefinition::new("rows");
/// Release, revision and endpoint (empty: all) -> the series' number.
const SERIES: TableDefinition<'_, (&str, &str, &str), u32> = TableDefinition::new("series");

/// What redb may keep in memory.
const CACHE: usize = 1 << 20;
/// Series at most; a new one beyond is not kept.
const MOST_SERIES: usize = 5000;
/// Rows at most, some 300 MB.
const MOST_ROWS: u64 = 3_000_000;

/// The open file.
pub(crate) struct File {
    db: Database,
    numbers: HashMap<Series, u32>,
    next: u32,
    bounds: Bounds,
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) series: usize,
    pub(crate) rows: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            series: MOST_SERIES,
            rows: MOST_ROWS,
        }
    }
}

/// What a write came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Samples that were not kept, as there are too many series.
    pub(crate) refused: u64,
}

impl Bounds {
    /// Tasks leave a fifth of the places to revisions, so that many tasks do not keep a new revision out.
    fn series_for(&self, series: &Series) -> usize {
        match &series.endpoint {
            Some(_) => self.series * 4 / 5,
            None => self.series,
        }
    }
}

impl File {
    /// Opens the file, or begins it.
    pub(crate) fn open(path: &Path, bounds: Bounds) -> Result<Self, redb::Error> {
        let opened = Self::open_as_it_is(path, bounds);
        match opened {
            Err(error) if is_broken(&error) => {
                let aside = PathBuf::from(format!("{}.broken", path.display()));
                tracing::error!(
                    "{} cannot be read ({error}): it is put aside as {}, and signals begin anew",
                    path.display(),
                    aside.display()
                );
                std::fs::rename(path, &aside)?;
                Self::open_as_it_is(path, bounds)
            }
            // In use, or no permission, is no damage.
            _ => opened,
        }
    }

    fn open_as_it_is(path: &Path, bounds: Bounds) -> Result<Self, redb::Error> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let db = Database::builder().set_cache_size(CACHE).create(path)?;
        let write = db.begin_write()?;
        let mut numbers = HashMap::new();
        {
            write.open_table(ROWS)?;
            let series = write.open_table(SERIES)?;
            for entry in series.iter()? {
                let (key, number) = entry?;
                let (release, revision, endpoint) = key.value();
                let series = Series {
                    release: release.to_owned(),
                    revision: revision.to_owned(),
                    endpoint: (!endpoint.is_empty()).then(|| endpoint.to_owned()),
                };
                numbers.insert(series, number.value());
            }
        }
        write.commit()?;
        let next = numbers.values().max().map_or(0, |last| last + 1);
        Ok(Self {
            db,
            numbers,
            next,
            bounds,
        })
    }

    /// Takes in seconds, at every resolution; all of them or none.
    pub(crate) fn write(&mut self, seconds: &[Second]) -> Result<Written, redb::Error> {
        let mut written = Written::default();
        let mut merged: BTreeMap<(u8, u32, i64), Sample> = BTreeMap::new();
        let mut begun: Vec<Series> = Vec::new();
        let before = self.next;
        for (second, samples) in seconds {
            for (series, sample) in samples {
                let number = match self.numbers.get(series) {
                    Some(number) => *number,
                    None if self.numbers.len() >= self.bounds.series_for(series) => {
                        written.refused += 1;
                        continue;
                    }
                    None => {
                        begun.push(series.clone());
                        self.numbers.insert(series.clone(), self.next);
                        self.next += 1;
                        self.next - 1
                    }
                };
                for (rung, resolution) in (0u8..).zip(LADDER) {
                    let at = bucket(*second, resolution.seconds);
                    merged.entry((rung, number, at)).or_default().merge(sample);
                }
            }
        }
        let stored = self.store(&merged, &begun);
        if stored.is_err() {
            // They are not in the file: the next write begins them again.
            for series in &begun {
                self.numbers.remove(series);
            }
            self.next = before;
        }
        stored.map(|()| written)
    }

    fn store(
        &self,
        merged: &BTreeMap<(u8, u32, i64), Sample>,
        begun: &[Series],
    ) -> Result<(), redb::Error> {
        let mut write = self.db.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        {
            let mut series = write.open_table(SERIES)?;
            for new in begun {
                if let Some(number) = self.numbers.get(new) {
                    series.insert(key(new), number)?;
                }
            }
            let mut rows = write.open_table(ROWS)?;
            for (place, sample) in merged {
                let before = rows.get(place)?.and_then(|row| decode(row.value()));
                let bytes = match before {
                    Some(mut whole) => {
                        whole.merge(sample);
                        encode(&whole)
                    }
                    None => encode(sample),
                };
                rows.insert(place, bytes.as_slice())?;
            }
        }
        write.commit()?;
        Ok(())
    }

    /// Forgets what is old, and series of which nothing is left.
    pub(crate) fn prune(&mut self, now: i64) -> Result<(), redb::Error> {
        // Which part of its time each series keeps: where there is too much, tasks give way before revisions do.
        let (mut of_tasks, mut of_revisions) = (1.0, 1.0);
        let write = self.db.begin_write()?;
        let mut gone = Vec::new();
        {
            let mut rows = write.open_table(ROWS)?;
            loop {
                for (series, number) in &self.numbers {
                    let share = match &series.endpoint {
                        Some(_) => of_tasks,
                        None => of_revisions,
                    };
                    for (rung, resolution) in (0u8..).zip(LADDER) {
                        let keep = (resolution.keep as f64 * share) as i64;
                        let old = (rung, *number, i64::MIN)..(rung, *number, now - keep);
                        rows.retain_in(old, |_, _| false)?;
                    }
                }
                if rows.len()? <= self.bounds.rows || of_revisions < 0.001 {
                    break;
                }
                if of_tasks > 0.002 {
                    of_tasks *= 0.6;
                } else {
                    of_revisions *= 0.8;
                }
            }
            let last = (LADDER.len() - 1) as u8;
            let mut series = write.open_table(SERIES)?;
            for (known, number) in &self.numbers {
                let all = (last, *number, i64::MIN)..=(last, *number, i64::MAX);
                if rows.range(all)?.next().is_none() {
                    series.remove(key(known))?;
                    gone.push(known.clone());
                }
            }
        }
        write.commit()?;
        for series in gone {
            self.numbers.remove(&series);
        }
        Ok(())
    }

    /// Reads one rung of the series that are asked for, each row to `take`, the series one after another.
    pub(crate) fn read(
        &self,
        rung: usize,
        (since, until): (i64, i64),
        wanted: impl Fn(&Series) -> bool,
        mut take: impl FnMut(&Series, i64, Sample) -> bool,
    ) -> Result<(), redb::Error> {
        let read = self.db.begin_read()?;
        let rows = read.open_table(ROWS)?;
        let rung = rung as u8;
        for (series, number) in self.numbers.iter().filter(|(series, _)| wanted(series)) {
            for row in rows.range((rung, *number, since)..(rung, *number, until))? {
                let (place, bytes) = row?;
                if let Some(sample) = decode(bytes.value())
                    && !take(series, place.value().2, sample)
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Series and rows that are kept.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, u64) {
        let read = self.db.begin_read().unwrap();
        (
            self.numbers.len(),
            read.open_table(ROWS).unwrap().len().unwrap(),
        )
    }
}

fn is_broken(error: &redb::Error) -> bool {
    if let redb::Error::Io(io) = error {
        return io.kind() == std::io::ErrorKind::InvalidData;
    }
    matches!(
        error,
        redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::RepairAborted
            | redb::Error::TableTypeMismatch { .. }
    )
}

fn key(series: &Series) -> (&str, &str, &str) {
    (
        &series.release,
        &series.revision,
        series.endpoint.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
