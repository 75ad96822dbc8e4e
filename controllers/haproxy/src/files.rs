//! The files on disk: the only state that outlives HAProxy and the agent alike.
//!
//! What must never happen: a half-written file where HAProxy would read it. Each is written beside and renamed.

use std::io;
use std::path::{Path, PathBuf};

use crate::maps::Map;
use crate::plan::Files;

/// The configuration's file.
#[must_use]
pub(crate) fn config(dir: &Path) -> PathBuf {
    dir.join("haproxy.cfg")
}

/// Makes the folders, open to nobody else.
///
/// # Errors
/// When they cannot be made.
pub(crate) fn make_folders(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for folder in [dir.to_owned(), dir.join("maps"), dir.join("certs")] {
        make_folder(&folder)?;
    }
    // Workers that are shut in there find the sockets in it, and can write nothing.
    let jail = dir.join(crate::config::JAIL);
    make_folder(&jail)?;
    std::fs::set_permissions(&jail, std::fs::Permissions::from_mode(0o711))
}

/// Makes one folder, open to nobody else.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// What is on disk now; `None` when there is no configuration.
#[must_use]
pub(crate) fn read(dir: &Path) -> Option<Files> {
    let config = std::fs::read_to_string(config(dir)).ok()?;
    let maps = Map::ALL
        .into_iter()
        .map(|map| {
            let text = std::fs::read_to_string(dir.join("maps").join(map.file())).ok()?;
            Some((map, text))
        })
        .collect::<Option<_>>()?;
    Some(Files { config, maps })
}

/// Writes the maps.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn write_maps(dir: &Path, files: &Files, before: Option<&Files>) -> io::Result<()> {
    for (map, text) in &files.maps {
        if before.and_then(|old| old.maps.get(map)) != Some(text) {
            replace(&dir.join("maps").join(map.file()), text)?;
        }
    }
    Ok(())
}

/// Replaces one file in a single step.
///
/// # Errors
/// When the disk refuses.
pub(crate) fn replace(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content.as_ref())?;
    std::fs::rename(&beside, path)
}
