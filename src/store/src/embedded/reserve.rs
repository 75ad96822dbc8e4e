//! Room that only the store can take: blocks beyond the end of its file, kept on the disk before they are needed.
//!
//! When something else fills the disk, the file still grows into them: a deletion, an abort and a rollback are written. For
//! them alone: who asks for new work looks at [`Reserve::space`] first. The writer takes the reserve again after each
//! growth. What must never happen: a length of the file that is not redb's own.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};

use crate::space::{Space, words};

/// What is kept for ways back: more than thousands of them take.
const RESERVE: u64 = 8 << 20;
/// Below this new work is refused.
const LOW: u64 = 16 << 20;
/// On a small disk, parts of it instead.
const PARTS: (u64, u64) = (8, 16);
/// The kernel counts blocks of this size.
const BLOCK: u64 = 512;
/// So little is not worth asking the disk for.
const LITTLE: u64 = 64 << 10;

pub(super) struct Reserve {
    /// The store's file, opened for this alone.
    file: File,
    folder: String,
}

/// The disk and the file as they are now.
struct Room {
    free: u64,
    total: u64,
    length: u64,
    allocated: u64,
}

impl Reserve {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let reserve = Self {
            file: File::options().write(true).open(path)?,
            folder: path.parent().unwrap_or(path).display().to_string(),
        };
        reserve.keep();
        Ok(reserve)
    }

    fn room(&self) -> io::Result<Room> {
        let disk = fstatvfs(&self.file)?;
        let file = self.file.metadata()?;
        Ok(Room {
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            total: disk.f_blocks.saturating_mul(disk.f_frsize),
            length: file.len(),
            allocated: file.blocks().saturating_mul(BLOCK),
        })
    }

    /// Takes what is missing of the reserve, or as much of it as there is.
    pub(super) fn keep(&self) {
        let Ok(room) = self.room() else { return };
        // Holes of the file are taken too: redb grows it before it writes there.
        let end = room.length + room.wanted();
        let missing = end.saturating_sub(room.allocated);
        if missing < LITTLE || room.free < LITTLE {
            return;
        }
        let end = end - missing.saturating_sub(room.free);
        let kept = fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, end);
        if let Err(error) = kept {
            tracing::debug!(folder = self.folder, %error, "no reserve can be kept on this disk");
        }
    }

    /// The room there is now.
    pub(super) fn space(&self) -> Option<Space> {
        let room = self.room().ok()?;
        let reserve = room.allocated.saturating_sub(room.length);
        let low = (room.free < LOW.min(room.total / PARTS.1)).then(|| {
            format!(
                "the disk of {} is nearly full: {} are free, and {} more are kept for ways back (abort, undo, \
                 delete); new work is refused until there is room: free space on it, then ask again",
                self.folder,
                words(room.free),
                words(reserve),
            )
        });
        Some(Space {
            free: room.free,
            total: room.total,
            reserve: Some(reserve),
            low,
        })
    }
}

impl Room {
    fn wanted(&self) -> u64 {
        RESERVE.min(self.total / PARTS.0)
    }
}
