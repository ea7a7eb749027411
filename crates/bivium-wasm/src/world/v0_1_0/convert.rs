//! Converts between the WIT variant `error` and [`PluginError`], case by case.
//!
//! The guest's code is used as it is. Its text is cut, since it goes to logs and callers.

use bivium_interface::{ErrorCode, Failure, PluginError, clip};

use super::wit::types;

impl From<types::Error> for PluginError {
    fn from(error: types::Error) -> Self {
        use types::Error;
        let (code, message) = match error {
            Error::NotFound(message) => (ErrorCode::NotFound, message),
            Error::InvalidConfig(message) => (ErrorCode::InvalidConfig, message),
            Error::InvalidInput(message) => (ErrorCode::InvalidInput, message),
            Error::Denied(message) => (ErrorCode::Denied, message),
            Error::ResourceExhausted(message) => (ErrorCode::ResourceExhausted, message),
            Error::Timeout(message) => (ErrorCode::Timeout, message),
            Error::Cancelled(message) => (ErrorCode::Cancelled, message),
            Error::Unavailable(message) => (ErrorCode::Unavailable, message),
            Error::PluginFailed(failure) => {
                let types::Failure { kind, message, trace } = failure;
                let failure = Failure::new(kind, message).with_traceback(trace);
                return Self::plugin_failed(failure.clipped());
            }
        };
        Self::new(code, clip(message, Failure::MAX_MESSAGE))
    }
}

impl From<PluginError> for types::Error {
    fn from(error: PluginError) -> Self {
        let message = error.to_string();
        match error.code() {
            ErrorCode::NotFound => Self::NotFound(message),
            ErrorCode::InvalidConfig | ErrorCode::InvalidManifest => Self::InvalidConfig(message),
            ErrorCode::InvalidInput => Self::InvalidInput(message),
            ErrorCode::Denied => Self::Denied(message),
            ErrorCode::ResourceExhausted => Self::ResourceExhausted(message),
            ErrorCode::Timeout => Self::Timeout(message),
            ErrorCode::Cancelled => Self::Cancelled(message),
            // The guest should not see a fault of the host: what it asked for is not available now.
            _ => Self::Unavailable(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_error_codes_survive_both_conversions() {
        for code in ErrorCode::ALL {
            let there = types::Error::from(PluginError::new(code, "why"));
            let back = PluginError::from(there);
            let expected = match code {
                ErrorCode::InvalidManifest => ErrorCode::InvalidConfig,
                ErrorCode::PluginFailed
                | ErrorCode::Crashed
                | ErrorCode::Interrupted
                | ErrorCode::Protocol
                | ErrorCode::Internal => ErrorCode::Unavailable,
                same => same,
            };
            assert_eq!((back.code(), back.message()), (expected, "why"));
        }
    }

    #[test]
    fn a_guests_failure_keeps_its_parts_up_to_their_limits() {
        let failure = types::Failure { kind: "E".into(), message: "m".repeat(1 << 20), trace: "t".into() };
        let error = PluginError::from(types::Error::PluginFailed(failure));
        let failure = error.failure().unwrap();
        assert_eq!((failure.kind.as_str(), failure.traceback.as_str()), ("E", "t"));
        assert_eq!(failure.message.len(), Failure::MAX_MESSAGE);
        assert!(failure.message.capacity() <= 2 * Failure::MAX_MESSAGE, "the part that was cut off is freed");
    }
}
