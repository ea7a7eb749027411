//! Configuration on the command line: `key=value` and `key:=JSON`, as a JSON Merge Patch.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::advice::Text;
use crate::assignment::{Assignment, Given};

/// One change of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    key: String,
    value: Value,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Assignment { key, value } = text.parse()?;
        match value {
            Given::Json(value) => Ok(Self { key, value }),
            Given::File(_) => Err("a configuration holds no files; write key=PATH to set a path".to_owned()),
        }
    }
}

impl Setting {
    /// The key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Whether it removes the key.
    pub(crate) fn removes(&self) -> bool {
        self.value.is_null()
    }
}

/// The settings that are given as text.
pub(crate) fn texts(settings: &[Setting]) -> Vec<Text> {
    let text =
        |setting: &Setting| Some(Text { key: setting.key.clone(), value: Some(setting.value.as_str()?.to_owned()) });
    settings.iter().filter_map(text).collect()
}

/// All changes as one patch; if a key is given several times, the last one counts. `None` if there are no changes.
pub(crate) fn patch(settings: Vec<Setting>) -> Option<Value> {
    let patch: Map<String, Value> = settings.into_iter().map(|setting| (setting.key, setting.value)).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_become_one_patch() {
        let settings = ["mask=*", "limit:=3", "old:=null"].map(|text| text.parse().unwrap());
        assert_eq!(patch(settings.into()), Some(json!({"mask": "*", "limit": 3, "old": null})));
        assert_eq!(patch(Vec::new()), None);
        assert!("mask@=x".parse::<Setting>().is_err());
    }
}
