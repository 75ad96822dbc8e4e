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

/// The dependency that would make releases wait for each other for ever, with the whole way round. The releases of one group
/// wait for each other before they are promoted, so none of them may wait for another one before it begins.
#[must_use]
pub fn cycle<'a>(
    release: &'a Release,
    others: impl IntoIterator<Item = &'a Release>,
) -> Option<Problem> {
    let own = release.key();
    let others = others.into_iter().filter(|other| other.key() != own);
    let all: Vec<&Release> = std::iter::once(release).chain(others).collect();
    let mut groups: BTreeMap<(&str, &str), Vec<ReleaseKey>> = BTreeMap::new();
    for one in &all {
        if let Some(group) = group(one) {
            groups.entry(group).or_default().push(one.key());
        }
    }
    let with = |one: &Release| group(one).and_then(|group| groups.get(&group).cloned());
    let waits = all.iter().map(|one| {
        let with = with(one).unwrap_or_default();
        (one.key(), of(one).into_iter().chain(with).collect())
    });
    let waits: BTreeMap<ReleaseKey, Vec<ReleaseKey>> = waits.collect();
    let ends = with(release).unwrap_or_else(|| vec![own.clone()]);
    let ends: BTreeSet<ReleaseKey> = ends.into_iter().collect();
    for one in all.iter().filter(|one| ends.contains(&one.key())) {
        for (index, on) in of(one).into_iter().enumerate() {
            let Some(way) = way(&waits, on, &ends) else {
                continue;
            };
            let round: Vec<String> = std::iter::once(&one.key())
                .chain(&way)
                .map(ToString::to_string)
                .collect();
            let mut wrong = format!("they would wait for each other: {}", round.join(" -> "));
            let mut allowed = "releases that do not depend on this one";
            if let Some((_, group)) = group(one).filter(|_| way.last() != Some(&one.key())) {
                wrong = format!("{wrong}, which is of the same group, {group}");
                allowed = "releases of one group that do not depend on each other";
            }
            let field = if one.key() == own {
                format!("spec.dependsOn[{index}]")
            } else {
                "spec.group".to_owned()
            };
            return Some(Problem::new(field, wrong).allowed(allowed));
        }
    }
    None
}

/// Its namespace and its group, if it is in one.
fn group(release: &Release) -> Option<(&str, &str)> {
    let group = release.spec.group.as_deref()?;
    Some((&release.metadata.namespace, group))
}

/// The shortest way from one release to one of those, both included.
fn way(
    all: &BTreeMap<ReleaseKey, Vec<ReleaseKey>>,
    from: ReleaseKey,
    to: &BTreeSet<ReleaseKey>,
) -> Option<Vec<ReleaseKey>> {
    let mut seen = BTreeSet::from([from.clone()]);
    let mut ways = vec![vec![from]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last()?;
            if to.contains(last) {
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
    fn none_of_a_group_waits_for_another_one_of_it() {
        let of_group = |name: &str, on: &[&str], group: &str| {
            let mut release = release(name, on);
            release.spec.group = Some(group.to_owned());
            release
        };
        let told = |release: &Release, stored: &[Release]| {
            let problem = cycle(release, stored);
            problem
                .map(|problem| problem.to_string())
                .unwrap_or_default()
        };
        let site = of_group("site", &["api"], "web");
        assert_eq!(
            told(&site, &[of_group("api", &[], "web")]),
            "spec.dependsOn[0]: they would wait for each other: default/site -> default/api, which is of the same group, \
             web; allowed: releases of one group that do not depend on each other"
        );
        // Nor by a way that leads out of it, or because the other one joins.
        let api = of_group("api", &[], "web");
        let stored = [
            of_group("site", &["db"], "web"),
            of_group("db", &[], "data"),
            of_group("cache", &["api"], "data"),
        ];
        assert_eq!(
            told(&api, &stored),
            "spec.group: they would wait for each other: default/site -> default/db -> default/cache -> default/api, \
             which is of the same group, web; allowed: releases of one group that do not depend on each other"
        );
        // What is of no group, of another one, or in another namespace is waited for as ever.
        let mut elsewhere = of_group("api", &[], "web");
        elsewhere.metadata.namespace = "prod".to_owned();
        let stored = [elsewhere, of_group("api", &[], "data"), release("db", &[])];
        assert_eq!(told(&site, &stored), "");
        assert_eq!(told(&of_group("x", &[], "web"), &stored), "");
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
