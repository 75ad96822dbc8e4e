//! `{{variables}}` in what a metric asks for: which there are, and how they are filled in. Pure.
//!
//! What is filled in are ids, names, numbers and times, none of which can break out of a query or an address.

/// The variables, and what each stands for.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        "revision",
        "the revision that is measured: the canary, or, for a comparison, each side in turn",
    ),
    ("canary", "the canary's revision"),
    ("stable", "stable's revision"),
    ("namespace", "the release's namespace"),
    ("release", "the release's name"),
    ("step", "the step's number, from 1"),
    (
        "stepStart",
        "when the step began, such as 2026-01-31T12:00:00Z",
    ),
    ("stepStartUnix", "the same in seconds since 1970"),
    (
        "stepSeconds",
        "for how many seconds the step has lasted, at least 1",
    ),
];

/// The names of the variables, for people.
#[must_use]
pub fn names() -> String {
    let names: Vec<String> = VARIABLES
        .iter()
        .map(|(name, _)| format!("{{{{{name}}}}}"))
        .collect();
    names.join(", ")
}

/// The variables of a text that do not exist, or that are not closed.
#[must_use]
pub fn unknown(text: &str) -> Vec<String> {
    unknown_beside(text, |name| {
        VARIABLES.iter().any(|(known, _)| *known == name)
    })
}

/// The same where there are other variables.
#[must_use]
pub fn unknown_beside(text: &str, known: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    walk(text, &mut |part| {
        if let Part::Variable(name) = part
            && !known(name)
        {
            found.push(format!("{{{{{name}}}}}"));
        }
        if let Part::Open(rest) = part {
            found.push(rest.chars().take(20).collect());
        }
    });
    found
}

/// Whether a text has variables at all.
#[must_use]
pub fn is_templated(text: &str) -> bool {
    text.contains("{{")
}

/// Fills in the variables; `None` where there is no value yet.
///
/// # Errors
/// The name of a variable without a value.
pub fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut missing = None;
    walk(text, &mut |part| match part {
        Part::Text(text) | Part::Open(text) => out.push_str(text),
        Part::Variable(name) => match value(name) {
            Some(value) => out.push_str(&value),
            None => missing = missing.take().or_else(|| Some(name.to_owned())),
        },
    });
    match missing {
        None => Ok(out),
        Some(name) => Err(name),
    }
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Text(&'a str),
    Variable(&'a str),
    /// `{{` that nothing closes.
    Open(&'a str),
}

fn walk<'a>(text: &'a str, each: &mut impl FnMut(Part<'a>)) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        each(Part::Text(before));
        let Some((name, after)) = after.split_once("}}") else {
            each(Part::Open(rest.get(before.len()..).unwrap_or_default()));
            return;
        };
        each(Part::Variable(name.trim()));
        rest = after;
    }
    each(Part::Text(rest));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_the_rest_stays() {
        let value = |name: &str| (name == "revision").then(|| "e3442ac697".to_owned());
        let query = r#"rate(x{revision="{{revision}}"}[1m]) and {{ revision }}"#;
        assert_eq!(
            fill(query, value).unwrap(),
            r#"rate(x{revision="e3442ac697"}[1m]) and e3442ac697"#
        );
        assert_eq!(fill("{{stepStart}}", value), Err("stepStart".to_owned()));
        assert_eq!(fill("no {variables}", value).unwrap(), "no {variables}");
    }

    #[test]
    fn what_does_not_exist_is_named() {
        assert_eq!(
            unknown("{{revison}} {{step}} {{ namespace }}"),
            ["{{revison}}"]
        );
        assert_eq!(unknown("a {{step"), ["{{step"]);
        assert!(unknown(r#"x{y="1"}"#).is_empty());
    }
}
