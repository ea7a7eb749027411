//! [`Error`]: the errors of a plugin, and how any other error becomes one.
//!
//! Like `anyhow::Error`, it does not implement `std::error::Error`, so that `?` can convert every error that does.

use std::fmt;
use std::io;

/// What a plugin's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a plugin refuses or fails. The cases are Bivium's error codes; each carries one sentence that says what happened and
/// what to do.
///
/// `?` turns any `std::error::Error` into [`PluginFailed`](Self::PluginFailed), with the name of its type and its chain of
/// causes. An error of the host from reading or writing a blob keeps its code, however deep it lies in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The method, or something that the arguments name, does not exist.
    NotFound(String),
    /// The configuration is wrong; the previous one stays in force.
    InvalidConfig(String),
    /// The arguments are wrong.
    InvalidInput(String),
    /// Permission is missing.
    Denied(String),
    /// A limit or quota is reached.
    ResourceExhausted(String),
    /// A deadline passed.
    Timeout(String),
    /// The call was cancelled and the plugin stopped because of it.
    Cancelled(String),
    /// Something that the plugin depends on does not answer now.
    Unavailable(String),
    /// The plugin's own failure.
    PluginFailed(Failure),
}

/// What went wrong inside the plugin's own code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The name of the error's type.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// The chain of causes, one per line; empty if there is none.
    pub trace: String,
}

impl Error {
    /// [`InvalidConfig`](Self::InvalidConfig).
    #[must_use]
    pub fn invalid_config(message: impl fmt::Display) -> Self {
        Self::InvalidConfig(message.to_string())
    }

    /// [`InvalidInput`](Self::InvalidInput).
    #[must_use]
    pub fn invalid_input(message: impl fmt::Display) -> Self {
        Self::InvalidInput(message.to_string())
    }

    /// [`PluginFailed`](Self::PluginFailed) with a kind that the author chooses.
    #[must_use]
    pub fn failed(kind: &str, message: impl fmt::Display) -> Self {
        Self::PluginFailed(Failure { kind: kind.to_owned(), message: message.to_string(), trace: String::new() })
    }

    /// The error code, as in logs and replies.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not-found",
            Self::InvalidConfig(_) => "invalid-config",
            Self::InvalidInput(_) => "invalid-input",
            Self::Denied(_) => "denied",
            Self::ResourceExhausted(_) => "resource-exhausted",
            Self::Timeout(_) => "timeout",
            Self::Cancelled(_) => "cancelled",
            Self::Unavailable(_) => "unavailable",
            Self::PluginFailed(_) => "plugin-failed",
        }
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::NotFound(message)
            | Self::InvalidConfig(message)
            | Self::InvalidInput(message)
            | Self::Denied(message)
            | Self::ResourceExhausted(message)
            | Self::Timeout(message)
            | Self::Cancelled(message)
            | Self::Unavailable(message) => message,
            Self::PluginFailed(failure) => &failure.message,
        }
    }

    /// Wraps the error for an interface of `std::io`; `?` turns it back into the same error.
    #[must_use]
    pub fn into_io(self) -> io::Error {
        io::Error::other(Carried(self))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let mut trace = String::new();
        let mut link: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut depth = 0;
        while let Some(cause) = link {
            if let Some(carried) = carried_by(cause) {
                return carried.clone();
            }
            if depth > 0 {
                trace.push_str(&format!("caused by: {cause}\n"));
            }
            depth += 1;
            link = cause.source();
        }
        Self::PluginFailed(Failure { kind: short_name::<E>(), message: error.to_string(), trace })
    }
}

/// An [`Error`] inside a `std::io::Error`.
#[derive(Debug)]
struct Carried(Error);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

fn carried_by<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let carried = match inner {
        Some(inner) => inner.downcast_ref::<Carried>(),
        None => error.downcast_ref::<Carried>(),
    };
    carried.map(|carried| &carried.0)
}

/// The last part of a type's path, without its parameters.
fn short_name<E>() -> String {
    let whole = std::any::type_name::<E>();
    let path = whole.split('<').next().unwrap_or(whole);
    path.rsplit("::").next().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot decode")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn any_error_becomes_plugin_failed_with_its_causes() {
        let error = Error::from(Outer(io::Error::other("disk on fire")));
        let Error::PluginFailed(failure) = &error else { panic!("{error:?}") };
        assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("Outer", "cannot decode"));
        assert_eq!(failure.trace, "caused by: disk on fire\n");
        assert_eq!(Error::from("x".parse::<u8>().unwrap_err()).code(), "plugin-failed");
    }

    #[test]
    fn a_host_error_keeps_its_code_through_a_library() {
        let denied = Error::Denied("the call is over".into());
        assert_eq!(Error::from(denied.clone().into_io()), denied);
        assert_eq!(Error::from(Outer(denied.clone().into_io())), denied);
    }
}
