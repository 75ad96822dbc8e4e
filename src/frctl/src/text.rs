//! Text for people: colours, widths, wrapping, times. Pure. Text from outside must never reach a terminal with control
//! characters in it.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use unicode_width::UnicodeWidthChar;

/// How something is shown: when, how wide, with which colours and in which time zone.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Now.
    pub(crate) now: Timestamp,
    /// Columns of the terminal; `None` where there is none.
    pub(crate) width: Option<usize>,
    /// Colours.
    pub(crate) paint: Paint,
    /// The reader's time zone.
    pub(crate) zone: TimeZone,
}

impl Look {
    /// The time of day, with the date if it is another day than today.
    pub(crate) fn clock(&self, at: Timestamp) -> String {
        let (then, now) = (
            at.to_zoned(self.zone.clone()),
            self.now.to_zoned(self.zone.clone()),
        );
        let format = if then.date() == now.date() {
            "%H:%M:%S"
        } else {
            "%Y-%m-%d %H:%M:%S"
        };
        then.strftime(format).to_string()
    }
    /// How long ago.
    pub(crate) fn age(&self, at: Timestamp) -> String {
        short(self.now.duration_since(at))
    }
    /// The columns to fill, between 40 and 110.
    pub(crate) fn columns(&self) -> usize {
        self.width.unwrap_or(100).clamp(40, 110)
    }
}

/// At most two units: `5s`, `3m12s`, `2h5m`, `3d4h`. Less than nothing is nothing.
pub(crate) fn short(span: SignedDuration) -> String {
    let total = span.as_secs().max(0);
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, size)| total >= *size) else {
        return "0s".to_owned();
    };
    let mut text = String::new();
    let mut rest = total;
    for (unit, size) in units.iter().skip(first).take(2) {
        if rest / size > 0 {
            text.push_str(&format!("{}{unit}", rest / size));
        }
        rest %= size;
    }
    text
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
    /// Loud.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
    /// Quiet.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
    /// Bad.
    pub(crate) fn red(self, text: &str) -> String {
        self.with("31", text)
    }
    /// Good.
    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }
    /// Waiting.
    pub(crate) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }
    /// Under way.
    pub(crate) fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }
}

/// Without control characters: what comes from a container must not drive the reader's terminal. Newlines become spaces.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' => out.push(' '),
            c if c.is_control() => out.push('\u{fffd}'),
            // Marks that turn the direction of writing can make one text look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Whether a terminal would do something at it other than show it.
