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
