//! As much of JSON Schema as our schema uses. A keyword that is not known here is a complaint,
//! never passed over.

use serde_json::Value;

/// Keywords that ask nothing, or nothing of this value; `additionalProperties: false` is seen to
/// with the properties.
const KNOWN: [&str; 15] = [
    "$schema",
    "$defs",
    "title",
    "description",
    "format",
    "default",
    "const",
    "enum",
    "minimum",
    "maximum",
    "required",
    "items",
    "properties",
    "patternProperties",
    "additionalProperties",
];

/// What is wrong with `value`; empty when nothing is.
pub fn validate(schema: &Value, value: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    Walk { root: schema, complaints: &mut complaints }.check(schema, None, value, "$");
    complaints
}

struct Walk<'a> {
    root: &'a Value,
    complaints: &'a mut Vec<String>,
}

impl Walk<'_> {
    /// `beside`: the schema that refers to this one, whose own members count too.
    fn check(&mut self, schema: &Value, beside: Option<&Value>, value: &Value, at: &str) {
        let Some(keywords) = schema.as_object() else {
            return self.complain(at, format_args!("is not described by an object: {schema}"));
        };
        for (keyword, wanted) in keywords {
            match (keyword.as_str(), value) {
                ("$ref", _) => match wanted.as_str().and_then(|reference| self.root.pointer(reference.trim_start_matches('#'))) {
                    Some(target) => self.check(target, Some(schema), value, at),
                    None => self.complain(at, format_args!("leads to nothing: {wanted}")),
                },
                ("oneOf" | "anyOf", _) => {
                    let matches = wanted.as_array().map_or(0, |kinds| kinds.iter().filter(|kind| self.fits(kind, value)).count());
                    if matches == 0 || (keyword == "oneOf" && matches > 1) {
                        self.complain(at, format_args!("fits {matches} of {keyword}"));
                    }
                }
                ("type", _) => {
                    let types = wanted.as_array().map_or_else(|| vec![wanted], |types| types.iter().collect());
                    if !types.iter().any(|kind| is_of(kind, value)) {
                        self.complain(at, format_args!("is not {wanted}: {value}"));
                    }
                }
                ("const", _) if value != wanted => self.complain(at, format_args!("is not {wanted}: {value}")),
                ("enum", _) if !wanted.as_array().is_some_and(|allowed| allowed.contains(value)) => {
                    self.complain(at, format_args!("is none of {wanted}: {value}"));
                }
                ("minimum", Value::Number(number)) if number.as_f64() < wanted.as_f64() => {
                    self.complain(at, format_args!("is below {wanted}"));
                }
                ("maximum", Value::Number(number)) if number.as_f64() > wanted.as_f64() => {
                    self.complain(at, format_args!("is above {wanted}"));
                }
                ("required", Value::Object(members)) => {
                    for name in wanted.as_array().into_iter().flatten().filter_map(Value::as_str) {
                        if !members.contains_key(name) {
                            self.complain(at, format_args!("lacks {name}"));
                        }
                    }
                }
                ("items", Value::Array(items)) => {
                    for (index, item) in items.iter().enumerate() {
                        self.check(wanted, None, item, &format!("{at}[{index}]"));
                    }
                }
                ("properties", Value::Object(members)) => {
                    for (name, member) in members {
                        if let Some(schema) = wanted.get(name) {
                            self.check(schema, None, member, &format!("{at}.{name}"));
                        }
                    }
                    for name in members.keys() {
                        if self.describes(schema, name) || beside.is_some_and(|beside| self.describes(beside, name)) {
                            continue;
                        }
                        self.complain(at, format_args!("has a member that is not described: {name}"));
                    }
                }
                // The one pattern there is stands for the numbers of CPUs.
                ("patternProperties", Value::Object(members)) => {
                    for (name, member) in members {
                        let number = name.bytes().all(|byte| byte.is_ascii_digit());
                        match wanted.get("^\\d+$") {
                            Some(schema) if number => self.check(schema, None, member, &format!("{at}.{name}")),
                            _ => self.complain(at, format_args!("has a member that fits no pattern: {name}")),
                        }
                    }
                }
                ("additionalProperties", Value::Object(members)) if wanted.is_object() => {
                    for (name, member) in members {
                        self.check(wanted, None, member, &format!("{at}.{name}"));
                    }
                }
                (known, _) if KNOWN.contains(&known) => {}
                _ => self.complain(at, format_args!("uses a keyword that this test does not know: {keyword}")),
            }
        }
    }

    fn complain(&mut self, at: &str, what: std::fmt::Arguments) {
        self.complaints.push(format!("{at} {what}"));
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut complaints = Vec::new();
        Walk { root: self.root, complaints: &mut complaints }.check(schema, None, value, "$");
        complaints.is_empty()
    }

    /// Whether a schema names a member, itself or by reference.
    fn describes(&self, schema: &Value, name: &str) -> bool {
        let referred =
            schema.get("$ref").and_then(Value::as_str).and_then(|reference| self.root.pointer(reference.trim_start_matches('#')));
        schema.get("properties").is_some_and(|properties| properties.get(name).is_some())
            || referred.is_some_and(|target| self.describes(target, name))
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}
