//! What a job wrote: Docker's frames of both outputs. Pure.

/// So much of the end of the log is kept, in bytes.
const KEPT: usize = 4096;
/// A line that holds a number is no longer than this.
const LONGEST_LINE: usize = 64 * 1024;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// The last line of the standard output that is not empty; the error says that it is too long.
    pub(crate) line: Option<String>,
    /// The end of both outputs.
    pub(crate) end: String,
}

/// Reads Docker's frames: a byte for the output, three of nothing, the length, the bytes.
pub(crate) fn read(mut bytes: &[u8]) -> Log {
    let (mut all, mut standard) = (Vec::new(), Vec::new());
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let [output, _, _, _, a, b, c, d] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        // A frame that was cut short is what there is of it.
        let (text, rest) = rest.split_at(length.min(rest.len()));
        all.extend_from_slice(text);
        if output == 1 {
            standard.extend_from_slice(text);
        }
        bytes = rest;
    }
    let lines = standard.split(|byte| *byte == b'\n');
    let last = lines.map(<[u8]>::trim_ascii).rfind(|line| !line.is_empty());
    let line = last.map(|line| {
        // Cut: then it is no JSON, and says so.
        let line = line.get(..LONGEST_LINE).unwrap_or(line);
        String::from_utf8_lossy(line).into_owned()
    });
    let from = all.len().saturating_sub(KEPT);
    let end = String::from_utf8_lossy(all.get(from..).unwrap_or_default());
    Log {
        line,
        end: end.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(output: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![output, 0, 0, 0];
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn the_last_line_of_the_standard_output_is_found_among_both() {
        let bytes = [
            frame(1, "begins\n"),
            frame(1, "{\"rate\":"),
            frame(2, "warning\n"),
            frame(1, "0.5}\r\n \n"),
            frame(2, "ends\n"),
        ]
        .concat();
        let log = read(&bytes);
        assert_eq!(log.line.as_deref(), Some("{\"rate\":0.5}"));
        assert!(log.end.starts_with("begins\n") && log.end.ends_with("ends"));
    }

    #[test]
    fn nothing_much_and_nonsense_are_read_too() {
        assert_eq!(read(b""), Log::default());
        assert_eq!(
            read(b"\x01\0\0\0\xff\xff\xff\xffab").line.as_deref(),
            Some("ab")
        );
        assert_eq!(read(b"\x01\0\0"), Log::default());
        let log = read(&frame(1, &"x".repeat(1 << 20)));
        assert_eq!(log.line.unwrap().len(), LONGEST_LINE);
        assert_eq!(log.end.len(), KEPT);
        assert!(read(&frame(1, "\u{1f41f}".repeat(5000).as_str())).end.len() <= 3 * KEPT);
    }
}
