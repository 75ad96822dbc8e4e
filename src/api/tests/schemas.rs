//! The schemas say what the types say.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the steps that tests share fail the test"
)]

use std::collections::BTreeMap;
use std::path::Path;

use fm_api::schema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn named(name: &str) -> Value {
    let found = schema::all()
        .into_iter()
        .find(|(file, _)| *file == format!("{name}.schema.json"));
    found.unwrap_or_else(|| panic!("no schema {name}")).1
}

#[test]
fn every_schema_is_one_and_says_where_it_belongs() {
    for (file, schema) in schema::all() {
        assert!(jsonschema::meta::is_valid(&schema), "{file}");
        jsonschema::validator_for(&schema).unwrap();
        assert_eq!(
            schema["$id"],
            format!("https://fridaymorning.dev/schemas/v1/{file}")
        );
        assert!(
            !schema.to_string().contains("\"null\""),
            "{file}: an absent field is left out"
        );
    }
}

#[test]
fn every_field_of_a_release_is_described() {
    fn look(path: &str, schema: &Value) {
        for (name, property) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            assert!(
                property.get("description").is_some(),
                "{path}.{name} has no description"
            );
        }
    }
    let schema = named("release");
    look("Release", &schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        look(name, definition);
    }
}

#[test]
fn every_weight_of_two_decimals_is_a_weight() {
    let schema = named("release");
    let weight = jsonschema::validator_for(&schema["$defs"]["Weight"]).unwrap();
    for bp in 1..=10_000_u32 {
        let percent = f64::from(bp) / 100.0;
        assert!(weight.is_valid(&json!(percent)), "{percent}");
        assert!(
            !weight.is_valid(&json!(percent + 0.003)),
            "{percent} + 0.003"
        );
    }
    assert!(!weight.is_valid(&json!(0)));
    assert!(!weight.is_valid(&json!(100.01)));
}

/// What we write is what the schema promises to those who read it.
fn promised<T: DeserializeOwned + Serialize>(file: &str, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/stored")
        .join(file);
    let object: T = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let written = serde_json::to_value(&object).unwrap();
    let validator = jsonschema::validator_for(&named(name)).unwrap();
    let problems: Vec<String> = validator
        .iter_errors(&written)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{file}: {problems:#?}");
}

#[test]
fn what_is_written_keeps_to_its_schema() {
    promised::<fm_api::release::Release>("release.full.json", "release");
    promised::<fm_api::target::Target>("target.canary.json", "target");
    promised::<fm_api::target::Target>("target.new.json", "target");
    promised::<fm_api::target::RevisionRecord>("revision.json", "revision");
    promised::<fm_api::status::Status>("status.json", "status");
    promised::<fm_api::verdict::Verdict>("verdict.json", "verdict");
    promised::<fm_api::operation::Operation>("operation.json", "operation");
    promised::<fm_api::event::Event>("event.json", "event");
    promised::<fm_api::observed::SwarmObserved>("swarm.json", "observed-swarm");
    promised::<fm_api::observed::HaproxyObserved>("haproxy.json", "observed-haproxy");
}

/// The folder has exactly the schemas of the types. With `WRITE_SCHEMAS` set they are written there first.
#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    let wanted = schema::all().into_iter().map(|(name, schema)| {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        (name.to_owned(), text)
    });
    let wanted: BTreeMap<String, String> = wanted.collect();
    if std::env::var_os("WRITE_SCHEMAS").is_some() {
        for (name, text) in &wanted {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    let there = std::fs::read_dir(&folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        (entry.file_name().into_string().unwrap(), text)
    });
    let there: BTreeMap<String, String> = there
        .filter(|(name, _)| name.ends_with(".schema.json"))
        .collect();
    let differ: Vec<&String> = (wanted.keys().chain(there.keys()))
        .filter(|name| wanted.get(*name) != there.get(*name))
        .collect();
    assert!(
        differ.is_empty(),
        "{differ:?} differ from the types; `make schemas` writes them anew"
    );
}
