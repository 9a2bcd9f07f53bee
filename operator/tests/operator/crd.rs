//! The committed CRD, and objects that it accepts and rejects. The end-to-end suite sends the same objects to
//! a real API server.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_cel::Validator;
use order_operator::crd::{self, OrderService};
use serde_json::{Value, json};

use crate::files;

#[test]
fn the_committed_crd_is_the_generated_one() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../kustomize/operator/crd.yaml"
    );
    let committed = std::fs::read_to_string(path).unwrap();
    let generated = crd::yaml().unwrap();
    assert!(
        committed == generated,
        "regenerate it: cargo run -p order-operator -- crd > kustomize/operator/crd.yaml"
    );
}

fn schema() -> Value {
    let crd = crd::definition().unwrap();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema")
        .unwrap()
        .clone()
}

#[test]
fn the_served_versions_have_identical_schemas() {
    let crd = crd::definition().unwrap();
    let versions = crd["spec"]["versions"].as_array().unwrap();
    let [stored, other] = versions.as_slice() else {
        panic!("{} versions", versions.len())
    };
    assert_eq!(
        (&stored["name"], &other["name"]),
        (&json!("v1alpha1"), &json!("v1beta1"))
    );
    assert_eq!(
        (&stored["storage"], &other["storage"]),
        (&json!(true), &json!(false))
    );
    // Without a conversion webhook the API server changes only `apiVersion`.
    assert!(crd["spec"].get("conversion").is_none());
    let rest = |version: &Value| {
        let mut version = version.clone();
        for field in ["name", "storage"] {
            version.as_object_mut().unwrap().remove(field);
        }
        version
    };
    assert_eq!(rest(stored), rest(other));
    assert_eq!(stored["served"], json!(true));
}

/// The structural schema as JSON Schema, with the extensions of Kubernetes translated, and without unknown
/// fields, as with strict validation.
fn strict(schema: &mut Value, is_root: bool) {
    if let Value::Object(fields) = schema {
        if fields.remove("x-kubernetes-int-or-string").is_some() {
            fields.insert("type".to_owned(), json!(["integer", "string"]));
        }
        let preserves = fields
            .remove("x-kubernetes-preserve-unknown-fields")
            .is_some();
        if fields.contains_key("properties") && !is_root && !preserves {
            fields.insert("additionalProperties".to_owned(), json!(false));
        }
        fields.remove("format");
        for name in ["properties", "items"] {
            match (name, fields.get_mut(name)) {
                ("properties", Some(Value::Object(properties))) => {
                    properties
                        .values_mut()
                        .for_each(|property| strict(property, false));
                }
                (_, Some(items)) => strict(items, false),
                (_, None) => {}
            }
        }
    }
}

/// The errors of an object as field and message. An update is validated against the old object.
fn validate(object: &Value, old: Option<&Value>) -> Vec<String> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(schema);
    static STRUCTURAL: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let mut structural = SCHEMA.clone();
        strict(&mut structural, true);
        jsonschema::validator_for(&structural).unwrap()
    });
    let mut wrong: Vec<_> = STRUCTURAL
        .iter_errors(object)
        .map(|error| {
            let path = error
                .instance_path()
                .to_string()
                .trim_start_matches('/')
                .replace('/', ".");
            // The API server names the missing or unknown field itself.
            let error = error.to_string();
            let named = error.split(['"', '\'']).nth(1).unwrap_or_default();
            if error.contains("is a required property") || error.contains("Additional properties") {
                format!("{path}.{named}: unknown field or required: {error}")
            } else {
                format!("{path}: {error}")
            }
        })
        .collect();
    if wrong.is_empty() {
        let rules = Validator::new().validate_with_defaults(&SCHEMA, object, old);
        let broken = rules
            .err()
            .map(|broken| broken.into_vec())
            .unwrap_or_default();
        wrong.extend(
            broken
                .iter()
                .map(|rule| format!("{}: {}", rule.field_path, rule.message)),
        );
    }
    wrong
}

fn documents(text: &str) -> (Value, Option<Value>) {
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let last = documents.pop().unwrap();
    (last, documents.pop())
}

#[test]
fn accepted_objects_are_valid_and_can_be_built() {
    let fixtures = files("fixtures/accept");
    for (name, text) in &fixtures {
        let (object, old) = documents(text);
        for candidate in old.iter().chain([&object]) {
            assert_eq!(validate(candidate, None), [""; 0], "{name}");
        }
        assert_eq!(validate(&object, old.as_ref()), [""; 0], "{name}");
        let mut object: OrderService = serde_json::from_value(object).unwrap();
        object.metadata.namespace = Some("n".to_owned());
        let built = order_operator::commands::render_objects(object);
        assert!(built.is_ok(), "{name}: {:?}", built.err());
    }
    assert!(fixtures.len() >= 20);
}

#[test]
fn rejected_objects_name_the_field_and_the_rule() {
    let fixtures = files("fixtures/reject");
    for (name, text) in &fixtures {
        let expected = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("# {key}:")));
            line.unwrap_or_else(|| panic!("{name} has no comment with its {key}"))
                .trim()
        };
        let (field, message) = (expected("field"), expected("message"));
        let (object, old) = documents(text);
        if let Some(old) = &old {
            assert_eq!(
                validate(old, None),
                [""; 0],
                "{name}: the old object must be accepted"
            );
            assert_eq!(
                validate(&object, None),
                [""; 0],
                "{name}: the new object alone must be accepted"
            );
        }
        let wrong = validate(&object, old.as_ref());
        assert!(
            wrong
                .iter()
                .any(|wrong| wrong.contains(field) && wrong.contains(message)),
            "{name}: expected {field:?} {message:?}, got {wrong:?}"
        );
    }
    assert!(fixtures.len() >= 40);
}

#[test]
fn the_crd_has_columns_short_names_and_subresources() {
    let crd: CustomResourceDefinition = serde_json::from_value(crd::definition().unwrap()).unwrap();
    let names = &crd.spec.names;
    assert_eq!(names.short_names.as_deref(), Some(&["osvc".to_owned()][..]));
    // Not `all`: `kubectl delete all --all` would delete the services with it.
    assert_eq!(
        names.categories.as_deref(),
        Some(&["orders".to_owned()][..])
    );
    let version = &crd.spec.versions[0];
    let columns = |priority: i32| -> Vec<&str> {
        let columns = version.additional_printer_columns.iter().flatten();
        columns
            .filter(|column| column.priority.unwrap_or(0) == priority)
            .map(|column| column.name.as_str())
            .collect()
    };
    let always = ["Ready", "Available", "Image", "Schema", "Replicas", "Age"];
    assert_eq!(columns(0), always);
    // With `-o wide`.
    assert_eq!(columns(1), ["Desired Image", "Reason", "Message"]);
    let subresources = version.subresources.as_ref().unwrap();
    assert!(subresources.status.is_some());
    assert_eq!(
        subresources.scale.as_ref().unwrap().spec_replicas_path,
        ".spec.replicas"
    );
}

#[test]
fn conditions_are_a_list_by_type_and_nothing_may_be_null() {
    let schema = schema();
    let conditions = schema
        .pointer("/properties/status/properties/conditions")
        .unwrap();
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    assert!(!schema.to_string().contains("nullable"));
}