fn drives(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// [`clean`] on every string inside, the names of fields as well.
pub(crate) fn clean_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => {
            if text.chars().any(drives) {
                *text = clean(text);
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(clean_json),
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(clean_json);
            if fields.keys().any(|name| name.chars().any(drives)) {
                let old = std::mem::take(fields);
                fields.extend(old.into_iter().map(|(name, value)| (clean(&name), value)));
            }
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// JSON in which nothing drives a terminal: what JSON itself lets stand is escaped, which means the same.
pub(crate) fn escaped(json: String) -> String {
    if !json.chars().any(|c| drives(c) && c != '\n') {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if drives(c) && c != '\n' {
            // All of them are below U+10000.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// The last look at what goes to a terminal: colours and line ends pass, and nothing else that drives it.
pub(crate) fn guarded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\x1b'
            && let Some((codes, _)) = rest
                .as_str()
                .strip_prefix('[')
                .and_then(|rest| rest.split_once('m'))
            && codes
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b';')
        {
            out.push_str(&format!("\x1b[{codes}m"));
            rest = rest
                .as_str()
                .get(codes.len() + 2..)
                .unwrap_or_default()
                .chars();
        } else if drives(c) && c != '\n' && c != '\t' {
            out.push('\u{fffd}');
        } else {
            out.push(c);
        }
    }
    out
}

/// Columns that a text takes; colours take none.
pub(crate) fn width(text: &str) -> usize {
    let mut count = 0;
    let mut colour = false;
    for c in text.chars() {
        match (colour, c) {
            (false, '\x1b') => colour = true,
            (true, 'm') => colour = false,
            (true, _) => {}
            (false, c) => count += c.width().unwrap_or_default(),
        }
    }
    count
}

/// Cut to `columns`, with `…` where something is missing; colours stay whole.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let (mut count, mut colour, mut coloured) = (0, false, false);
    for c in text.chars() {
        if c == '\x1b' {
            colour = true;
            coloured = true;
        }
        if colour {
            out.push(c);
            colour = c != 'm';
            continue;
        }
        count += c.width().unwrap_or_default();
        if count >= columns {
            break;
        }
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    if coloured {
        out.push_str("\x1b[0m");
    }
    out
}

/// Filled up with spaces to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Broken into lines of at most `columns`, at spaces where there are any.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(10);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        if !line.is_empty() && width(&line) + 1 + width(&word) > columns {
            lines.push(std::mem::take(&mut line));
        }
        while width(&word) > columns {
            let mut taken = 0;
            let fits = |(_, c): &(usize, char)| {
                taken += c.width().unwrap_or_default();
                taken > columns
            };
            let end = word
                .char_indices()
                .find(fits)
                .map_or(word.len(), |(end, _)| end);
            let rest = word.split_off(end);
            lines.push(std::mem::replace(&mut word, rest));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// A bar of `columns`, filled to `fraction`.
pub(crate) fn bar(fraction: f64, columns: usize) -> String {
    let fraction = if fraction.is_finite() {
        fraction.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let eighths = (fraction * columns as f64 * 8.0).round() as usize;
    let mut out = "█".repeat(eighths / 8);
    let part = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    if let Some(index) = (eighths % 8).checked_sub(1) {
        out.extend(part.get(index));
    }
    let missing = columns.saturating_sub(width(&out));
    out.push_str(&"░".repeat(missing));
    out
}

/// An image without its registry and with a short digest.
pub(crate) fn image(reference: &str) -> String {
    let tail = reference.rsplit('/').next().unwrap_or(reference);
    match tail.split_once("sha256:") {
        Some((head, digest)) => {
            let short: String = digest.chars().take(12).collect();
            format!("{head}sha256:{short}")
        }
        None => tail.to_owned(),
    }
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        for (secs, text) in [
            (-5, "0s"),
            (0, "0s"),
            (5, "5s"),
            (192, "3m12s"),
            (180, "3m"),
            (7505, "2h5m"),
            (273_600, "3d4h"),
            (86_405, "1d"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(secs)), text);
        }
    }

    #[test]
    fn cutting_counts_no_colours_and_leaves_none_open() {
        let red = Paint(true).red("abcdef");
        assert_eq!(width(&red), 6);
        assert_eq!(cut(&red, 4), "\x1b[31mabc…\x1b[0m");
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 0), "");
    }

    #[test]
    fn text_from_outside_cannot_drive_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc\u{202e}d"), "a\u{fffd}[2Jb c\u{fffd}d");
        let mut value = serde_json::json!({"a": ["x\u{7}"], "b\u{9b}2J": {"c\x1bd": 1}});
        clean_json(&mut value);
        assert_eq!(
            value,
            serde_json::json!({"a": ["x\u{fffd}"], "b\u{fffd}2J": {"c\u{fffd}d": 1}})
        );
    }

    #[test]
    fn json_means_the_same_when_nothing_in_it_drives_the_terminal() {
        let value = serde_json::json!({"a\u{9b}2J": "\u{7f}\u{202e}\u{85}\n é漢"});
        let text = escaped(serde_json::to_string_pretty(&value).unwrap());
        assert!(text.chars().all(|c| c == '\n' || !drives(c)), "{text:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }

    #[test]
    fn colours_pass_to_the_terminal_and_nothing_else_that_drives_it() {
        let ours = format!("{}\tb\n", Paint(true).red("a"));
        assert_eq!(guarded(&ours), ours);
        for bad in [
            "\x1b[2J",
            "\x1b]0;t\x07",
            "\u{9b}31m",
            "\x1b[?25lm",
            "\x1b",
            "\r",
            "\x08",
        ] {
            let text = guarded(&format!("a{bad}b"));
            assert!(text.starts_with("a\u{fffd}"), "{text:?}");
            assert!(!text.contains(drives), "{text:?}");
        }
    }

    #[test]
    fn wide_letters_take_two_columns_and_marks_none() {
        assert_eq!((width("漢字"), width("e\u{301}"), width("é")), (4, 1, 1));
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(pad("漢", 4), "漢  ");
        assert_eq!(wrap("漢字漢字漢字漢字", 10), ["漢字漢字漢", "字漢字"]);
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_too() {
        assert_eq!(wrap("aaaa bbbb cccc", 10), ["aaaa bbbb", "cccc"]);
        assert_eq!(wrap("aaaaaaaaaaaaa b", 10), ["aaaaaaaaaa", "aaa b"]);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn bars_are_as_long_as_told() {
        for fraction in [-1.0, 0.0, 0.13, 0.5, 0.99, 1.0, 7.0, f64::NAN] {
            assert_eq!(width(&bar(fraction, 20)), 20);
        }
        assert_eq!(bar(0.5, 4), "██░░");
    }

    #[test]
    fn images_are_shown_short() {
        assert_eq!(image("registry:5000/team/shop:1.4"), "shop:1.4");
        assert_eq!(
            image("shop@sha256:0123456789abcdef"),
            "shop@sha256:0123456789ab"
        );
    }
}
