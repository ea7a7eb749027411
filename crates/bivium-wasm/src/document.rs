//! JSON texts that go in and out, held to the limits. Long ones are read and written on a blocking thread, which checks the clock
//! itself.

use std::mem;

use bivium_instances::document::{self, Document, DocumentLimits, Pace, SHORT, Unread, aside, blocking};
use bivium_interface::{Blob, Call, ErrorCode, Payload, PluginError, Result};
use serde::Serialize;
use serde_json::Value;

const ARGUMENTS: &str = "the arguments are";

/// Whether a call has so many arguments that writing them takes long.
pub(crate) fn are_many(call: &Call) -> bool {
    document::are_many(call.positional.iter().chain(call.named.values()))
}

/// Takes the arguments out of a call, as the text that a plugin gets. `pace` is set if they are many.
pub(crate) async fn arguments(call: &mut Call, limits: DocumentLimits, pace: Option<Pace>) -> Result<String> {
    if !call.positional.is_empty() && !call.named.is_empty() {
        return call.document().map(|both| both.to_string());
    }
    let (positional, named) = (mem::take(&mut call.positional), mem::take(&mut call.named));
    let Some(pace) = pace else {
        return if positional.is_empty() {
            write(ARGUMENTS, &named, limits)
        } else {
            write(ARGUMENTS, &positional, limits)
        };
    };
    let written = move || {
        let text = if positional.is_empty() {
            document::write(&named, limits.text, &pace)
        } else {
            document::write(&positional, limits.text, &pace)
        };
        let text = text.map_err(|why| limits.unwritten(ARGUMENTS, why))?;
        String::from_utf8(text).map_err(|error| PluginError::internal(format!("the JSON is not UTF-8: {error}")))
    };
    // Boxed, so that the future of each call stays small.
    Box::pin(blocking(written)).await?
}

/// A short document as text. `what` is the beginning of the error up to its verb, for example "the arguments are".
pub(crate) fn write(what: &str, document: &impl Serialize, limits: DocumentLimits) -> Result<String> {
    let text =
        serde_json::to_string(document).map_err(|error| limits.unwritten(what, document::Unwritten::Invalid(error)))?;
    limits.check(what, text.len())?;
    Ok(text)
}

/// Reads what a plugin returned. `what` is the beginning of the error up to its verb, for example "the result is".
pub(crate) async fn read(what: &'static str, text: String, limits: DocumentLimits, pace: Pace) -> Result<Value> {
    aside(is_long(&text), move || parse(what, &text, limits, &pace)).await?
}

fn parse(what: &str, text: &str, limits: DocumentLimits, pace: &Pace) -> Result<Value> {
    limits.check(what, text.len())?;
    let read = document::read(text.as_bytes(), limits.held, pace);
    read.map(|Document(value)| value).map_err(|unread| match unread {
        Unread::Inexact(inexact) => {
            let what = format!("{what} not exact in JSON: {}", inexact.below("result"));
            PluginError::new(ErrorCode::PluginFailed, what)
        }
        Unread::Invalid(error) => PluginError::protocol(format!("{what} not valid JSON: {error}")),
        Unread::TooLarge => limits.too_large(what),
        Unread::Over(error) => error,
    })
}

/// Whether a text is so long that reading it takes long.
pub(crate) fn is_long(text: &str) -> bool {
    text.len() > SHORT
}

/// A result and its blobs. `pace` is set if the text is long.
pub(crate) async fn payload(
    text: String,
    blobs: Vec<Blob>,
    limits: DocumentLimits,
    pace: Option<Pace>,
) -> Result<Payload> {
    match pace {
        None => checked(&text, blobs, limits, &Pace::endless()),
        Some(pace) => Box::pin(blocking(move || checked(&text, blobs, limits, &pace))).await?,
    }
}

fn checked(text: &str, blobs: Vec<Blob>, limits: DocumentLimits, pace: &Pace) -> Result<Payload> {
    let payload = Payload { json: parse("the plugin's result is", text, limits, pace)?, blobs };
    payload.check().map_err(|error| match error.code() {
        // From a caller a wrong index would be invalid input; here the plugin wrote it.
        ErrorCode::InvalidInput => PluginError::protocol(format!("the plugin's result is wrong: {}", error.message())),
        _ => error,
    })?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use bivium_interface::manifest::Limits;
    use serde_json::json;

    use super::*;

    fn limits(text: usize) -> DocumentLimits {
        DocumentLimits { text, ..DocumentLimits::of(&Limits::default()) }
    }

    #[tokio::test]
    async fn arguments_are_written_as_the_call_documents_them() {
        let text = async |mut call: Call, limit| {
            let pace = are_many(&call).then(Pace::endless);
            arguments(&mut call, limits(limit), pace).await
        };
        let many = || vec![json!([1, "x"]); 10_000];
        for call in [
            Call::new(),
            Call::new().named("a", 1),
            Call::new().arg(1).arg("x"),
            Call::new().arg(many()),
            Call::new().named("a", many()),
        ] {
            assert_eq!(text(call.clone(), 1 << 20).await.unwrap(), call.document().unwrap().to_string());
        }
        let both = Call::new().arg(1).named("a", 1);
        assert_eq!(text(both, 100).await.unwrap_err().code(), ErrorCode::InvalidInput);
        for long in [Call::new().arg("x".repeat(100)), Call::new().arg(many())] {
            let error = text(long, 100).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::ResourceExhausted);
            assert!(error.to_string().contains("limits.payload_mb"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_result_is_json_and_names_only_its_own_blobs() {
        let of = async |text: &str, limit| {
            let pace = is_long(text).then(Pace::endless);
            payload(text.to_owned(), Vec::new(), limits(limit), pace).await
        };
        assert_eq!(of("[1]", 10).await.unwrap().json, json!([1]));
        let long = format!("[{}1]", "1,".repeat(SHORT));
        assert_eq!(of(&long, 1 << 20).await.unwrap().json.as_array().unwrap().len(), SHORT + 1);
        let blob = format!("{}{{\"$blob\":0}}]", &long[..long.len() - 2]);
        for (text, limit, code) in [
            ("[1", 16, ErrorCode::Protocol),
            ("NaN", 16, ErrorCode::Protocol),
            (r#"{"$blob":0}"#, 16, ErrorCode::Protocol),
            ("[1,2,3,4,5,6,7,8]", 16, ErrorCode::ResourceExhausted),
            (&long[1..], 1 << 20, ErrorCode::Protocol),
            (&long, 1 << 10, ErrorCode::ResourceExhausted),
            (&blob, 1 << 20, ErrorCode::Protocol),
            (r#"{"id": 18446744073709551616}"#, 64, ErrorCode::PluginFailed),
            (r#"{"id": 1, "id": 2}"#, 64, ErrorCode::PluginFailed),
        ] {
            assert_eq!(of(text, limit).await.unwrap_err().code(), code, "{}", text.len());
        }
        let deep = "[".repeat(100_000);
        assert_eq!(of(&deep, usize::MAX).await.unwrap_err().code(), ErrorCode::Protocol);
    }
}
