//! Match rules: each looks at one thing, and none is hidden behind another.

use crate::problem::Problem;
use crate::release::{Criterion, MatchRule, ReleaseSpec};

use super::routes;

/// Everything that is wrong with the match rules of a spec of the right shape.
pub(super) fn problems(found: &mut Vec<Problem>, spec: &ReleaseSpec) {
    for (index, rule) in spec.match_rules.iter().enumerate() {
        let at = format!("spec.match[{index}]");
        shape(found, &at, rule);
        if let Some(path) = &rule.path {
            routes::well_formed(found, format!("{at}.path"), path);
        }
        let earlier = spec.match_rules.iter().take(index);
        if let Some(hides) = earlier.enumerate().find(|(_, first)| covers(first, rule)) {
            found.push(
                Problem::new(
                    &at,
                    format!("never decides: match[{}] fits every such request", hides.0),
                )
                .allowed("each rule once, and narrower paths before wider ones"),
            );
        }
    }
}

fn shape(found: &mut Vec<Problem>, at: &str, rule: &MatchRule) {
    let given: Vec<&str> = [
        ("header", rule.header.is_some()),
        ("cookie", rule.cookie.is_some()),
        ("path", rule.path.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect();
    let one = "exactly one of `header`, `cookie`, `path`";
    match (given.as_slice(), &rule.value) {
        ([], _) => found.push(Problem::new(at, "says nothing of the request").allowed(one)),
        (["path"], Some(_)) => found.push(
            Problem::new(format!("{at}.value"), "a path has no value beside it")
                .allowed("`path` alone, or `header` or `cookie` with a `value`"),
        ),
        (["header" | "cookie"], None) => {
            found.push(Problem::new(format!("{at}.value"), "is missing").allowed("the whole value"))
        }
        ([_], _) => {}
        (several, _) => found.push(
            Problem::new(
                at,
                format!(
                    "{} are given: a rule looks at one thing",
                    several.join(" and ")
                ),
            )
            .allowed(one),
        ),
    }
}

/// Whether `first` fits every request that `second` fits.
fn covers(first: &MatchRule, second: &MatchRule) -> bool {
    match (first.criterion(), second.criterion()) {
        (Some(Criterion::Header(a, x)), Some(Criterion::Header(b, y))) => {
            a.eq_ignore_ascii_case(b) && x == y
        }
        (Some(Criterion::Cookie(a, x)), Some(Criterion::Cookie(b, y))) => a == b && x == y,
        (Some(Criterion::Path(wide)), Some(Criterion::Path(narrow))) => {
            let folder = |path: &str| format!("{}/", path.trim_end_matches('/'));
            folder(narrow).starts_with(&folder(wide))
        }
        _ => false,
    }
}
