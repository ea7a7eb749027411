//! [`Assignment`]: `key=value`, `key:=JSON` or `key@=PATH` on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use bivium_interface::exact::{self, Unread};
use serde_json::Value;

/// One argument.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) key: String,
    pub(crate) value: Given,
}

/// An argument's value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// A string or any JSON value.
    Json(Value),
    /// A file.
    File(PathBuf),
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (front, value) = text.split_once('=').ok_or("write key=value, key:=JSON or key@=PATH".to_owned())?;
        let (key, value) = if let Some(key) = front.strip_suffix(':') {
            (key, Given::Json(json_of(key, value)?))
        } else if let Some(key) = front.strip_suffix('@') {
            (key, Given::File(value.into()))
        } else {
            (front, Given::Json(value.into()))
        };
        if key.is_empty() {
            return Err("there is no key before the `=`".to_owned());
        }
        Ok(Self { key: key.to_owned(), value })
    }
}

/// Reads the JSON value of the argument with this name.
pub(crate) fn json_of(key: &str, text: &str) -> Result<Value, String> {
    exact::from_str(text).map_err(|error| match error {
        Unread::Inexact(inexact) if key.is_empty() => inexact.to_string(),
        Unread::Inexact(inexact) => inexact.below(key).to_string(),
        error if key.is_empty() => {
            format!("not valid JSON ({error}); write a text in double quotes within single ones ('\"text\"'), or give it by its name (name=text)")
        }
        error => format!("not valid JSON ({error}); for a text write {key}=…"),
    })
}
