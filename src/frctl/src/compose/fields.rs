//! Compose's ways of writing a value, as ours.

use fm_api::quantity::Span;
use serde_json::{Map, Value, json};

/// A text, or a number or a truth value as one: `2.0` is 2 to Compose.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            Some(float.map_or_else(|| number.to_string(), |float| float.to_string()))
        }
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A command line, split as a shell would.
pub(super) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut begun) = (Vec::new(), String::new(), false);
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => word.extend(letters.next()),
            (c, Some(open)) if c == open => quote = None,
            (c @ ('"' | '\''), None) => (quote, begun) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (c, _) => word.push(c),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    words
}

/// `KEY: value`, or a list of `KEY=value`; what has no value, or is neither, is given to `left`.
pub(super) fn pairs(value: &Value, mut left: impl FnMut(&str)) -> Map<String, Value> {
    let mut all = Map::new();
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match text(value) {
                    Some(text) => drop(all.insert(key.clone(), json!(text))),
                    None => left(key),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                let line = text(item).unwrap_or_else(|| item.to_string());
                match line.split_once('=').filter(|_| text(item).is_some()) {
                    Some((key, value)) => drop(all.insert(key.to_owned(), json!(value))),
                    None => left(&line),
                }
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => left(&value.to_string()),
    }
    all
}

/// A truth value, also where it is written as text.
pub(super) fn truth(value: &Value) -> Option<bool> {
    match text(value)?.to_lowercase().as_str() {
        "true" | "yes" | "y" | "on" => Some(true),
        "false" | "no" | "n" | "off" => Some(false),
        _ => None,
    }
}

/// A whole number, also where it is written as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    text(value)?.parse().ok()
}

/// A duration as Go writes it, such as `1m30s` or `1.5s`, of whole milliseconds.
pub(super) fn duration(value: &Value) -> Option<Span> {
    let written = text(value)?;
    let written = written.trim();
    if written == "0" {
        return Some(Span::ZERO);
    }
    let (mut rest, mut nanoseconds) = (written, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let size = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            _ => return None,
        };
        nanoseconds += number.parse::<f64>().ok()? * size;
        rest = after;
    }
    let milliseconds = nanoseconds / 1e6;
    let whole = milliseconds.round();
    let fits = !written.is_empty() && (milliseconds - whole).abs() < 1e-6 && whole < 1e15;
    // Whole, not less than nothing, and far from the largest.
    fits.then_some(Span::millis(whole as u64))
}

/// `50M`, `1gb` or bytes, as `50Mi`, `1Gi` or bytes: Compose's units are powers of 1024.
pub(super) fn memory(value: &Value) -> Option<String> {
    let text = text(value)?.to_lowercase();
    let text = text.strip_suffix('b').unwrap_or(&text);
    let text = text.strip_suffix('i').unwrap_or(text);
    let (number, unit) = match text.chars().last()? {
        'k' => (text.get(..text.len() - 1)?, "Ki"),
        'm' => (text.get(..text.len() - 1)?, "Mi"),
        'g' => (text.get(..text.len() - 1)?, "Gi"),
        _ => (text, ""),
    };
    let whole: f64 = number.trim().parse().ok()?;
    if unit.is_empty() {
        // Only binary units are written: rounded up to whole Ki.
        return Some(format!("{}Ki", (whole / 1024.0).ceil()));
    }
    if whole.fract() == 0.0 {
        return Some(format!("{whole}{unit}"));
    }
    let smaller = match unit {
        "Gi" => "Mi",
        "Mi" => "Ki",
        _ => return None,
    };
    Some(format!("{}{smaller}", (whole * 1024.0).round()))
}

/// The container's port and its protocol, of `[[ip:]published:]target[/protocol]` or the long form.
pub(super) fn port(value: &Value) -> Option<(u16, String)> {
    if let Some(long) = value.as_object() {
        let protocol = long.get("protocol").and_then(text);
        let target = text(long.get("target")?)?.parse().ok()?;
        return Some((target, protocol.unwrap_or_else(|| "tcp".to_owned())));
    }
    let short = text(value)?;
    let (ports, protocol) = short.rsplit_once('/').unwrap_or((&short, "tcp"));
    let target = ports.rsplit(':').next()?;
    Some((target.parse().ok()?, protocol.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (given, wanted) in [
            ("1m30s", Some("1m30s")),
            ("1.5s", Some("1s500ms")),
            ("0.5h", Some("30m")),
            ("1500us", None),
            ("2000us", Some("2ms")),
            ("0", Some("0s")),
            ("90s", Some("1m30s")),
            ("5", None),
            ("", None),
            ("s", None),
            ("1x", None),
            ("-1s", None),
        ] {
            let read = duration(&json!(given)).map(|span| span.to_string());
            assert_eq!(read.as_deref(), wanted, "{given}");
        }
    }

    #[test]
    fn values_are_read_as_compose_means_them() {
        for (given, wanted) in [
            ("50M", "50Mi"),
            ("1gb", "1Gi"),
            ("1.5g", "1536Mi"),
            ("2048", "2Ki"),
        ] {
            assert_eq!(memory(&json!(given)).as_deref(), Some(wanted));
        }
        for (given, wanted) in [
            (json!("8080:80"), Some((80, "tcp"))),
            (json!("127.0.0.1:53:53/udp"), Some((53, "udp"))),
            (json!(3000), Some((3000, "tcp"))),
            (
                json!({ "target": 80, "published": 8080 }),
                Some((80, "tcp")),
            ),
            (json!("8000-8010"), None),
        ] {
            let read = port(&given);
            assert_eq!(read.as_ref().map(|(port, of)| (*port, of.as_str())), wanted);
        }
        assert_eq!(
            words("sh -c 'echo \"a b\"' x\\ y \"\""),
            ["sh", "-c", "echo \"a b\"", "x y", ""]
        );
    }
}
