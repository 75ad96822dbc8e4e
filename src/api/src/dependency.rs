//! Releases that others must wait for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keys::ReleaseKey;
use crate::problem::Problem;
use crate::release::Release;

/// Another release, which must serve what its own manifest says before a rollout of this one begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// Its namespace; absent: that of this release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Dependency {
    /// What is meant, seen from a release of this namespace.
    #[must_use]
    pub fn key(&self, namespace: &str) -> ReleaseKey {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        ReleaseKey::new(namespace, &self.name)
    }
}

/// What a release depends on.
#[must_use]
pub fn of(release: &Release) -> Vec<ReleaseKey> {
    let namespace = &release.metadata.namespace;
    let all = release.spec.depends_on.iter();
    all.map(|dependency| dependency.key(namespace)).collect()
}

/// The dependency that would make releases wait for each other for ever, with the whole way round.
#[must_use]
pub fn cycle<'a>(
    release: &Release,
    others: impl IntoIterator<Item = &'a Release>,
) -> Option<Problem> {
    let own = release.key();
    let mut all: BTreeMap<ReleaseKey, Vec<ReleaseKey>> = BTreeMap::new();
    for other in others {
        all.insert(other.key(), of(other));
    }
    all.remove(&own);
    for (index, first) in of(release).into_iter().enumerate() {
        let Some(way) = way(&all, first, &own) else {
            continue;
        };
        let round: Vec<String> = std::iter::once(&own)
            .chain(&way)
            .map(ToString::to_string)
            .collect();
        let wrong = format!("they would wait for each other: {}", round.join(" -> "));
        let problem = Problem::new(format!("spec.dependsOn[{index}]"), wrong);
        return Some(problem.allowed("releases that do not depend on this one"));
    }
    None
}

/// The shortest way from one release to another, both included.
fn way(
    all: &BTreeMap<ReleaseKey, Vec<ReleaseKey>>,
    from: ReleaseKey,
    to: &ReleaseKey,
) -> Option<Vec<ReleaseKey>> {
    let mut seen = BTreeSet::from([from.clone()]);
    let mut ways = vec![vec![from]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last()?;
            if last == to {
                return Some(way);
            }
            for next in all.get(last).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    let mut way = way.clone();
                    way.push(next.clone());
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

/// The order in which releases that are applied together are stored: each after what it depends on, else as they came.
/// What goes round in a circle stays as it came, to be refused.
#[must_use]
pub fn order(releases: &[(Option<ReleaseKey>, Vec<ReleaseKey>)]) -> Vec<usize> {
    let mut ordered = Vec::new();
    let mut left: Vec<usize> = (0..releases.len()).collect();
    while !left.is_empty() {
        let waits = |index: usize| {
            let (own, on) = &releases[index];
            let others = left.iter().filter(|other| **other != index);
            let mut keys = others.filter_map(|other| releases[*other].0.as_ref());
            keys.any(|key| on.contains(key) && own.as_ref() != Some(key))
        };
        let next = left.iter().position(|index| !waits(*index)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(name: &str, on: &[&str]) -> Release {
        let depends: Vec<_> = on
            .iter()
            .map(|name| serde_json::json!({ "name": name }))
            .collect();
        let value = serde_json::json!({
            "apiVersion": "fridaymorning.dev/v1",
            "kind": "Release",
            "metadata": { "namespace": "default", "name": name },
            "spec": {
                "workload": { "image": "shop:1" },
                "routes": [{ "hosts": [format!("{name}.example.com")], "port": 80 }],
                "strategy": { "canary": { "steps": [{ "weight": 5 }] } },
                "dependsOn": depends,
            },
        });
        crate::validate::json(&value).unwrap()
    }

    #[test]
    fn a_circle_is_told_with_its_whole_way() {
        let stored = [
            release("api", &["db"]),
            release("db", &["shop"]),
            release("x", &["y"]),
        ];
        let problem = cycle(&release("shop", &["x", "api"]), &stored).unwrap();
        assert_eq!(
            problem.to_string(),
            "spec.dependsOn[1]: they would wait for each other: default/shop -> default/api -> default/db -> \
             default/shop; allowed: releases that do not depend on this one"
        );
        assert!(cycle(&release("shop", &["x", "nobody"]), &stored).is_none());
        let own = cycle(&release("shop", &["shop"]), []).unwrap().to_string();
        assert!(own.contains("default/shop -> default/shop;"), "{own}");
        // What is stored of itself counts no more.
        let again = [release("shop", &["api"]), release("api", &["shop"])];
        assert!(cycle(&release("shop", &[]), &again).is_none());
        assert!(cycle(&release("shop", &["api"]), &again).is_some());
    }

    #[test]
    fn what_is_applied_together_is_stored_in_order() {
        let key = |name: &str| ReleaseKey::new("default", name);
        let given = |all: &[(&str, &[&str])]| -> Vec<usize> {
            let all: Vec<_> = (all.iter())
                .map(|(name, on)| (Some(key(name)), on.iter().map(|name| key(name)).collect()))
                .collect();
            order(&all)
        };
        assert_eq!(
            given(&[
                ("site", &["api"]),
                ("x", &[]),
                ("api", &["db"]),
                ("db", &[])
            ]),
            [1, 3, 2, 0]
        );
        assert_eq!(
            given(&[("a", &["b"]), ("b", &["a"]), ("c", &[])]),
            [2, 0, 1]
        );
        assert_eq!(given(&[("a", &["elsewhere"]), ("b", &[])]), [0, 1]);
    }
}
