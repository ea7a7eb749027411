//! JSON Schemas (draft 2020-12) of shapes: the forms that `read` accepts and `write` produces.

use serde_json::{Map, Value, json};

use super::numbers::MAX_EXACT;
use super::shape::{Int, Part, Shape};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The direction of values: arguments may be written in more forms than results.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

/// The schema of the named arguments.
pub(super) fn of_arguments(params: &[(String, Part)]) -> Value {
    let mut schema = fields(params, Direction::In);
    schema.shift_insert(0, "$schema".to_owned(), DRAFT.into());
    Value::Object(schema)
}

/// The schema of a method's result, without the error case of a `result`.
pub(super) fn of_result(result: Option<&Part>) -> Value {
    let schema = match result.map(|part| &**part) {
        Some(Shape::Result(ok, _)) => of_option(ok.as_deref(), Direction::Out),
        _ => of_option(result, Direction::Out),
    };
    match schema {
        Value::Object(mut schema) => {
            schema.shift_insert(0, "$schema".to_owned(), DRAFT.into());
            Value::Object(schema)
        }
        other => other,
    }
}

fn of_option(shape: Option<&Part>, direction: Direction) -> Value {
    shape.map_or_else(|| json!({"type": "null"}), |shape| of(shape, direction))
}

fn of(shape: &Shape, direction: Direction) -> Value {
    match shape {
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int(int) => of_int(*int),
        Shape::F32 | Shape::F64 => {
            json!({"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})
        }
        Shape::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
        Shape::String => json!({"type": "string"}),
        Shape::Bytes(len) => of_bytes(*len, direction),
        Shape::List(item, len) => sized(json!({"type": "array", "items": of(item, direction)}), *len),
        Shape::Map(key, value) if ***key == Shape::String => {
            json!({"type": "object", "additionalProperties": of(value, direction)})
        }
        Shape::Map(key, value) => json!({"type": "array", "items": of_tuple([&**key, value], direction)}),
        Shape::Tuple(items) => of_tuple(items, direction),
        Shape::Record(shapes) => Value::Object(fields(shapes, direction)),
        Shape::Variant(cases) => {
            let cases = cases.iter().map(|(name, shape)| match shape {
                Some(shape) => tagged(name, of(shape, direction)),
                None => json!({"const": name}),
            });
            json!({"oneOf": cases.collect::<Vec<_>>()})
        }
        Shape::Enum(names) => json!({"enum": names}),
        Shape::Flags(names) => json!({"type": "array", "items": {"enum": names}, "uniqueItems": true}),
        Shape::Option(some) => {
            let form = if some.may_be_null() { tagged("some", of(some, direction)) } else { of(some, direction) };
            json!({"anyOf": [form, {"type": "null"}]})
        }
        Shape::Result(ok, err) => {
            json!({"oneOf": [
                tagged("ok", of_option(ok.as_deref(), direction)),
                tagged("err", of_option(err.as_deref(), direction)),
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

fn of_bytes(len: Option<u32>, direction: Direction) -> Value {
    let mut forms = vec![
        json!({"type": "string", "contentEncoding": "base64"}),
        tagged("$blob", json!({"type": "integer", "minimum": 0})),
    ];
    if direction == Direction::In {
        forms.push(sized(json!({"type": "array", "items": of_int(Int::U8)}), len));
    }
    json!({"anyOf": forms})
}

fn of_tuple<'a>(items: impl IntoIterator<Item = &'a Part>, direction: Direction) -> Value {
    let items: Vec<Value> = items.into_iter().map(|item| of(item, direction)).collect();
    json!({"type": "array", "prefixItems": items, "items": false, "minItems": items.len()})
}

fn sized(mut schema: Value, len: Option<u32>) -> Value {
    if let (Some(len), Some(schema)) = (len, schema.as_object_mut()) {
        schema.insert("minItems".to_owned(), len.into());
        schema.insert("maxItems".to_owned(), len.into());
    }
    schema
}

/// An object with this single key.
fn tagged(name: &str, value: Value) -> Value {
    json!({"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": false})
}

fn fields(shapes: &[(String, Part)], direction: Direction) -> Map<String, Value> {
    let properties: Map<String, Value> =
        shapes.iter().map(|(name, shape)| (name.clone(), of(shape, direction))).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties.into());
    // A result has every field; arguments may omit fields that can be null.
    let required = shapes.iter().filter(|(_, shape)| direction == Direction::Out || !shape.may_be_null());
    let required: Vec<&String> = required.map(|(name, _)| name).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}
