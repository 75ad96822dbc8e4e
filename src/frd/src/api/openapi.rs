//! `/openapi.json`, made from the table of doors and the types themselves.

use axum::Json;
use fm_api::http::ErrorBody;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::doors::{self, Door};

pub(super) async fn document() -> Json<Value> {
    Json(make())
}

pub(super) fn make() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorBody>();
    let mut paths: Map<String, Value> = Map::new();
    for door in doors::all() {
        let operation = operation(&mut generator, &door, error.as_value());
        let methods = paths.entry(door.path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(door.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "FridayMorning",
            "description": "Progressive delivery for Docker Swarm behind HAProxy.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(generator: &mut SchemaGenerator, door: &Door, error: &Value) -> Value {
    let in_path = door
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = door
        .query
        .iter()
        .map(|(name, what)| json!({ "name": name, "in": "query", "description": what, "schema": { "type": "string" } }));
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let success = match door.response {
        Some(describe) => json!({ "application/json": { "schema": describe(generator) } }),
        None if door.path == "/metrics" || door.path == "/healthz" => json!({ "text/plain": {} }),
        None => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    let mut operation = json!({
        "summary": door.summary,
        "parameters": parameters,
        "responses": {
            "2XX": { "description": "Done", "content": success },
            "default": { "description": "Not done, and why", "content": { "application/json": { "schema": error } } },
        },
    });
    if door.path == "/readyz" {
        // Which part is not well is told in the same form.
        let same = operation["responses"]["2XX"]["content"].clone();
        operation["responses"]["503"] =
            json!({ "description": "Some part is not well", "content": same });
    }
    if let (Some(describe), Some(object)) = (door.request, operation.as_object_mut()) {
        let schema = describe(generator);
        object.insert(
            "requestBody".to_owned(),
            json!({ "required": true, "content": { "application/json": { "schema": schema } } }),
        );
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_is_in_the_document() {
        let document = make();
        for door in doors::all() {
            let method = door.method.as_str().to_ascii_lowercase();
            assert!(
                document["paths"][door.path][&method]["summary"].is_string(),
                "{} {}",
                door.method,
                door.path
            );
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(target)) = map.get("$ref") {
                        let found = target
                            .strip_prefix('#')
                            .and_then(|pointer| document.pointer(pointer));
                        assert!(found.is_some(), "{target} leads nowhere");
                    }
                    map.values().for_each(|value| check(value, document));
                }
                Value::Array(items) => items.iter().for_each(|value| check(value, document)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let document = make();
        check(&document, &document);
    }
}
