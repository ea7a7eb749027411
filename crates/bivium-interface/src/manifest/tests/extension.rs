//! A key that only some hosts know.

use std::any::Any;
use std::sync::Arc;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::super::{Extension, Extensions, Kind, ManifestExtension, Node, OtherFile, Problems};
use super::*;

#[derive(Debug, PartialEq)]
struct Colour(String);

impl Extension for Colour {
    fn key(&self) -> &'static str {
        "paint"
    }

    fn to_value(&self) -> Value {
        json!({"colour": self.0})
    }

    fn is_same(&self, other: &dyn Extension) -> bool {
        (other as &dyn Any).downcast_ref() == Some(self)
    }
}

struct Paint;

impl ManifestExtension for Paint {
    fn key(&self) -> &'static str {
        "paint"
    }

    fn properties(&self, _: &mut SchemaGenerator) -> Map<String, Value> {
        let colour = json!({"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"],
            "additionalProperties": false, "x-runtime": "python"});
        Map::from_iter([("paint".to_owned(), colour)])
    }

    fn lift(&self, root: &mut Node, problems: &mut Problems) -> bool {
        if let Some(version) = root.remove("painted_in") {
            problems.add(version.line, "nothing is painted in a year");
            return false;
        }
        true
    }

    fn check(&self, root: &Node, problems: &mut Problems) {
        if let Some(paint) =
            root.get("paint").filter(|paint| matches!(&paint.value.kind, Kind::Object(all) if all.len() > 1))
        {
            problems.add(paint.line, "one coat is enough");
        }
    }

    fn read(&self, value: Value, manifest: &mut Manifest) -> serde_json::Result<Arc<dyn Extension>> {
        manifest.category = Some("painted".to_owned());
        Ok(Arc::new(Colour(serde_json::from_value(value["colour"].clone())?)))
    }

    fn is_other(&self, root: &Node) -> bool {
        root.get("brush").is_some()
    }

    fn read_other(&self, root: Node, path: &Path, problems: &mut Problems) -> Option<OtherFile> {
        let size = root.get("brush")?.value.clone().into_value().as_u64();
        if size.is_none() {
            problems.add(root.line, "a brush has a size");
        }
        Some(OtherFile::new("brush", "it", path, "give the painting", Arc::new(size?)))
    }
}

fn read(text: &str) -> Result<ManifestFile, PluginError> {
    ManifestFile::parse(text, Path::new(PATH), &Forms::with(vec![Box::new(Paint)]))
}

fn plugin(more: &str) -> Result<Manifest, PluginError> {
    let text = format!(r#"{{"name": "a", "version": "1", "module": "a", "class": "A", {more}}}"#);
    read(&text)?.into_plugin(Path::new(PATH))
}

#[test]
fn a_key_of_an_extension_is_read_kept_and_written() {
    let manifest = plugin(r#""paint": {"colour": "red"}"#).unwrap();
    assert_eq!(manifest.extensions.get::<Colour>(), Some(&Colour("red".to_owned())));
    assert_eq!(manifest.category.as_deref(), Some("painted"));
    let written = serde_json::to_string(&manifest).unwrap();
    assert!(written.ends_with(r#""paint":{"colour":"red"}}"#), "{written}");
    assert_eq!(read(&written).unwrap().into_plugin(Path::new(PATH)).unwrap(), manifest);
    assert!(plugin(r#""paint": {"colour": "blue"}"#).unwrap() != manifest);
    assert_eq!(plugin(r#""requires_python": ">=3.9""#).unwrap().extensions, Extensions::default());
}

#[test]
fn its_problems_are_those_of_the_file() {
    let problem =
        |more: &str| plugin(more).unwrap_err().problems().iter().map(|one| one.message.clone()).collect::<Vec<_>>();
    assert_eq!(problem(r#""paint": {"color": "red"}"#).len(), 2);
    assert_eq!(problem(r#""painted_in": 1888"#), ["nothing is painted in a year"]);
    assert!(problem(r#""paint": {"colour": "red", "coats": 2}"#).contains(&"one coat is enough".to_owned()));
    let text = r#"{"name": "a", "version": "1", "module": "a", "class": "A", "paint": {"colour": "red"}}"#;
    assert_eq!(problems(text), ["1: unknown key \"paint\"; the most similar known key is `pass_env`"]);
}

#[test]
fn a_file_of_another_kind_is_no_plugin() {
    let ManifestFile::Other(brush) = read(r#"{"brush": 7}"#).unwrap() else { panic!("no plugin") };
    assert_eq!((brush.get::<u64>().as_deref(), brush.get::<String>()), (Some(&7), None));
    let error = ManifestFile::Other(brush).into_plugin(Path::new(PATH)).unwrap_err();
    assert!(error.to_string().contains("declares the brush it, not a plugin"), "{error}");
    assert!(read(r#"{"brush": "wide"}"#).is_err());
}
