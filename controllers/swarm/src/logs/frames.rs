//! Docker's log frames, as they come: a byte for the output, three of nothing, the length, the bytes. Pure.
//!
//! With `details` and `timestamps` each frame is `TIME key=value,key=value TEXT`. What must never happen: memory that
//! grows with what a task writes; a control character that reaches a reader's terminal.

use fm_api::log::Stream;
use jiff::Timestamp;

/// A line is no longer than this; the rest of it is left out.
const LONGEST: usize = 16 * 1024;
/// What stands before the text in a frame, at the most.
const HEAD: usize = 8 * 1024;

/// A line that a task wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// When Docker took it.
    pub at: Timestamp,
    /// The task's id.
    pub task: String,
    /// The id of the task's node.
    pub node: String,
    /// Which output.
    pub stream: Stream,
    /// The line, harmless.
    pub text: String,
}

/// Puts frames together from pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    waiting: Vec<u8>,
    /// Bytes of a frame that was too long, still to come.
    skip: usize,
}

impl Frames {
    /// The lines that are complete with these bytes.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Vec<Written> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = self.wanted().saturating_sub(self.waiting.len());
            let taken = wanted.min(bytes.len());
            self.waiting
                .extend_from_slice(bytes.get(..taken).unwrap_or_default());
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.waiting.len() < self.wanted() || self.waiting.len() < 8 {
                continue;
            }
            lines.extend(read(&self.waiting));
            self.skip = self.length().saturating_sub(LONGEST + HEAD);
            self.waiting.clear();
        }
        lines
    }

    /// How long the frame says that it is.
    fn length(&self) -> usize {
        match self.waiting.first_chunk::<8>() {
            Some([_, _, _, _, a, b, c, d]) => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
            None => 0,
        }
    }

    /// How many bytes must be there before something can be said.
    fn wanted(&self) -> usize {
        8 + self.length().min(LONGEST + HEAD)
    }
}

/// One frame; `None` for what is not written as agreed.
fn read(frame: &[u8]) -> Option<Written> {
    let (head, body) = frame.split_first_chunk::<8>()?;
    let stream = if head[0] == 2 {
        Stream::Stderr
    } else {
        Stream::Stdout
    };
    let body = String::from_utf8_lossy(body);
    let (at, rest) = body.split_once(' ')?;
    let (details, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let detail = |name: &str| {
        let found = details.split(',').filter_map(|pair| pair.split_once('='));
        let mut found = found.filter(|(key, _)| *key == name);
        found.next().map(|(_, value)| value.to_owned())
    };
    Some(Written {
        at: at.parse().ok()?,
        task: detail("com.docker.swarm.task.id")?,
        node: detail("com.docker.swarm.node.id").unwrap_or_default(),
        stream,
        text: harmless(text.trim_end_matches(['\n', '\r']), LONGEST),
    })
}

/// Without colours and other commands to a terminal, and no longer than `most` characters.
pub(crate) fn harmless(text: &str, most: usize) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut count = 0;
    while let Some(c) = chars.next() {
        if count == most {
            out.push('…');
            break;
        }
        count += 1;
        match c {
            // `ESC [ … letter`: a colour, or a move of the cursor.
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                for next in chars.by_ref() {
                    if ('\u{40}'..='\u{7e}').contains(&next) {
                        break;
                    }
                }
            }
            '\t' => out.push(' '),
            c if c.is_control() => out.push('\u{fffd}'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "2026-11-23T07:09:04.864581961Z com.docker.swarm.node.id=n1,com.docker.swarm.service.id=s1,com.docker.swarm.task.id=t1 ";

    fn frame(output: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![output, 0, 0, 0];
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let bytes = [
            frame(1, &format!("{HEADER}begins\n")),
            frame(2, &format!("{HEADER}cannot start: a b\r\n")),
            frame(1, &format!("{HEADER}\n")),
        ]
        .concat();
        let whole = Frames::default().push(&bytes);
        let texts: Vec<&str> = whole.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["begins", "cannot start: a b", ""]);
        assert_eq!(whole[1].stream, Stream::Stderr);
        assert_eq!((&*whole[1].task, &*whole[1].node), ("t1", "n1"));
        for size in 1..40 {
            let mut frames = Frames::default();
            let pieces: Vec<Written> = bytes.chunks(size).flat_map(|p| frames.push(p)).collect();
            assert_eq!(pieces, whole, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_of_any_length_takes_little_memory_and_the_next_one_is_read() {
        let long = format!("{HEADER}{}\n", "x".repeat(1 << 20));
        let bytes = [frame(1, &long), frame(1, &format!("{HEADER}after\n"))].concat();
        let mut frames = Frames::default();
        let mut lines = Vec::new();
        for piece in bytes.chunks(1000) {
            lines.extend(frames.push(piece));
            assert!(frames.waiting.len() <= LONGEST + HEAD + 8);
        }
        assert_eq!(lines.len(), 2);
        assert!(lines[0].text.ends_with('…') && lines[0].text.len() < LONGEST + 8);
        assert_eq!(lines[1].text, "after");
    }

    #[test]
    fn nothing_in_a_line_drives_a_terminal() {
        assert_eq!(
            harmless("\u{1b}[31;1mred\u{1b}[0m\u{7}\tx\u{202e}y", 99),
            "red\u{fffd} x\u{fffd}y"
        );
        assert_eq!(harmless("\u{1b}]0;title\u{1b}[2J", 99), "\u{fffd}]0;title");
        assert_eq!(harmless("\u{1b}[", 99), "");
        assert_eq!(harmless("abcdef", 3), "abc…");
    }

    #[test]
    fn nonsense_is_no_line() {
        assert!(
            Frames::default()
                .push(&frame(1, "no time at all"))
                .is_empty()
        );
        assert!(Frames::default().push(&frame(1, "")).is_empty());
        assert!(Frames::default().push(&[0xff; 64]).is_empty());
    }
}
