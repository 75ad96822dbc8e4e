//! What is wrong with documents that each are right by themselves: one release twice, releases that wait for each other. Pure.

use std::collections::BTreeMap;

use fm_api::dependency;
use fm_api::keys::ReleaseKey;
use fm_api::manifest::Draft;
use fm_api::problem::Problem;
use fm_api::release::Release;
use serde_json::Value;

use crate::files::Source;

/// Refuses every document that does not go with the others.
pub(crate) fn check(sources: &mut [Source<Draft>]) {
    let mut found: Vec<(usize, Problem)> = twice(sources);
    found.extend(circles(sources));
    for (index, problem) in found {
        if let Some(source) = sources.get_mut(index)
            && let Ok(draft) = &source.document
        {
            source.document = Err(draft.place(vec![problem]));
        }
    }
}

/// Which of two would be meant, nobody can tell: neither is taken.
fn twice(sources: &[Source<Draft>]) -> Vec<(usize, Problem)> {
    let mut known: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, source) in sources.iter().enumerate() {
        if let Ok(draft) = &source.document
            && let Some(key) = key(&draft.value())
        {
            known.entry(key).or_default().push(index);
        }
    }
    let same = known.into_iter().filter(|(_, all)| all.len() > 1);
    same.flat_map(|(key, all)| {
        all.into_iter().map(move |index| {
            let wrong =
                format!("{key} is there more than once, and nobody can tell which is meant");
            let problem = Problem::new("metadata.name", wrong);
            (index, problem.allowed("each release once"))
        })
    })
    .collect()
}

fn key(value: &Value) -> Option<String> {
    let metadata = &value["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let name = metadata["name"].as_str()?;
    Some(ReleaseKey::new(namespace, name).to_string())
}

/// The server refuses a circle with what it has stored. One that only these documents make would be found when some of
/// them are stored already.
fn circles(sources: &[Source<Draft>]) -> Vec<(usize, Problem)> {
    let waits: Vec<(usize, Release)> = sources
        .iter()
        .enumerate()
        .filter_map(|(index, source)| {
            let draft = source.document.as_ref().ok()?;
            let value = draft.value();
            let spec = &value["spec"];
            let waits = spec.get("dependsOn").is_some() || spec.get("group").is_some();
            // What else is wrong with it is told by whoever validates it.
            Some((index, waits.then(|| draft.validate().ok())??))
        })
        .collect();
    let all = || waits.iter().map(|(_, release)| release);
    waits
        .iter()
        .filter_map(|(index, release)| Some((*index, dependency::cycle(release, all())?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut sources: Vec<Source<Draft>> = fm_api::manifest::drafts("all.yaml", text.as_bytes())
            .into_iter()
            .map(|document| Source {
                name: "all.yaml".to_owned(),
                document,
            })
            .collect();
        check(&mut sources);
        let wrong = sources
            .into_iter()
            .filter_map(|source| source.document.err());
        wrong.flatten().map(|problem| problem.to_string()).collect()
    }

    fn release(name: &str, more: &str) -> String {
        format!(
            "apiVersion: fridaymorning.dev/v1\nkind: Release\nmetadata: {{ name: {name} }}\nspec:\n  \
             workload: {{ image: \"a:1\" }}\n  strategy: {{ canary: {{ steps: [{{ replicas: 1 }}] }} }}\n{more}---\n"
        )
    }

    #[test]
    fn one_release_twice_is_neither() {
        let text = release("a", "") + &release("b", "") + &release("a", "");
        let told = problems(&text);
        assert_eq!(told.len(), 2, "{told:?}");
        let place = "all.yaml:3:19: metadata.name: default/a is there more than once";
        assert!(told[0].starts_with(place), "{told:?}");
        assert!(problems(&release("a", "")).is_empty());
    }

    #[test]
    fn a_circle_of_documents_is_told_of_each_before_any_is_stored() {
        let on = |name: &str| format!("  dependsOn: [{{ name: {name} }}]\n");
        let text = release("a", &on("b")) + &release("b", &on("c")) + &release("c", &on("a"));
        let told = problems(&(text + &release("d", &on("a"))));
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].contains("spec.dependsOn[0]")
                && told[0].contains("default/a -> default/b -> default/c -> default/a"),
            "{told:?}"
        );
        let own = problems(&release("a", &on("a")));
        assert!(own[0].contains("default/a -> default/a"), "{own:?}");
        let group = "  group: g\n";
        let grouped = release("a", group) + &release("b", &format!("{group}{}", on("a")));
        assert!(!problems(&grouped).is_empty());
    }
}
