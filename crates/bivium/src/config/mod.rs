//! Configurations: checked against the plugin's JSON Schema, completed with its defaults, and saved.

mod schema;
mod settings;

pub(crate) use schema::{Schema, combine, merge};
pub(crate) use settings::SettingsStore;
