//! Variables of a Compose file, filled in as Compose does.

use serde_json::Value;

use super::Options;

/// Fills `${VARIABLE}`, `${VARIABLE:-default}`, `${VARIABLE:+other}`, `${VARIABLE:?message}` and `$VARIABLE` in, everywhere; `$$`
/// is a dollar sign. With a colon an empty variable counts as one that is not set, without one it does not. Gives whether one
/// is missing that must be set.
pub(super) fn fill(value: &mut Value, options: &Options<'_>, notes: &mut Vec<String>) -> bool {
    let mut missing = false;
    let mut each = |item: &mut Value| missing |= fill(item, options, notes);
    match value {
        Value::Array(items) => items.iter_mut().for_each(&mut each),
        Value::Object(map) => map.values_mut().for_each(&mut each),
        Value::String(text) if text.contains('$') => {
            *text = filled(text, options, notes, &mut missing);
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    missing
}

fn filled(
    text: &str,
    options: &Options<'_>,
    notes: &mut Vec<String>,
    missing: &mut bool,
) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let found = match after.strip_prefix('{') {
            Some(inside) => braced(inside),
            None => named(after).map(|(name, after)| (name, "", after)),
        };
        let Some((name, otherwise, after)) = found else {
            let shown: String = after.chars().take(20).collect();
            notes.push(format!(
                "${shown}: is no variable and stands as it is; Compose writes a dollar sign as $$"
            ));
            out.push('$');
            rest = after;
            continue;
        };
        out.push_str(&one(name, otherwise, options, notes, missing));
        rest = after;
    }
    out + rest
}

/// A variable's name, and what comes after it.
fn named(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(begins).then_some((name, after))
}

/// Of `NAME:-otherwise} and more` the name, the rest inside the braces, and what comes after the brace that belongs to them:
/// what stands otherwise may have variables of its own.
fn braced(text: &str) -> Option<(&str, &str, &str)> {
    let (mut depth, mut end) = (1_u32, None);
    let mut before = ' ';
    for (index, letter) in text.char_indices() {
        match letter {
            '{' if before == '$' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            end = Some(index);
            break;
        }
        before = letter;
    }
    let (inside, after) = text.split_at(end?);
    let (name, otherwise) = named(inside)?;
    let plain = otherwise.strip_prefix(':').unwrap_or(otherwise);
    let known = otherwise.is_empty() || plain.starts_with(['-', '+', '?']);
    known.then_some((name, otherwise, after.strip_prefix('}')?))
}

/// What one variable comes to; `otherwise` is `:-default` and the like.
fn one(
    name: &str,
    otherwise: &str,
    options: &Options<'_>,
    notes: &mut Vec<String>,
    missing: &mut bool,
) -> String {
    let (plain, or_empty) = match otherwise.strip_prefix(':') {
        Some(plain) => (plain, true),
        None => (otherwise, false),
    };
    let set = (options.variables)(name).filter(|value| !(or_empty && value.is_empty()));
    let mut letters = plain.chars();
    let operator = letters.next();
    let text = letters.as_str();
    match (set, operator) {
        (Some(_), Some('+')) | (None, Some('-')) => filled(text, options, notes, missing),
        (Some(value), _) => value,
        (None, Some('+')) => String::new(),
        (None, Some('?')) => {
            *missing = true;
            let why = filled(text, options, notes, missing);
            let why = match why.trim() {
                "" => "the file asks for it",
                why => why,
            };
            notes.push(format!("${name}: the variable must be set: {why}"));
            String::new()
        }
        (None, _) => {
            notes.push(format!(
                "${name}: the variable is not set and is left empty"
            ));
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled_in(text: &str) -> (String, Vec<String>, bool) {
        let options = Options {
            namespace: "default",
            stack: "shop",
            domain: "example.com",
            variables: &|name| match name {
                "SET" => Some("set".to_owned()),
                "EMPTY" => Some(String::new()),
                _ => None,
            },
            files: &|_| Err("there are none".to_owned()),
        };
        let (mut notes, mut missing) = (Vec::new(), false);
        let text = filled(text, &options, &mut notes, &mut missing);
        (text, notes, missing)
    }

    #[test]
    fn variables_are_filled_in_as_compose_does() {
        for (given, wanted) in [
            ("$SET-${SET}.", "set-set."),
            ("$$SET", "$SET"),
            ("${A:-${B:-x}}y", "xy"),
            ("${A:-${B:-${SET}}}", "set"),
            ("${A:-{x}}", "{x}"),
            ("${EMPTY-default}", ""),
            ("${EMPTY:-default}", "default"),
            ("${A-default}", "default"),
            ("${SET:+${A:-other}}", "other"),
            ("${EMPTY:+other}", ""),
            ("${EMPTY+other}", "other"),
            ("${SET?why}", "set"),
            ("${EMPTY?why}", ""),
            ("${A:--}", "-"),
            ("$EMPTY", ""),
        ] {
            assert_eq!(
                filled_in(given),
                (wanted.to_owned(), Vec::new(), false),
                "{given}"
            );
        }
    }

    #[test]
    fn what_is_missing_or_no_variable_is_named() {
        for (given, wanted, note, missing) in [
            ("a${A}b", "ab", "$A: the variable is not set", false),
            ("${A:?say ${SET}}", "", "must be set: say set", true),
            ("${EMPTY:?}", "", "must be set: the file asks for it", true),
            ("^a$", "^a$", "is no variable", false),
            ("$(date)", "$(date)", "$(date): is no variable", false),
            ("${A:-x", "${A:-x", "is no variable", false),
            ("${1}", "${1}", "is no variable", false),
        ] {
            let (text, notes, is_missing) = filled_in(given);
            assert_eq!((text.as_str(), is_missing), (wanted, missing), "{given}");
            assert!(notes.iter().any(|one| one.contains(note)), "{notes:?}");
        }
    }
}
