//! `/openapi.json`: the table of routes, written as OpenAPI 3.1.

use super::routes::{Entry, Takes, entries};
use axum::Json;
use serde_json::{Map, Value, json};

pub async fn page() -> Json<Value> {
    Json(document())
}

pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for entry in entries() {
        let path = paths.entry(entry.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(entry.method.as_str().to_owned(), operation(entry));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Neisse",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "DICOMweb (PS3.18) and the state of a node. A partner sees what it has sent or is to read; \
                            whatever else there is, is for it as if it were not there.",
        },
        "paths": paths,
        "components": { "securitySchemes": {
            "token": { "type": "http", "scheme": "bearer", "description": "Made by: neisse token create" },
            "tokenAsPassword": { "type": "http", "scheme": "basic", "description": "Any user; the token as password." },
        } },
    })
}

fn operation(entry: &Entry) -> Value {
    let mut operation = json!({
        "tags": [entry.group],
        "summary": entry.summary,
        "responses": responses(entry),
    });
    let parameters = parameters(entry);
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Takes::Small(media_types) | Takes::Stream(media_types) = entry.takes {
        operation["requestBody"] = json!({ "required": true, "content": content(media_types) });
    }
    if !entry.is_open {
        operation["security"] = json!([{ "token": [] }, { "tokenAsPassword": [] }]);
    }
    operation
}

fn parameters(entry: &Entry) -> Vec<Value> {
    let in_path = entry.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        let name = name.trim_start_matches('*');
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let in_query = entry.query.iter().map(|parameter| {
        json!({ "name": parameter.name, "in": "query", "description": parameter.what, "schema": { "type": "string" } })
    });
    in_path.chain(in_query).collect()
}

fn responses(entry: &Entry) -> Value {
    let mut responses = Map::new();
    for gives in entry.gives {
        let mut response = json!({ "description": gives.what });
        if !gives.media_types.is_empty() {
            response["content"] = content(gives.media_types);
        }
        responses.insert(gives.status.to_string(), response);
    }
    if !entry.is_open {
        let refused = json!({ "description": "No token, or one that lets nobody in." });
        responses.insert("401".to_owned(), refused);
    }
    Value::Object(responses)
}

fn content(media_types: &[&str]) -> Value {
    Value::Object(media_types.iter().map(|name| ((*name).to_owned(), json!({}))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_description_names_every_route_once_and_nothing_else() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()), "{path}");
                described.insert((path.clone(), method.clone()));
            }
        }
        let routed: Vec<_> = entries().map(|entry| (entry.path.to_owned(), entry.method.as_str().to_owned())).collect();
        assert_eq!(routed.len(), described.len(), "a route is there twice");
        assert_eq!(described, routed.into_iter().collect());
    }

    #[test]
    fn what_is_open_is_what_is_meant_to_be() {
        let open: Vec<_> = entries().filter(|entry| entry.is_open).map(|entry| entry.path).collect();
        assert_eq!(open, ["/healthz", "/readyz", "/metrics", "/openapi.json"]);
    }
}
