//! A call's arguments on the command line: `key=value`, `key:=JSON`, `key@=PATH`, a JSON object from a file.
//!
//! In the JSON that a user gives, `{"$blob": {"path": …}}` stands for a file. Results are printed in the same form
//! (`output::result`), so that one run can read what another printed. A plugin cannot forge it: in a payload `$blob` is an
//! index, and data with a key of that name is escaped.

use std::collections::BTreeSet;
use std::path::Path;

use bivium::{Blob, Call, Payload, PluginError};
use bivium_interface::exact::{self, Unread};
use bivium_interface::{read_text, read_text_from};
use serde_json::{Map, Value};

use crate::advice::Text;
use crate::args::{Inputs, Run};
use crate::assignment::{Assignment, Given};
use crate::failure::Failure;
use crate::settings::patch;

/// The key of an object that stands for a file.
pub(crate) const BLOB: &str = "$blob";
/// The largest JSON document of arguments, in bytes. Larger data belongs in files.
const MOST_JSON: u64 = 1 << 30;

/// The arguments that were given as a text or as a file.
pub(crate) fn texts(assignments: &[Assignment]) -> Vec<Text> {
    let text = |Assignment { key, value }: &Assignment| match value {
        Given::Json(Value::String(value)) => Some(Text { key: key.clone(), value: Some(value.clone()) }),
        Given::File(_) => Some(Text { key: key.clone(), value: None }),
        Given::Json(_) => None,
    };
    assignments.iter().filter_map(text).collect()
}

/// All named arguments together. Reads standard input if `--json -` was given.
pub(crate) fn named(inputs: &Inputs) -> Result<Payload, Failure> {
    let mut blobs = Vec::new();
    let mut named = match &inputs.json {
        Some(file) => object(file, &mut blobs)?,
        None => Map::new(),
    };
    let mut given = BTreeSet::new();
    for Assignment { key, value } in &inputs.assignments {
        if !given.insert(key) {
            return Err(Failure::Usage(format!("the argument {key:?} is given twice")));
        }
        let value = match value {
            Given::Json(value) => take_files(value.clone(), &mut blobs)?,
            Given::File(path) => add(Blob::by_reference(path, None)?, &mut blobs),
        };
        named.insert(key.clone(), value);
    }
    Ok(Payload { json: Value::Object(named), blobs })
}

/// The whole call, without its timeout.
pub(crate) fn call(run: &Run) -> Result<Call, Failure> {
    let mut call = Call::new().method(run.method.clone()).named_from(named(&run.inputs)?)?;
    for value in &run.positional {
        let value = take_files(value.clone(), &mut call.blobs)?;
        call.positional.push(value);
    }
    if let Some(control) = patch(run.control.clone()) {
        call = call.envelope("control", control);
    }
    Ok(call)
}

/// The JSON object in a file, or on standard input for `-`.
fn object(file: &Path, blobs: &mut Vec<Blob>) -> Result<Map<String, Value>, PluginError> {
    let (text, name) = if file == Path::new("-") {
        (read_text_from(std::io::stdin().lock(), MOST_JSON), "standard input".to_owned())
    } else {
        (read_text(file, MOST_JSON), file.display().to_string())
    };
    let text = text.map_err(|error| {
        let what = format!("cannot read the arguments from {name}: {error}");
        let is_json = name.trim_start().starts_with('{');
        match error.kind() {
            _ if is_json => PluginError::invalid_input("--json takes the name of a file, not JSON")
                .with_help("give single arguments as key:=JSON, or all of them on standard input with `--json -`"),
            std::io::ErrorKind::NotFound => PluginError::not_found(what),
            std::io::ErrorKind::PermissionDenied => PluginError::denied(what),
            _ => PluginError::invalid_input(what),
        }
    })?;
    let wrong = |what: &dyn std::fmt::Display| {
        PluginError::invalid_input(format!("the arguments in {name} are not a JSON object: {what}"))
    };
    match exact::from_str(&text).map_err(|error| match error {
        Unread::Inexact(inexact) => PluginError::invalid_input(format!("the arguments in {name}: {inexact}")),
        error => wrong(&error),
    })? {
        Value::Object(object) => match take_files(Value::Object(object), blobs)? {
            Value::Object(object) => Ok(object),
            _ => Err(wrong(&"they are a reference to one file")),
        },
        _ => Err(wrong(&"they are another JSON value")),
    }
}

