//! The README shows real objects: each JSON block that names a schema is held to it.

use std::path::Path;

#[test]
fn every_object_in_the_readme_is_valid_by_the_schema_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut seen = Vec::new();
    for part in text.split("<!-- schema: ").skip(1) {
        let (name, rest) = part.split_once(" -->").unwrap();
        let block = rest
            .trim_start()
            .strip_prefix("```json\n")
            .unwrap_or_else(|| panic!("no ```json block behind <!-- schema: {name} -->"));
        let (json, _) = block.split_once("```").unwrap();
        let object: serde_json::Value =
            serde_json::from_str(json).unwrap_or_else(|error| panic!("{name}: {error}\n{json}"));
        let schema =
            std::fs::read_to_string(root.join("schemas").join(format!("{name}.schema.json")))
                .unwrap();
        let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let problems: Vec<String> = validator
            .iter_errors(&object)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(problems.is_empty(), "{name}: {problems:#?}");
        seen.push(name.to_owned());
    }
    for wanted in ["status", "operation", "event", "verdict"] {
        assert!(
            seen.iter().any(|name| name == wanted),
            "the README shows no {wanted}"
        );
    }
}

/// The words of an enum without fields, as they stand in JSON.
fn words<T: schemars::JsonSchema>() -> Vec<String> {
    let schema = schemars::schema_for!(T).to_value();
    let of = |value: &serde_json::Value| match value.get("const") {
        Some(word) => vec![word.clone()],
        None => value["enum"].as_array().cloned().unwrap_or_default(),
    };
    let parts = schema["oneOf"].as_array().cloned().unwrap_or(vec![schema]);
    let words = parts.iter().flat_map(of);
    words
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

#[test]
fn every_word_of_a_verdict_is_explained_in_the_readme_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, table) = text
        .split_once("| reason | verdict | what it means |\n|---|---|---|\n")
        .unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let (mut reasons, mut verdicts) = (Vec::new(), Vec::new());
    for row in table.lines() {
        let cells: Vec<&str> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        assert!(cells[3].len() > 5, "{row}");
        reasons.push(cells[1].to_owned());
        verdicts.push(cells[2].to_owned());
    }
    let sorted = |mut words: Vec<String>| {
        words.sort();
        words
    };
    assert_eq!(sorted(reasons), sorted(words::<fm_api::verdict::Reason>()));
    verdicts.sort();
    verdicts.dedup();
    assert_eq!(verdicts, sorted(words::<fm_api::verdict::Decision>()));
}
