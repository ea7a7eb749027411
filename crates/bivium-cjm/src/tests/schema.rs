//! The schema that manifests have with their keys.

use bivium_interface::manifest::{Forms, schema};
use serde_json::{Value, json};

use super::forms::FLAT;
use super::*;
use crate::{CjmManifest, lift};

#[test]
fn the_flat_form_is_described() {
    let validator = jsonschema::validator_for(FORMS.schema()).unwrap();
    let value: Value = serde_json::from_str(FLAT).unwrap();
    assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).collect::<Vec<_>>());
    let own = json!({"name": "a", "version": "1", "module": "a", "class": "A", "ancestor": {"worker_env": [{"name": "A=B"}]}});
    assert!(!validator.is_valid(&own));
}

#[test]
fn their_keys_do_not_take_the_place_of_ours() {
    let theirs: Vec<&str> = lift::keys().collect();
    assert!(theirs.contains(&"conda_env") && theirs.contains(&"type"));
    assert!(schema::properties(Forms::plain().schema()).all(|(key, _)| !theirs.contains(&key.as_str())));
    assert_eq!(serde_json::to_value(CjmManifest::default()).unwrap(), json!({}));
    for key in ["ancestor", "conda_env", "format_version", "unit"] {
        assert!(FORMS.has_key(key) && !Forms::plain().has_key(key), "{key}");
    }
}