/// Replaces each object that stands for a file by a reference to a blob, and adds the blob.
fn take_files(value: Value, blobs: &mut Vec<Blob>) -> Result<Value, PluginError> {
    match value {
        Value::Array(items) => items.into_iter().map(|item| take_files(item, blobs)).collect(),
        Value::Object(object) => match object.get(BLOB) {
            Some(blob) if object.len() == 1 => Ok(add(file(blob)?, blobs)),
            Some(_) => Err(not_a_file(&Value::Object(object))),
            None => object.into_iter().map(|(key, item)| Ok((key, take_files(item, blobs)?))).collect(),
        },
        other => Ok(other),
    }
}

fn add(blob: Blob, blobs: &mut Vec<Blob>) -> Value {
    blobs.push(blob);
    Payload::reference(blobs.len() - 1)
}

fn file(value: &Value) -> Result<Blob, PluginError> {
    let part = |key| value.get(key).and_then(Value::as_str);
    match (value.as_object(), part("path")) {
        (Some(_), Some(path)) => Blob::by_reference(path, part("media_type")),
        (Some(_), None) if value.get("size").is_some() => {
            Err(PluginError::invalid_input("the arguments name a file that the run that made it did not keep")
                .with_help("give that run `--out DIR`"))
        }
        _ => Err(not_a_file(value)),
    }
}

fn not_a_file(value: &Value) -> PluginError {
    PluginError::invalid_input(format!("{value} does not stand for a file"))
        .with_help(r#"write {"$blob": {"path": "…"}}, or $$blob for a literal key of that name"#)
}

#[cfg(test)]
mod tests {
    use bivium::ErrorCode;
    use serde_json::json;

    use super::*;

    fn inputs(assignments: &[&str], json: Option<&Path>) -> Inputs {
        let assignments = assignments.iter().map(|text| text.parse().unwrap()).collect();
        Inputs { assignments, json: json.map(Path::to_owned) }
    }

    #[test]
    fn an_assignment_is_a_string_json_or_a_file() {
        let parse = |text: &str| text.parse::<Assignment>().map(|a| (a.key, a.value));
        let text = |key: &str, value: &str| Ok((key.to_owned(), Given::Json(value.into())));
        assert_eq!(parse("text=a=b"), text("text", "a=b"));
        assert_eq!(parse("text="), text("text", ""));
        assert_eq!(parse("a:b=c"), text("a:b", "c"));
        assert_eq!(parse("n:=[1]"), Ok(("n".into(), Given::Json(json!([1])))));
        assert_eq!(parse("f@=./x=y.wav"), Ok(("f".into(), Given::File("./x=y.wav".into()))));
        for wrong in ["text", "=x", ":=1", "@=x", "n:=one", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_given_twice_is_wrong_usage() {
        assert!(matches!(named(&inputs(&["a=1", "a:=2"], None)), Err(Failure::Usage(_))));
    }

    #[test]
    fn an_object_from_a_file_is_added_to_and_holds_files() {
        let dir = tempfile::tempdir().unwrap();
        let (wav, object) = (dir.path().join("x.wav"), dir.path().join("in.json"));
        std::fs::write(&wav, "RIFF").unwrap();
        let text = json!({"a": 1, "b": 2, "in": [{"$blob": {"path": wav, "media_type": "audio/x"}}], "$$blob": 0});
        std::fs::write(&object, text.to_string()).unwrap();
        let payload = named(&inputs(&["b=two", &format!("c@={}", wav.display())], Some(&object))).unwrap();
        let expected = json!({"a": 1, "b": "two", "in": [{"$blob": 0}], "$$blob": 0, "c": {"$blob": 1}});
        assert_eq!(payload.json, expected);
        let types: Vec<_> = payload.blobs.iter().map(Blob::media_type).collect();
        assert_eq!(types, ["audio/x", "audio/wav"]);
        assert!(payload.checked().is_ok());
    }

    #[test]
    fn paths_that_are_not_files_are_refused() {
        let code = |value| take_files(value, &mut Vec::new()).unwrap_err().code();
        for wrong in [json!({"$blob": 0}), json!([{"$blob": {"path": 1}}]), json!({"$blob": {"path": "x"}, "y": 1})] {
            assert_eq!(code(wrong.clone()), ErrorCode::InvalidInput, "{wrong}");
        }
        assert_eq!(code(json!({"$blob": {"path": "/no/such"}})), ErrorCode::NotFound);
        let unkept = take_files(json!({"$blob": {"media_type": "a/b", "size": 1}}), &mut Vec::new()).unwrap_err();
        assert!(unkept.to_string().contains("--out"), "{unkept}");
    }
}
