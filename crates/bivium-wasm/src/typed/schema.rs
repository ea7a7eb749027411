//! JSON Schemas (draft 2020-12) of shapes: what `read` takes and `write` gives, written down.

use serde_json::{Map, Value, json};

use super::numbers::MAX_EXACT;
use super::shape::{Int, Part, Shape};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Which way values go: what comes in may be written in more ways than what goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// The schema of the named arguments.
pub(super) fn of_arguments(params: &[(String, Part)]) -> Value {
    let mut schema = fields(params, Way::In);
    schema.shift_insert(0, "$schema".to_owned(), DRAFT.into());
    Value::Object(schema)
}

/// The schema of a method's result; the error of a `result` is no result.
pub(super) fn of_result(result: Option<&Part>) -> Value {
    let schema = match result.map(|part| &**part) {
        Some(Shape::Result(ok, _)) => of_option(ok.as_deref(), Way::Out),
        _ => of_option(result, Way::Out),
    };
    match schema {
        Value::Object(mut schema) => {
            schema.shift_insert(0, "$schema".to_owned(), DRAFT.into());
            Value::Object(schema)
        }
        other => other,
    }
}

fn of_option(shape: Option<&Part>, way: Way) -> Value {
    shape.map_or_else(|| json!({"type": "null"}), |shape| of(shape, way))
}

fn of(shape: &Shape, way: Way) -> Value {
    match shape {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int(int) => of_int(*int),
        Shape::F32 | Shape::F64 => {
            json!({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})
        }
        Shape::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
        Shape::String => json!({"type": "string"}),
        Shape::Bytes(len) => of_bytes(*len, way),
        Shape::List(item, len) => sized(json!({"type": "array", "items": of(item, way)}), *len),
        Shape::Map(key, value) if ***key == Shape::String => {
            json!({"type": "object", "additionalProperties": of(value, way)})
        }
        Shape::Map(key, value) => json!({"type": "array", "items": of_tuple([&**key, value], way)}),
        Shape::Tuple(items) => of_tuple(items, way),
        Shape::Record(shapes) => Value::Object(fields(shapes, way)),
        Shape::Variant(cases) => {
            let cases = cases.iter().map(|(name, shape)| match shape {
                Some(shape) => tagged(name, of(shape, way)),
                None => json!({"const": name}),
            });
            json!({"oneOf": cases.collect::<Vec<_>>()})
        }
        Shape::Enum(names) => json!({"enum": names}),
        Shape::Flags(names) => json!({"type": "array", "items": {"enum": names}, "uniqueItems": true}),
        Shape::Option(some) => {
            let form = if some.may_be_null() { tagged("some", of(some, way)) } else { of(some, way) };
            json!({"anyOf": [form, {"type": "null"}]})
        }
        Shape::Result(ok, err) => {
            json!({"oneOf": [
                tagged("ok", of_option(ok.as_deref(), way)),
                tagged("err", of_option(err.as_deref(), way)),
            ]})
        }
    }
}

fn of_int(int: Int) -> Value {
    let (_, least, greatest) = int.range();
    let number = |least: i128, greatest: i128| {
        let mut schema = json!({"type": "integer"});
        for (key, bound) in [("minimum", least), ("maximum", greatest)] {
            let bound = i64::try_from(bound).map(Value::from).or_else(|_| u64::try_from(bound).map(Value::from));
            if let (Ok(bound), Some(schema)) = (bound, schema.as_object_mut()) {
                schema.insert(key.to_owned(), bound);
            }
        }
        schema
    };
    if greatest <= MAX_EXACT {
        return number(least, greatest);
    }
    let digits = if least < 0 { "^-?[0-9]{1,19}$" } else { "^[0-9]{1,20}$" };
    json!({"anyOf": [number(least, greatest), {"type": "string", "pattern": digits}]})
}

fn of_bytes(len: Option<u32>, way: Way) -> Value {
    let mut forms = vec![
        json!({"type": "string", "contentEncoding": "base64"}),
        tagged("$blob", json!({"type": "integer", "minimum": 0})),
    ];
    if way == Way::In {
        forms.push(sized(json!({"type": "array", "items": of_int(Int::U8)}), len));
    }
    json!({"anyOf": forms})
}

fn of_tuple<'a>(items: impl IntoIterator<Item = &'a Part>, way: Way) -> Value {
    let items: Vec<Value> = items.into_iter().map(|item| of(item, way)).collect();
    json!({"type": "array", "prefixItems": items, "items": false, "minItems": items.len()})
}

fn sized(mut schema: Value, len: Option<u32>) -> Value {
    if let (Some(len), Some(schema)) = (len, schema.as_object_mut()) {
        schema.insert("minItems".to_owned(), len.into());
        schema.insert("maxItems".to_owned(), len.into());
    }
    schema
}

/// An object of this one key.
fn tagged(name: &str, value: Value) -> Value {
    json!({"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": false})
}

fn fields(shapes: &[(String, Part)], way: Way) -> Map<String, Value> {
    let properties: Map<String, Value> = shapes.iter().map(|(name, shape)| (name.clone(), of(shape, way))).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties.into());
    // What goes out has every field; what comes in may leave those out that may be none.
    let required = shapes.iter().filter(|(_, shape)| way == Way::Out || !shape.may_be_null());
    let required: Vec<&String> = required.map(|(name, _)| name).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}
