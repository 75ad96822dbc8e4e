//! What Compose does with a file before it means anything: merge keys, `extends`.

use serde_json::{Map, Value};

/// `<<` takes another mapping's fields in; what stands beside it wins.
pub(super) fn keys(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(keys);
            let given = match map.remove("<<") {
                Some(Value::Array(items)) => items,
                Some(one) => vec![one],
                None => return,
            };
            for fields in given.iter().filter_map(Value::as_object) {
                for (name, field) in fields {
                    map.entry(name.clone()).or_insert_with(|| field.clone());
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(keys),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `extends` of a service of the same file.
pub(super) fn extends(file: &mut Value, notes: &mut Vec<String>) {
    let Some(all) = file.get("services").and_then(Value::as_object).cloned() else {
        return;
    };
    let Some(services) = file.get_mut("services").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, service) in services.iter_mut() {
        // A chain is never longer than there are services.
        for _ in 0..all.len() {
            let Some(fields) = service.as_object_mut() else {
                break;
            };
            let Some(extends) = fields.remove("extends") else {
                break;
            };
            let base = extends
                .get("service")
                .or(Some(&extends))
                .and_then(Value::as_str);
            match base.and_then(|base| all.get(base)).filter(|_| extends.get("file").is_none()) {
                Some(Value::Object(base)) => beneath(fields, base),
                _ => notes.push(format!("services.{name}.extends: what it extends is not in this file, and is not carried over")),
            }
        }
        if let Some(fields) = service.as_object_mut()
            && fields.remove("extends").is_some()
        {
            notes.push(format!("services.{name}.extends: it comes back to itself"));
        }
    }
}

/// Mappings are merged, lists are joined, anything else is what the service itself says.
fn beneath(fields: &mut Map<String, Value>, base: &Map<String, Value>) {
    for (name, below) in base {
        match (fields.get_mut(name), below) {
            (None, _) => drop(fields.insert(name.clone(), below.clone())),
            (Some(Value::Object(own)), Value::Object(below)) => beneath(own, below),
            (Some(Value::Array(own)), Value::Array(below))
                if name != "command" && name != "entrypoint" =>
            {
                let mut joined: Vec<Value> = below
                    .iter()
                    .filter(|item| !own.contains(item))
                    .cloned()
                    .collect();
                joined.append(own);
                *own = joined;
            }
            (Some(_), _) => {}
        }
    }
}
