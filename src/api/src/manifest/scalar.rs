//! What a plain scalar of YAML is: the core schema of YAML 1.2, and nothing more.
//!
//! `no`, `on` and `yes` are text, and so are `.inf` and `.nan`, which no field takes.

use serde_json::{Number, Value};

/// The value of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0o") {
        return based(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return based(digits, 16);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let text = text.strip_prefix('+').unwrap_or(text);
        let whole = text
            .parse::<u64>()
            .map(Number::from)
            .or_else(|_| text.parse::<i64>().map(Number::from));
        return whole.ok().or_else(|| Number::from_f64(text.parse().ok()?));
    }
    // Rust reads more as a number than YAML does: `inf`, `nan`, `infinity`.
    let float = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().any(|b| b.is_ascii_digit())
        && unsigned
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !float {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // Written out, `4.0` is the whole number 4: JSON knows one kind of number.
    Number::from_f64(value)
}

fn based(digits: &str, base: u32) -> Option<Number> {
    let all = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
    u64::from_str_radix(digits, base)
        .ok()
        .filter(|_| all)
        .map(Number::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_are_what_yaml_says() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("null", json!(null)),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("yes", json!("yes")),
            ("no", json!("no")),
            ("on", json!("on")),
            ("off", json!("off")),
            ("y", json!("y")),
            ("0", json!(0)),
            ("007", json!(7)),
            ("-3", json!(-3)),
            ("+3", json!(3)),
            ("0o17", json!(15)),
            ("0xFF", json!(255)),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1.", json!(1.0)),
            ("1e3", json!(1000.0)),
            ("-1.5e-2", json!(-0.015)),
            ("18446744073709551616", json!(18446744073709551616.0)),
            (".inf", json!(".inf")),
            ("inf", json!("inf")),
            ("nan", json!("nan")),
            ("1e999", json!("1e999")),
            ("1.4.2", json!("1.4.2")),
            ("60s", json!("60s")),
            ("0x", json!("0x")),
            ("0o9", json!("0o9")),
            ("-", json!("-")),
            ("1_000", json!("1_000")),
            ("+-1", json!("+-1")),
            (".", json!(".")),
            ("0x+1", json!("0x+1")),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
    }
}
