//! Cuts what is read into lines. The buffer is as long as the longest line that is looked at; a longer one is passed
//! over and counted.

use std::io::{self, ErrorKind, Read};

use super::stats::Stats;

/// Read at once, and the longest line: four times the longest request that HAProxy takes.
const BUFFER: usize = 256 * 1024;

/// Reads to the end. `progress` hears how many bytes came, some thousand times a gigabyte; its error ends the reading.
///
/// # Errors
/// When reading fails, or `progress` says so.
pub fn read(
    mut from: impl Read,
    stats: &mut Stats,
    mut progress: impl FnMut(usize, &Stats) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut held = 0;
    let mut overlong = false;
    loop {
        let read = match from.read(buffer.get_mut(held..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let filled = held + read;
        let mut start = 0;
        let new = buffer.get(held..filled).unwrap_or_default();
        for end in memchr::memchr_iter(b'\n', new) {
            if overlong {
                stats.overlong();
                overlong = false;
            } else {
                stats.line(buffer.get(start..held + end).unwrap_or_default());
            }
            start = held + end + 1;
        }
        overlong |= start == 0 && filled == BUFFER;
        if overlong {
            held = 0;
        } else {
            buffer.copy_within(start..filled, 0);
            held = filled - start;
        }
        progress(read, stats)?;
    }
    if overlong {
        stats.overlong();
    } else if held > 0 {
        stats.line(buffer.get(..held).unwrap_or_default());
    }
    Ok(())
}
