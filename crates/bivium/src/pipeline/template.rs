//! Templates: JSON in which `{"$from": "PLACE"}` stands for a value that is only known later.

use bivium_interface::{Blob, Payload, PluginError, Result, head, nearest};
use serde_json::{Map, Value};

const KEY: &str = "$from";

/// A place that a template names: a source, and a JSON Pointer into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location<'a> {
    pub(super) source: &'a str,
    pub(super) pointer: &'a str,
}

impl<'a> Location<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let at = text.find('/').unwrap_or(text.len());
        let (source, pointer) = text.split_at(at);
        Self { source, pointer }
    }
}

/// The place that a value stands for, if it is a reference; an error if the reference is malformed.
fn place_of(value: &Value) -> Option<Result<Location<'_>, String>> {
    let object = value.as_object()?;
    let Some(place) = object.get(KEY) else {
        // Otherwise a mistyped key would be taken as data.
        let (key, place) = object.iter().next().filter(|_| object.len() == 1)?;
        let names_a_place =
            place.as_str().is_some_and(|place| place.starts_with("inputs/") || place.starts_with("item/"));
        let is_meant = nearest(key, [KEY]).is_some() && (key.starts_with('$') || names_a_place);
        return is_meant.then(|| Err(format!("{value} is not a reference; did you mean `{KEY}`?")));
    };
    Some(match place.as_str() {
        Some(place) if object.len() == 1 => Ok(Location::parse(place)),
        _ => Err(format!(
            "{value} is not a reference: it must be an object with `{KEY}` as its only key, and a string as the value"
        )),
    })
}

/// Calls `seen` for every reference in a template.
pub(super) fn places<'a>(template: &'a Value, seen: &mut impl FnMut(Result<Location<'a>, String>)) {
    if let Some(place) = place_of(template) {
        return seen(place);
    }
    match template {
        Value::Array(items) => items.iter().for_each(|item| places(item, seen)),
        Value::Object(object) => object.values().for_each(|item| places(item, seen)),
        _ => {}
    }
}

/// Replaces the references in a template by their values. `key` is the template's key in the pipeline or the step, and `lookup` returns the
/// value of a source.
pub(super) fn fill<'v>(
    key: &str,
    template: &Map<String, Value>,
    lookup: &impl Fn(&str) -> Option<&'v Payload>,
) -> Result<Payload> {
    let (mut blobs, mut object) = (Vec::new(), Map::with_capacity(template.len()));
    for (name, item) in template {
        let value = filled(item, &mut blobs, lookup).map_err(|error| at(&format!("{key}.{name}"), &error))?;
        object.insert(name.clone(), value);
    }
    Ok(Payload { json: Value::Object(object), blobs })
}

/// The same error with its place in the pipeline in front of the message.
pub(super) fn at(place: &str, error: &PluginError) -> PluginError {
    let placed = PluginError::new(error.code(), format!("{place}: {}", error.message()));
    match error.help() {
        Some(help) => placed.with_help(help),
        None => placed,
    }
}

fn nothing_at(place: Location<'_>, source: Option<&Payload>) -> PluginError {
    let error = PluginError::invalid_input(format!("there is nothing at {}{}", place.source, place.pointer));
    let Some(source) = source else { return error };
    // The innermost part that exists.
    let ends = place.pointer.match_indices('/').map(|(at, _)| at).rev();
    let there = ends.filter_map(|at| place.pointer.get(..at)).find_map(|way| Some((way, source.json.pointer(way)?)));
    let (way, there) = there.unwrap_or(("", &source.json));
    let has = match there {
        Value::Object(object) if object.is_empty() => "is an empty object".to_owned(),
        Value::Object(object) => {
            let keys: Vec<&str> = object.keys().take(10).map(|key| head(key, 50)).collect();
            format!("has {}{}", keys.join(", "), if object.len() > keys.len() { ", …" } else { "" })
        }
        Value::Array(items) => format!("is a list of {}, counted from 0", items.len()),
        other => kind_of(other).to_owned(),
    };
    error.with_help(format!("{}{way} {has}", place.source))
}

