//! [`Failure`]: why a command failed. `exit` makes a message and an exit status of it.

use bivium::PluginError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of the library or the plugin.
    Plugin(PluginError),
    /// The command line is wrong; says why, in one clause.
    Usage(String),
    /// The reader of standard output has closed it. This is no error, and there is nothing to report.
    ReaderGone,
}

impl Failure {
    /// Changes the error, if it is one.
    pub(crate) fn map(self, change: impl FnOnce(PluginError) -> PluginError) -> Self {
        match self {
            Self::Plugin(error) => Self::Plugin(change(error)),
            other => other,
        }
    }
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        Self::Plugin(error)
    }
}
