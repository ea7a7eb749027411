//! A plugin's configuration schema: validation with every violation at once, and defaults.

use std::collections::{BTreeSet, HashMap};

use bivium_interface::{Manifest, PluginError, Problem, Result, nearest};
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

/// A compiled JSON Schema (draft 2020-12 unless it says otherwise).
pub(crate) struct Schema {
    document: Value,
    validator: Validator,
}

impl Schema {
    /// A schema deeper than this has its inner defaults left alone: it was not written by a person.
    const MAX_DEPTH: usize = 32;

    /// Subschemas that checking one value may go through. A hand-written schema has some hundreds; one whose
    /// definitions each refer twice to the next has more than any host has time for.
    const MAX_COST: u64 = 100_000;

    /// Compiles a schema that a plugin gave. References outside of it are not followed, its patterns run on a
    /// linear-time engine, and what it costs is bounded: the schema may be a stranger's.
    pub(crate) fn compile(document: Value) -> Result<Self> {
        let checks = document.clone();
        Self::checked_by(document, &checks)
    }

    /// The schema that a manifest has, if it has one.
    pub(crate) fn of_manifest(manifest: &Manifest) -> Option<Result<Self>> {
        let document = manifest.config_schema.as_ref();
        let document = document.filter(|schema| schema.as_object().is_none_or(|object| !object.is_empty()))?;
        Some(Self::of_plugin(Some(manifest), document.clone()))
    }

    /// The schema that a plugin gave, with its manifest if it has one.
    pub(crate) fn of_plugin(manifest: Option<&Manifest>, document: Value) -> Result<Self> {
        let mut extensions = manifest.into_iter().flat_map(|manifest| manifest.extensions.iter());
        match extensions.find_map(|extension| extension.config_checks(&document)) {
            Some(checks) => Self::checked_by(document, &checks),
            None => Self::compile(document),
        }
    }

    fn checked_by(document: Value, checks: &Value) -> Result<Self> {
        if cost(&document, &document, &mut HashMap::new(), 0) > Self::MAX_COST {
            return Err(PluginError::invalid_config("the plugin's configuration schema is too large or too entangled")
                .with_help("let fewer of its definitions refer to each other"));
        }
        let validator =
            jsonschema::options().with_pattern_options(PatternOptions::regex()).build(checks).map_err(|error| {
                PluginError::invalid_config(format!("the plugin's configuration schema is not valid: {error}"))
                    .with_help("mend `config_schema` in the manifest or in the plugin")
            })?;
        Ok(Self { document, validator })
    }

    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Fills in the defaults and checks the whole.
    pub(crate) fn complete(&self, mut config: Value) -> Result<Value> {
        if config.is_null() {
            config = Value::Object(Map::new());
        }
        fill(&mut config, &self.document, &self.document, 0);
        let problems: Vec<Problem> = self
            .validator
            .iter_errors(&config)
            .map(|error| Problem::new(error.instance_path().to_string(), self.sentence(&error)))
            .collect();
        if problems.is_empty() {
            return Ok(config);
        }
        Err(PluginError::invalid_config("the configuration does not fit the plugin's schema").with_problems(problems))
    }
}

impl Schema {
    /// What is wrong, with the nearest key that there is where one is unknown.
    fn sentence(&self, error: &ValidationError<'_>) -> String {
        let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() else {
            return match error.kind() {
                ValidationErrorKind::FalseSchema => "there is no such setting".to_owned(),
                ValidationErrorKind::Required { property } => format!("{property} is missing, and has no default"),
                _ => error.to_string(),
            };
        };
        let properties = error.schema_path().as_str().rsplit_once('/').map_or("", |(above, _)| above);
        let known = self.document.pointer(properties).and_then(|schema| schema.get("properties")?.as_object());
        let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let one = |key: &String| match (nearest(key, names.iter().copied()), names.as_slice()) {
            (Some(nearest), _) => format!("there is no setting {key:?}; did you mean {nearest:?}?"),
            (None, []) => format!("there is no setting {key:?}: it has none"),
            (None, names) => format!("there is no setting {key:?}; there are {}", names.join(", ")),
        };
        unexpected.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// Puts each property's `default` where the property is missing, into nested objects too, and through the `$ref`
/// and `allOf` by which generated schemas are put together.
fn fill(config: &mut Value, schema: &Value, root: &Value, depth: usize) {
    if depth == Schema::MAX_DEPTH {
        return;
    }
    if let Some(target) = target(schema, root) {
        fill(config, target, root, depth + 1);
    }
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        fill(config, part, root, depth + 1);
    }
    let (Some(object), Some(properties)) =
        (config.as_object_mut(), schema.get("properties").and_then(Value::as_object))
    else {
        return;
    };
    for (name, property) in properties {
        if let (false, Some(default)) = (object.contains_key(name), property.get("default")) {
            object.insert(name.clone(), default.clone());
        }
        if let Some(value) = object.get_mut(name) {
            fill(value, property, root, depth + 1);
        }
    }
}

/// What a `$ref` within the document refers to.
fn target<'s>(schema: &Value, root: &'s Value) -> Option<&'s Value> {
    root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
}

