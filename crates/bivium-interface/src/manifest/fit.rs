//! Compares a file with its schema and reports all differences.
//!
//! It knows only the keywords that `schemars` makes from the types of this project. A general validator would know neither lines nor
//! the words of authors of manifests.

use std::fmt::Display;

use regex_lite::Regex;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

use super::node::{Entry, Kind, Node};
use super::problems::{Problems, quoted};
use super::schema::properties;
use crate::nearest::ALIKE;

/// The name of a manifest in messages.
const MANIFEST: &str = "a manifest";

/// Reports every place where `node`, a manifest or another file, does not fit `schema`, which `schemars` has made.
pub(super) fn check(node: &Node, schema: &Value, problems: &mut Problems) {
    check_as(node, schema, MANIFEST, problems);
}

/// As [`check`], for a file of another kind, which `what` names in messages.
pub(super) fn check_as(node: &Node, schema: &Value, what: &str, problems: &mut Problems) {
    Walk { root: schema, what, problems }.node(node, schema, "");
}

/// The typed value of a file of another kind than a manifest, if it fits the schema of its type; else what is wrong is added.
pub fn fitted<T: DeserializeOwned>(root: Node, schema: &Value, problems: &mut Problems) -> Option<T> {
    check(&root, schema, problems);
    build(root, problems)
}

/// Makes the typed value of a tree without problems.
pub(super) fn build<T: DeserializeOwned>(root: Node, problems: &mut Problems) -> Option<T> {
    if !problems.is_empty() {
        return None;
    }
    let line = root.line;
    serde_json::from_value(root.into_value()).map_err(|error| unreadable(line, &error, problems)).ok()
}

/// Notes that a value is not of its type, though it fits the schema of that type: then the schema says less, which is our mistake.
pub(super) fn unreadable(line: usize, why: &dyn Display, problems: &mut Problems) {
    problems.add(line, format!("this manifest cannot be read: {why}"));
}

struct Walk<'s, 'p> {
    root: &'s Value,
    what: &'p str,
    problems: &'p mut Problems,
}

impl<'s> Walk<'s, '_> {
    /// `at` is the path from the root, such as `permissions.filesystem[0].path`; empty for the root.
    fn node(&mut self, node: &Node, schema: &'s Value, at: &str) {
        if matches!(node.kind, Kind::Broken) || (matches!(node.kind, Kind::Null) && is_nullable(schema)) {
            return;
        }
        let schema = self.target(schema);
        if let Some(choices) = choices(schema) {
            self.choice(node, &choices, at);
            return;
        }
        if !has_type(node, schema) {
            self.add(node.line, at, &format!("must be {}, not {}", type_words(schema), what(node)));
            return;
        }
        match &node.kind {
            Kind::String(text) => self.text(text, schema, node.line, at),
            Kind::Number(number) => self.number(number, schema, node.line, at),
            Kind::Array(items) => self.array(items, schema, node.line, at),
            Kind::Object(entries) => self.object(entries, schema, node.line, at),
            Kind::Null | Kind::Bool(_) | Kind::Broken => {}
        }
    }

    /// The schema that a `$ref` names, or the one beside null in an `anyOf`.
    fn target(&self, schema: &'s Value) -> &'s Value {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let found = reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(schema, |found| self.target(found));
        }
        let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        alternatives.into_iter().find(|one| !is_nullable(one)).map_or(schema, |one| self.target(one))
    }

    fn choice(&mut self, node: &Node, choices: &[&str], at: &str) {
        let Some(text) = node.as_str() else {
            return self.add(node.line, at, &format!("must be {}, not {}", listed(choices), what(node)));
        };
        if !choices.contains(&text) {
            self.add(node.line, at, &format!("must be {}, not {}", listed(choices), quoted(text)));
        }
    }

    fn text(&mut self, text: &str, schema: &Value, line: usize, at: &str) {
        let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else { return };
        if !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)) {
            let says = schema.get("patternErrorMessage").and_then(Value::as_str).unwrap_or("has the wrong form");
            self.add(line, at, &format!("{says}, not {}", quoted(text)));
        }
    }

    fn number(&mut self, number: &Number, schema: &Value, line: usize, at: &str) {
        let Some(value) = number.as_i128() else { return };
        let bound = |keyword| schema.get(keyword).and_then(Value::as_i64).map(i128::from);
        let (least, most) = (bound("minimum"), bound("maximum"));
        if least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most) {
            return;
        }
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, most) => format!("at most {}", most.unwrap_or_default()),
        };
        self.add(line, at, &format!("must be {range}, not {value}"));
    }

    fn array(&mut self, items: &[Node], schema: &'s Value, line: usize, at: &str) {
        self.count(items.len(), "items", (schema.get("minItems"), schema.get("maxItems")), line, at);
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                if self.problems.is_full() {
                    break;
                }
                self.node(item, schema, &format!("{at}[{index}]"));
            }
        }
    }

    fn object(&mut self, entries: &[Entry], schema: &'s Value, line: usize, at: &str) {
        self.count(entries.len(), "keys", (None, schema.get("maxProperties")), line, at);
        for entry in entries {
            if self.problems.is_full() {
                return;
            }
            let way = way(at, &entry.key);
            if let Some(schema) = schema.pointer("/properties").and_then(|known| known.get(&entry.key)) {
                self.node(&entry.value, schema, &way);
                continue;
            }
            if let Some(names) = schema.get("propertyNames") {
                self.text(&entry.key, names, entry.line, &format!("a key of {at}"));
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => self.unknown(entry, schema, at),
                Some(rest) => self.node(&entry.value, rest, &way),
                None => {}
            }
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !entries.iter().any(|entry| entry.key == key) {
                self.add(line, &way(at, key), "is missing");
            }
        }
    }

    fn count(&mut self, count: usize, things: &str, bounds: (Option<&Value>, Option<&Value>), line: usize, at: &str) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        if let Some(least) = bounds.0.and_then(Value::as_u64).filter(|least| count < *least) {
            self.add(line, at, &format!("must have at least {least} {things}, not {count}"));
        }
        if let Some(most) = bounds.1.and_then(Value::as_u64).filter(|most| count > *most) {
            self.add(line, at, &format!("must have at most {most} {things}, not {count}"));
        }
    }

    /// Reports an unknown key. Usually it is mistyped or in the wrong object.
    fn unknown(&mut self, entry: &Entry, schema: &'s Value, at: &str) {
        let key: String = entry.key.chars().take(64).collect();
        let elsewhere = properties(self.root)
            .find(|(_, inner)| properties(self.target(inner)).any(|(known, _)| *known == key))
            .filter(|(outer, _)| !at.starts_with(outer.as_str()))
            .map(|(outer, _)| format!("it belongs in `{outer}`"));
        let nearest = || {
            let (likeness, known) = properties(schema)
                .map(|(known, inner)| (strsim::jaro_winkler(&key, known), known, inner.get("deprecated").is_some()))
                .filter(|(likeness, _, deprecated)| *likeness > if *deprecated { ALIKE } else { 0.0 })
                .map(|(likeness, known, _)| (likeness, known))
                .max_by(|one, other| one.0.total_cmp(&other.0))?;
            Some(if likeness > ALIKE {
                format!("did you mean `{known}`?")
            } else {
                format!("the most similar known key is `{known}`")
            })
        };
        let within = if at.is_empty() { String::new() } else { format!(" in `{at}`") };
        let listed = if self.what == MANIFEST { "docs/manifest.md" } else { "its schema" };
        let hint = elsewhere.or_else(nearest).unwrap_or_else(|| format!("{listed} lists the known keys"));
        self.problems.add(entry.line, format!("unknown key {}{within}; {hint}", quoted(&entry.key)));
    }

    fn add(&mut self, line: usize, at: &str, clause: &str) {
        let subject = if at.is_empty() { self.what } else { at };
        self.problems.add(line, format!("{subject} {clause}"));
    }
}

