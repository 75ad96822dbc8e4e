//! The JSON Schemas of what users write and read, generated from the types.

/// Every schema with its file name.
#[must_use]
pub fn all() -> Vec<(&'static str, serde_json::Value)> {
    vec![("release.schema.json", schemars::schema_for!(crate::release::Release).to_value())]
}
