//! Copies of the store's file: made while it is used, kept beside it, checked, and put back.
//!
//! A copy is a whole store of its own, written anew from one moment's content and named once it is durable. What must never
//! happen: a half-written file under a copy's name; a damaged file that is thrown away; a restore under a running frd.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use redb::Database;

use super::damage::caught;
use super::{CACHE, FILE, broken, open_file, tables};
use crate::StoreError;

/// The folder of the copies, beside the store.
const FOLDER: &str = "copies";
/// So many are kept.
pub const KEPT: usize = 7;

/// A copy, or the store itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub at: SystemTime,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Keys that were read.
    pub entries: usize,
    /// The revision it stands at.
    pub revision: u64,
}

/// The copies of the store in this directory, the newest last.
///
/// # Errors
/// When the folder cannot be read.
pub fn copies(directory: &Path) -> io::Result<Vec<Copy>> {
    let found = match fs::read_dir(directory.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let mut copies = Vec::new();
    for entry in found {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "redb") {
            let meta = entry.metadata()?;
            copies.push(Copy {
                path,
                bytes: meta.len(),
                at: meta.modified()?,
            });
        }
    }
    // Their names are times.
    copies.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(copies)
}

/// Reads everything in this file, with its checksums. It must be used by nobody.
///
/// # Errors
/// [`StoreError::Locked`] when it is in use; else what is wrong with it.
pub fn check(path: &Path) -> Result<Checked, StoreError> {
    if !path.exists() {
        let words = format!("{}: there is no such file", path.display());
        return Err(StoreError::Refused(words));
    }
    let database = open_file(path, true)?;
    let read = caught(|| tables::everything(&database));
    let closed = caught::<(), redb::Error>(|| {
        drop(database);
        Ok(())
    });
    let (entries, revision) = read.map_err(|error| broken(path, &error))?;
    closed.map_err(|error| broken(path, &error))?;
    Ok(Checked { entries, revision })
}

/// Writes the store in this directory to a file, while nobody uses it.
///
/// # Errors
/// [`StoreError::Locked`] when it is in use; else what is wrong.
pub fn back_up(directory: &Path, to: &Path) -> Result<Copy, StoreError> {
    let path = directory.join(FILE);
    if !path.exists() {
        let words = format!("{}: there is no store", directory.display());
        return Err(StoreError::Refused(words));
    }
    let database = open_file(&path, true)?;
    write(&database, &path, to)
}

/// Puts a copy back in place of the store in this directory. What was there is kept beside it; returns where, if anything
/// was.
///
/// # Errors
/// [`StoreError::Locked`] when the store is in use; else what is wrong with the copy or the disk.
pub fn restore(directory: &Path, copy: &Path) -> Result<(Checked, Option<PathBuf>), StoreError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| StoreError::Unavailable(format!("{path}: {error}"))
    };
    let place = directory.join(FILE);
    // A damaged one may not open; one that is in use says so.
    if place.exists()
        && let Err(error @ StoreError::Locked(_)) = open_file(&place, false)
    {
        return Err(error);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed(directory))?;
    // The copy itself is only read: a check may write.
    let new = directory.join("store.redb.restored");
    let _ = fs::remove_file(&new);
    let mut target = create(&new).map_err(failed(&new))?;
    let mut source = File::open(copy).map_err(failed(copy))?;
    io::copy(&mut source, &mut target)
        .and_then(|_| target.sync_all())
        .map_err(failed(&new))?;
    drop(target);
    let checked = check(&new).map_err(|error| {
        let _ = fs::remove_file(&new);
        StoreError::Refused(format!(
            "{} is not put back: {error}; take another copy",
            copy.display()
        ))
    })?;
    let aside = if place.exists() {
        let aside = free_name(directory);
        fs::rename(&place, &aside).map_err(failed(&place))?;
        Some(aside)
    } else {
        None
    };
    fs::rename(&new, &place).map_err(failed(&new))?;
    sync(directory).map_err(failed(directory))?;
    Ok((checked, aside))
}

fn free_name(directory: &Path) -> PathBuf {
    let name = |number: usize| directory.join(format!("{FILE}.replaced-{number}"));
    (1..)
        .map(name)
        .find(|path| !path.exists())
        .unwrap_or_else(|| name(0))
}

/// Writes a copy of this name beside the store, and removes the oldest beyond [`KEPT`].
pub(super) fn keep(database: &Database, store: &Path, name: &str) -> Result<Copy, StoreError> {
    let directory = store.parent().unwrap_or(store);
    let folder = directory.join(FOLDER);
    let failed =
        |error: io::Error| StoreError::Unavailable(format!("{}: {error}", folder.display()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(failed)?;
    let copy = write(database, store, &folder.join(format!("store-{name}.redb")))?;
    let all = copies(directory).map_err(failed)?;
    for old in all.iter().take(all.len().saturating_sub(KEPT)) {
        fs::remove_file(&old.path).map_err(failed)?;
    }
    Ok(copy)
}

/// Writes everything that is stored now to a new file, which has its name once it is durable.
fn write(database: &Database, store: &Path, to: &Path) -> Result<Copy, StoreError> {
    let failed = |error: io::Error| StoreError::Unavailable(format!("{}: {error}", to.display()));
    if to.exists() {
        let words = format!("{} exists, and is not written over", to.display());
        return Err(StoreError::Refused(words));
    }
    let mut half = to.as_os_str().to_owned();
    half.push(".half");
    let half = PathBuf::from(half);
    let _ = fs::remove_file(&half);
    create(&half).map_err(failed)?;
    let written = caught(|| {
        let copy = Database::builder().set_cache_size(CACHE).create(&half)?;
        tables::copy(database, &copy)?;
        drop(copy);
        Ok(())
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&half);
        return Err(broken(store, &error));
    }
    let named = File::open(&half)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&half, to))
        .and_then(|()| sync(to.parent().unwrap_or(to)));
    named.map_err(failed)?;
    let meta = fs::metadata(to).map_err(failed)?;
    Ok(Copy {
        path: to.to_owned(),
        bytes: meta.len(),
        at: meta.modified().map_err(failed)?,
    })
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// A name must be as durable as what it names.
fn sync(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

/// What a person can do about a damaged file, with the copy to use.
pub(super) fn way_out(store: &Path) -> String {
    let directory = store.parent().unwrap_or(store);
    let dir = directory.display();
    match copies(directory).unwrap_or_default().last() {
        Some(copy) => format!(
            "the newest copy is {}; stop frd, then put it back with `frd store restore {} --data-dir {dir}` (`frd store \
             check FILE` checks a copy, and what is there now is kept); HAProxy and all tasks go on meanwhile",
            copy.path.display(),
            copy.path.display(),
        ),
        None => format!(
            "there is no copy in {dir}/{FOLDER}; put a backup back with `frd store restore FILE --data-dir {dir}`, or move \
             {} away and apply the manifests again; HAProxy and all tasks go on meanwhile",
            store.display()
        ),
    }
}
