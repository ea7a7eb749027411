//! Reads a [`CallId`] from text.

use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::call_id::CallId;
use crate::error::{PluginError, Result};

impl FromStr for CallId {
    type Err = PluginError;

    fn from_str(text: &str) -> Result<Self> {
        Self::read(text)
            .ok_or_else(|| PluginError::invalid_input(format!("{text:?} is not a call id (16 hexadecimal digits)")))
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
