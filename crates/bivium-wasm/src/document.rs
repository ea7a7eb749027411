//! JSON texts on their way in and out, held to the limit.

use std::io;

use bivium_interface::{Blob, Call, ErrorCode, Payload, PluginError, Result};
use serde::Serialize;
use serde_json::Value;

use crate::limits::StoreLimits;
use crate::parse::{Unread, parse};

/// A call's arguments as the text that a plugin takes.
pub(crate) fn arguments(call: &Call, limit: usize) -> Result<String> {
    // As `Call::document` does it, without its copy of the arguments.
    match (call.positional.is_empty(), call.named.is_empty()) {
        (true, _) => write("the arguments are", &call.named, limit),
        (false, true) => write("the arguments are", &call.positional, limit),
        (false, false) => write("the arguments are", &call.document()?, limit),
    }
}

/// Any document as text. `what` completes "… 20 MiB of JSON", for example "the arguments are".
pub(crate) fn write(what: &str, document: &impl Serialize, limit: usize) -> Result<String> {
    let text = serde_json::to_string(document)
        .map_err(|error| PluginError::invalid_input(format!("{what} not writable as JSON: {error}")))?;
    within(what, text.len(), limit)?;
    Ok(text)
}

/// What a plugin returned. `what` completes "… 20 MiB of JSON", for example "the result is".
pub(crate) fn read(what: &str, text: &str, limits: &StoreLimits) -> Result<Value> {
    within(what, text.len(), limits.json)?;
    parse(text, limits.values).map_err(|unread| match unread {
        Unread::Invalid(error) => PluginError::protocol(format!("{what} not valid JSON: {error}")),
        Unread::TooLarge => too_large(what, limits.values),
    })
}

/// The error of values for which the host would hold too much. `what` is as for [`read`].
pub(crate) fn too_large(what: &str, limit: usize) -> PluginError {
    PluginError::resource_exhausted(format!(
        "{what} more than {} MiB as the host holds it, over what `limits.memory_mb` and `limits.payload_mb` allow together",
        limit >> 20
    ))
    .with_help("pass large data as a blob or in pieces, or raise `limits.payload_mb` in the plugin's manifest")
}

/// A result and its blobs.
pub(crate) fn payload(text: &str, blobs: Vec<Blob>, limits: &StoreLimits) -> Result<Payload> {
    let payload = Payload { json: read("the plugin's result is", text, limits)?, blobs };
    payload.check().map_err(|error| match error.code() {
        // To a caller the index would be wrong input; here the plugin wrote it.
        ErrorCode::InvalidInput => PluginError::protocol(format!("the plugin's result is wrong: {}", error.message())),
        _ => error,
    })?;
    Ok(payload)
}

/// Refuses a document whose text would be too long, without writing it. `what` is as for [`write`].
pub(crate) fn check(what: &str, document: &impl Serialize, limit: usize) -> Result<()> {
    let mut text = Measure(0);
    serde_json::to_writer(&mut text, document)
        .map_err(|error| PluginError::invalid_input(format!("{what} not writable as JSON: {error}")))?;
    within(what, text.0, limit)
}

/// Counts what is written.
struct Measure(usize);

impl io::Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn within(what: &str, len: usize, limit: usize) -> Result<()> {
    if len <= limit { Ok(()) } else { Err(over(what, &format!("{} MiB", len.div_ceil(1 << 20)), limit)) }
}

/// The error of a document that is too long. `what` is as for [`write`].
pub(crate) fn over(what: &str, found: &str, limit: usize) -> PluginError {
    PluginError::resource_exhausted(format!("{what} {found} of JSON, over the limit of {} MiB", limit >> 20))
        .with_help("pass large data as a blob, or raise `limits.payload_mb` in the plugin's manifest")
}

#[cfg(test)]
mod tests {
    use bivium_interface::manifest::Limits;
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_written_as_the_call_documents_them() {
        for call in [Call::new(), Call::new().named("a", 1), Call::new().arg(1).arg("x")] {
            assert_eq!(arguments(&call, 100).unwrap(), call.document().unwrap().to_string());
        }
        let both = Call::new().arg(1).named("a", 1);
        assert_eq!(arguments(&both, 100).unwrap_err().code(), ErrorCode::InvalidInput);
        let long = Call::new().arg("x".repeat(100));
        let error = arguments(&long, 100).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
        assert!(error.to_string().contains("limits.payload_mb"), "{error}");
    }

    #[test]
    fn a_result_is_json_and_names_only_its_own_blobs() {
        let limits = |json| StoreLimits { json, ..StoreLimits::new(&Limits::default()) };
        assert_eq!(payload("[1]", Vec::new(), &limits(10)).unwrap().json, json!([1]));
        for (text, code) in [
            ("[1", ErrorCode::Protocol),
            ("NaN", ErrorCode::Protocol),
            (r#"{"$blob":0}"#, ErrorCode::Protocol),
            ("[1,2,3,4,5,6,7,8]", ErrorCode::ResourceExhausted),
        ] {
            assert_eq!(payload(text, Vec::new(), &limits(16)).unwrap_err().code(), code, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(payload(&deep, Vec::new(), &limits(usize::MAX)).unwrap_err().code(), ErrorCode::Protocol);
    }
}