/// How many subschemas lie below a schema, those behind references counted each time that they are referred to.
/// `known` has the references met so far; one that refers to itself counts as one, since the value ends the circle.
fn cost<'s>(schema: &'s Value, root: &'s Value, known: &mut HashMap<&'s str, u64>, depth: usize) -> u64 {
    if depth > 8 * Schema::MAX_DEPTH {
        return u64::MAX;
    }
    let mut sum: u64 = 1;
    let mut add = |more: u64| sum = sum.saturating_add(more);
    match schema {
        Value::Array(items) => items.iter().for_each(|item| add(cost(item, root, known, depth + 1))),
        Value::Object(object) => object.values().for_each(|item| add(cost(item, root, known, depth + 1))),
        _ => {}
    }
    if let (Some(reference), Some(target)) = (schema.get("$ref").and_then(Value::as_str), target(schema, root)) {
        let behind = match known.get(reference) {
            Some(cost) => *cost,
            None => {
                known.insert(reference, 1);
                let cost = cost(target, root, known, depth + 1);
                known.insert(reference, cost);
                cost
            }
        };
        sum = sum.saturating_add(behind);
    }
    sum
}

/// Applies a JSON Merge Patch (RFC 7396): objects are merged, null removes, anything else replaces.
pub(crate) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(object) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(&key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Puts together what two have made of the same `base`: what only one of them changed is as that one has it, and what
/// both changed is as in `ours`. Objects are put together key by key.
pub(crate) fn combine(base: &Value, ours: &Value, theirs: &Value) -> Value {
    if ours == base || ours == theirs {
        return theirs.clone();
    }
    let (true, Value::Object(ours_object), Value::Object(theirs_object)) = (theirs != base, ours, theirs) else {
        return ours.clone();
    };
    let keys: BTreeSet<&String> = ours_object.keys().chain(theirs_object.keys()).collect();
    let mut whole = Map::new();
    for key in keys {
        let value = match (base.get(key), ours_object.get(key), theirs_object.get(key)) {
            (base, Some(ours), Some(theirs)) => Some(combine(base.unwrap_or(&Value::Null), ours, theirs)),
            // One of them has removed it: that counts unless the other has changed it.
            (Some(base), Some(one), None) | (Some(base), None, Some(one)) if one == base => None,
            (Some(_), None, Some(_)) => None,
            (_, one, other) => one.or(other).cloned(),
        };
        whole.extend(value.map(|value| (key.clone(), value)));
    }
    Value::Object(whole)
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema::compile(json!({
            "type": "object",
            "properties": {
                "mask": {"type": "string", "default": "#"},
                "limit": {"type": "integer", "minimum": 1},
                "inner": {"type": "object", "default": {}, "properties": {"on": {"type": "boolean", "default": true}}}
            },
            "additionalProperties": false
        }))
        .unwrap()
    }

    #[test]
    fn defaults_are_filled_in_at_every_depth() {
        assert_eq!(schema().complete(Value::Null).unwrap(), json!({"mask": "#", "inner": {"on": true}}));
        let given = json!({"mask": "x", "inner": {"on": false}});
        assert_eq!(schema().complete(given.clone()).unwrap(), given);
    }

    #[test]
    fn defaults_are_filled_in_through_references_and_parts() {
        let schema = Schema::compile(json!({
            "properties": {"inner": {"$ref": "#/$defs/inner"}},
            "allOf": [{"properties": {"part": {"default": 1}}}],
            "$defs": {"inner": {"default": {}, "properties": {"x": {"default": 2}}}}
        }));
        assert_eq!(schema.unwrap().complete(json!({"inner": {}})).unwrap(), json!({"inner": {"x": 2}, "part": 1}));
    }

    #[test]
    fn an_entangled_schema_is_refused_and_a_circular_one_is_not() {
        let mut definitions = Map::new();
        for n in 0..40 {
            let next = json!({"$ref": format!("#/$defs/{}", n + 1)});
            definitions.insert(n.to_string(), json!({"allOf": [next.clone(), next]}));
        }
        definitions.insert("40".to_owned(), json!({}));
        let entangled = json!({"$ref": "#/$defs/0", "$defs": definitions});
        assert!(Schema::compile(entangled).err().unwrap().to_string().contains("too entangled"));

        let tree = json!({"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}});
        let schema = Schema::compile(tree).unwrap();
        assert!(schema.complete(json!({"children": [{"children": []}]})).is_ok());
        assert!(schema.complete(json!({"children": [{"children": 1}]})).is_err());
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let error = schema().complete(json!({"mask": 1, "limit": 0, "more": true})).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert_eq!(error.problems().len(), 3, "{error}");
        assert!(error.problems().iter().any(|problem| problem.location == "/limit"));
    }

    #[test]
    fn a_bad_schema_is_an_error_and_no_panic() {
        for bad in [json!({"type": "nonsense"}), json!({"$ref": "https://example.com/x"}), json!(7)] {
            assert!(Schema::compile(bad).is_err_and(|error| error.code() == ErrorCode::InvalidConfig));
        }
    }

    #[test]
    fn the_schema_of_another_hosts_plugin_may_give_names_and_defaults_only() {
        let document = json!({"name": "C", "type": "object", "properties": {
            "options": {"type": "string", "default": {"beam": 5}},
            "language": {"type": ["string", "null"], "enum": ["en", "de"], "default": null}}});
        assert!(Schema::compile(document.clone()).unwrap().complete(Value::Null).is_err());
        let checks =
            json!({"type": "object", "properties": {"options": true, "language": true}, "additionalProperties": false});
        let schema = Schema::checked_by(document, &checks).unwrap();
        assert_eq!(schema.complete(Value::Null).unwrap(), json!({"options": {"beam": 5}, "language": null}));
        let error = schema.complete(json!({"langauge": "en"})).unwrap_err();
        assert!(error.to_string().contains("langauge"), "{error}");
    }

    #[test]
    fn a_merge_patch_replaces_merges_and_removes() {
        let mut target = json!({"a": 1, "b": {"c": 2, "d": 3}});
        merge(&mut target, json!({"a": null, "b": {"c": 4}, "e": [null]}));
        assert_eq!(target, json!({"b": {"c": 4, "d": 3}, "e": [null]}));
    }

    #[test]
    fn what_two_have_changed_is_put_together_and_ours_counts_where_both_did() {
        let base = json!({"a": 1, "b": 2, "c": {"d": 1, "e": 2}, "gone": 1, "kept": 1});
        let ours = json!({"a": 10, "b": 2, "c": {"d": 5, "e": 2}, "kept": 1, "new": {"x": 1}});
        let theirs = json!({"a": 11, "b": 20, "c": {"d": 1}, "gone": 1, "new": {"y": 1}});
        let whole = json!({"a": 10, "b": 20, "c": {"d": 5}, "new": {"x": 1, "y": 1}});
        assert_eq!(combine(&base, &ours, &theirs), whole);
        assert_eq!(combine(&base, &base, &theirs), theirs);
        assert_eq!(combine(&base, &ours, &base), ours);
        assert_eq!(combine(&Value::Null, &json!({"a": 1}), &json!({"b": null})), json!({"a": 1, "b": null}));
        assert_eq!(combine(&Value::Null, &json!({"a": 1}), &Value::Null), json!({"a": 1}));
        // Removed by us, changed by them: what this host says counts. Changed by us, removed by them: the same.
        assert_eq!(combine(&json!({"a": 1}), &json!({}), &json!({"a": 2})), json!({}));
        assert_eq!(combine(&json!({"a": 1}), &json!({"a": 2}), &json!({})), json!({"a": 2}));
    }
}