fn way(at: &str, key: &str) -> String {
    let plain = key.len() <= 64 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let key = if plain { key.to_owned() } else { quoted(key) };
    if at.is_empty() { key } else { format!("{at}.{key}") }
}

/// The names of the types that a schema allows.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_nullable(schema: &Value) -> bool {
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    types(schema).contains(&"null") || alternatives.is_some_and(|several| several.iter().any(is_nullable))
}

fn has_type(node: &Node, schema: &Value) -> bool {
    let types = types(schema);
    let name = match &node.kind {
        Kind::Null => "null",
        Kind::Bool(_) => "boolean",
        Kind::Number(number) if number.is_f64() => "number",
        Kind::Number(_) => "integer",
        Kind::String(_) => "string",
        Kind::Array(_) => "array",
        Kind::Object(_) => "object",
        Kind::Broken => return true,
    };
    types.is_empty() || types.contains(&name) || (name == "integer" && types.contains(&"number"))
}

/// The texts that the schema of an enum allows.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    if let Some(one) = schema.get("const") {
        return Some(one.as_str().into_iter().collect());
    }
    let several = schema.get("enum").or_else(|| schema.get("oneOf"))?.as_array()?;
    Some(several.iter().filter_map(|one| one.get("const").unwrap_or(one).as_str()).collect())
}

fn listed(choices: &[&str]) -> String {
    choices.iter().map(|choice| format!("{choice:?}")).collect::<Vec<_>>().join(" or ")
}

fn type_words(schema: &Value) -> String {
    let words = types(schema).into_iter().filter_map(|name| match name {
        "string" => Some("a string"),
        "integer" => Some("a whole number"),
        "number" => Some("a number"),
        "boolean" => Some("true or false"),
        "array" => Some("a list"),
        "object" => Some("an object"),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" or ")
}

fn what(node: &Node) -> String {
    match &node.kind {
        Kind::Null | Kind::Broken => "null".to_owned(),
        Kind::Bool(value) => value.to_string(),
        Kind::Number(number) => number.to_string(),
        Kind::String(_) => "a string".to_owned(),
        Kind::Array(_) => "a list".to_owned(),
        Kind::Object(_) => "an object".to_owned(),
    }
}
