//! The tables of fields in docs/OPERATOR.md are generated from the CRD. After a change,
//! `FIELD_TABLES=write cargo test -p order-operator field_tables` rewrites them.

use order_operator::crd;
use serde_json::Value;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATOR.md");

/// A leaf of the schema.
struct Field {
    path: String,
    default: String,
    meaning: String,
}

/// The leaves of a schema. `default` is the default of the schema, or its part of that of a parent. The name of
/// a secret is described by its parent, `secretRef`.
fn fields(schema: &Value, path: &str, default: Option<&Value>, found: &mut Vec<Field>) {
    let default = schema.get("default").or(default);
    // A part of a pod is described as a whole.
    if path == "podTemplate.spec" {
        found.push(leaf(schema, path, default));
        return;
    }
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            let path = format!("{path}{}{name}", if path.is_empty() { "" } else { "." });
            let default = default.and_then(|default| default.get(name));
            let mut property = property.clone();
            if name == "name" {
                property["description"] = schema["description"].clone();
            }
            fields(&property, &path, default, found);
        }
        return;
    }
    found.push(leaf(schema, path, default));
}

fn leaf(schema: &Value, path: &str, default: Option<&Value>) -> Field {
    let description = schema["description"]
        .as_str()
        .unwrap_or_else(|| panic!("{path} has no description"));
    let description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    let (meaning, described) = match description.split_once(" Default: ") {
        Some((meaning, default)) => (meaning.to_owned(), Some(default.trim_end_matches('.'))),
        None => (description, None),
    };
    let default = match default {
        Some(Value::String(text)) => format!("`{text}`"),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| format!("`{}`", item.as_str().unwrap()))
            .collect::<Vec<_>>()
            .join(", "),
        Some(other) => format!("`{other}`"),
        None => described.unwrap_or("–").to_owned(),
    };
    let bounds = match (&schema["minimum"], &schema["maximum"]) {
        (Value::Number(least), Value::Number(most)) => format!(" ({least} to {most})"),
        _ => String::new(),
    };
    Field {
        path: path.to_owned(),
        default,
        meaning: format!("{}{bounds}", meaning.trim_end_matches('.')),
    }
}

fn table(fields: &[&Field], heading: &str) -> String {
    let mut table = format!("| {heading} | default | meaning |\n|---|---|---|\n");
    for field in fields {
        let Field {
            path,
            default,
            meaning,
        } = field;
        table.push_str(&format!("| `{path}` | {default} | {meaning} |\n"));
    }
    table
}

/// The document with the part between two markers replaced.
fn replaced(document: &str, name: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- {name}: generated from the CRD -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let (before, rest) = document.split_once(&begin).expect("the begin marker");
    let (_, after) = rest.split_once(&end).expect("the end marker");
    format!("{before}{begin}\n{table}\n{end}{after}")
}

#[test]
fn the_field_tables_of_the_document_match_the_crd() {
    let definition = crd::definition().unwrap();
    let spec = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .unwrap();
    let mut found = Vec::new();
    fields(spec, "", None, &mut found);
    let (settings, others): (Vec<_>, Vec<_>) = found
        .iter()
        .partition(|field| field.path.starts_with("settings."));
    assert!(settings.len() > 10 && others.len() > 20);
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let generated = replaced(&document, "fields", &table(&others, "field of `spec`"));
    let generated = replaced(
        &generated,
        "settings",
        &table(&settings, "field of `spec.settings`"),
    );
    if std::env::var_os("FIELD_TABLES").is_some_and(|how| how == "write") {
        std::fs::write(DOCUMENT, generated).unwrap();
        return;
    }
    assert!(
        document == generated,
        "regenerate them: FIELD_TABLES=write cargo test -p order-operator field_tables"
    );
}
