//! [`Secrets`]: the host's secrets. Each plugin gets only those that it is granted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bivium_interface::{PluginError, Result};

/// The host's secrets by name. `Debug` does not show them, and they are not written anywhere. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets(Arc<BTreeMap<String, String>>);

impl Secrets {
    /// The secret with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The secret with this name, for a plugin that is granted it.
    ///
    /// # Errors
    /// `invalid-config` if the host has no such secret. The error says how to set it.
    pub fn granted(&self, name: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| {
            PluginError::invalid_config(format!(
                "the plugin is granted the secret `{name}`, but this host does not have it"
            ))
            .with_help(format!("set the environment variable BIVIUM_SECRET_{name}, or use `ManagerBuilder::secret`"))
        })
    }

    /// Adds a secret.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).insert(name.into(), value.into());
        self
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;

    use super::*;

    #[test]
    fn debug_shows_no_value_and_the_error_for_a_missing_secret_says_how_to_set_it() {
        let secrets = Secrets::default().with("KEY", "s3cret");
        assert_eq!(format!("{secrets:?}"), r#"{"KEY"}"#);
        assert_eq!(secrets.granted("KEY").unwrap(), "s3cret");
        let error = secrets.granted("OTHER").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert!(error.help().unwrap().contains("BIVIUM_SECRET_OTHER"), "{error}");
    }
}