/// What a value is, for a message.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "is an object",
        Value::Array(_) => "is a list",
        Value::String(_) => "is a text",
        Value::Number(_) => "is a number",
        Value::Bool(_) => "is true or false",
        Value::Null => "is null",
    }
}

fn filled_object<'v>(
    template: &Map<String, Value>,
    blobs: &mut Vec<Blob>,
    lookup: &impl Fn(&str) -> Option<&'v Payload>,
) -> Result<Map<String, Value>> {
    let mut object = Map::with_capacity(template.len());
    for (key, item) in template {
        object.insert(key.clone(), filled(item, blobs, lookup)?);
    }
    Ok(object)
}

fn filled<'v>(template: &Value, blobs: &mut Vec<Blob>, lookup: &impl Fn(&str) -> Option<&'v Payload>) -> Result<Value> {
    if let Some(place) = place_of(template) {
        let place = place.map_err(PluginError::invalid_input)?;
        let source = lookup(place.source);
        let part = source.and_then(|payload| payload.part(place.pointer)).ok_or_else(|| nothing_at(place, source))?;
        let part = part.shifted(blobs.len());
        blobs.extend(part.blobs);
        return Ok(part.json);
    }
    Ok(match template {
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| filled(item, blobs, lookup)).collect::<Result<_>>()?)
        }
        Value::Object(object) => Value::Object(filled_object(object, blobs, lookup)?),
        plain => plain.clone(),
    })
}

/// Several results as one array.
pub(super) fn gather(results: &[Payload]) -> Payload {
    let mut gathered = Payload::from(Value::Array(Vec::with_capacity(results.len())));
    for result in results {
        let part = result.clone().shifted(gathered.blobs.len());
        if let Value::Array(items) = &mut gathered.json {
            items.push(part.json);
        }
        gathered.blobs.extend(part.blobs);
    }
    gathered
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_bring_their_blobs() {
        let blob = |n: u32| Blob::new(format!("/{n}").into(), "text/plain", 1, None);
        let one = Payload { json: json!({"a": {"$blob": 0}, "b": {"$blob": 1}}), blobs: vec![blob(0), blob(1)] };
        let all = gather(&[one.clone(), one]);
        assert_eq!(all.json[1], json!({"a": {"$blob": 2}, "b": {"$blob": 3}}));

        let template = json!({"x": {"$from": "all/1/b"}, "y": [{"$from": "all/0/a"}, 7]});
        let filled = fill("args", template.as_object().unwrap(), &|name| (name == "all").then_some(&all)).unwrap();
        assert_eq!(filled.json, json!({"x": {"$blob": 0}, "y": [{"$blob": 1}, 7]}));
        let paths: Vec<_> = filled.blobs.iter().map(|blob| blob.path().to_str().unwrap()).collect();
        assert_eq!(paths, ["/1", "/0"]);
    }

    #[test]
    fn a_mistyped_key_of_a_reference_is_not_taken_as_data() {
        for slip in [json!({"$form": "one"}), json!({"from": "inputs/text"}), json!({"from": "item/text"})] {
            let told = place_of(&slip).unwrap().unwrap_err();
            assert!(told.ends_with("did you mean `$from`?"), "{told}");
        }
        for data in [json!({"from": "me"}), json!({"from": 7}), json!({"text": "inputs/text"}), json!({})] {
            assert!(place_of(&data).is_none(), "{data}");
        }
    }

    #[test]
    fn a_missing_place_is_named() {
        let payload = Payload::from(json!({"words": ["a", "b"], "n": 1}));
        for (place, told) in [
            ("item/none", "outputs.x: there is nothing at item/none; item has words, n"),
            (
                "item/words/2/start",
                "outputs.x: there is nothing at item/words/2/start; item/words is a list of 2, counted from 0",
            ),
            ("item/n/x", "outputs.x: there is nothing at item/n/x; item/n is a number"),
        ] {
            let template = json!({"x": {"$from": place}});
            let error = fill("outputs", template.as_object().unwrap(), &|_| Some(&payload)).unwrap_err();
            assert_eq!(error.to_string(), told);
        }
    }
}
