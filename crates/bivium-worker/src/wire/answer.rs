//! Reads answers of workers: within the limits for the plugin's data, and long ones on a thread that may block.

use bivium_instances::document::{self, DocumentLimits, Pace, SHORT, Unread, aside};
use bivium_interface::exact::Inexact;
use bivium_interface::{ErrorCode, PluginError, Result};
use serde::de::DeserializeOwned;

/// The kind of an answer, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Result,
    /// A result in a file of its own.
    Spilled,
    Error,
    Event,
    Control,
}

impl Answer {
    /// Completes "… more than 20 MiB".
    fn is(self) -> &'static str {
        match self {
            Self::Result | Self::Spilled => "the plugin's result is",
            Self::Error => "the plugin's error is",
            Self::Event => "an item of the plugin's stream is",
            Self::Control => "the worker's reply is",
        }
    }

    /// The error of a value that cannot be represented exactly. Workers report these themselves for results that they check.
    fn inexact(self, inexact: Inexact) -> PluginError {
        let whole = match self {
            Self::Result => "result",
            Self::Event => "payload.json",
            Self::Spilled => "",
            Self::Error | Self::Control => {
                return PluginError::protocol(format!("the worker's reply breaks the protocol: {inexact}"));
            }
        };
        match inexact.place.strip_prefix(whole) {
            Some(place) => {
                let place = place.strip_prefix('.').unwrap_or(place).to_owned();
                let told = Inexact { place, ..inexact }.below("result");
                PluginError::new(ErrorCode::PluginFailed, format!("the result cannot be handed back: {told}"))
            }
            None => PluginError::protocol(format!("the worker's reply breaks the protocol: {inexact}")),
        }
    }
}

/// Whether a text is so long that parsing it takes a noticeable time.
pub(crate) fn is_long(text: &[u8]) -> bool {
    text.len() > SHORT
}

/// Parses an answer; a long one on a thread that may block.
pub(crate) async fn decode<T, B>(body: B, answer: Answer, limits: DocumentLimits, pace: &Pace) -> Result<T>
where
    T: DeserializeOwned + Send + 'static,
    B: AsRef<[u8]> + Send + 'static,
{
    if !is_long(body.as_ref()) {
        return parse(body.as_ref(), answer, limits, pace);
    }
    let pace = pace.clone();
    Box::pin(aside(true, move || parse(body.as_ref(), answer, limits, &pace))).await?
}

/// Parses an answer on this thread. Nesting that is too deep is the plugin's fault: the worker checks the depth of few results.
pub(crate) fn parse<T: DeserializeOwned>(
    body: &[u8],
    answer: Answer,
    limits: DocumentLimits,
    pace: &Pace,
) -> Result<T> {
    document::read(body, limits.held, pace).map_err(|unread| match unread {
        Unread::TooLarge => limits.too_large(answer.is()),
        Unread::Over(error) => error,
        Unread::Inexact(inexact) => answer.inexact(inexact),
        Unread::Invalid(error) => {
            let what = error.to_string();
            if what.starts_with("recursion limit exceeded") {
                return PluginError::new(ErrorCode::PluginFailed, "the result is nested deeper than a host can read")
                    .with_help("hand back at most 120 levels of lists and objects, or a file");
            }
            PluginError::protocol(format!("the worker's reply breaks the protocol: {what}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use bivium_instances::document::Document;
    use bivium_interface::Call;
    use futures_util::FutureExt;

    use super::*;

    const LIMITS: DocumentLimits = DocumentLimits { text: 16 << 20, held: 64 << 20 };

    async fn read(text: &str, pace: &Pace) -> Result<Document> {
        decode(text.to_owned(), Answer::Result, LIMITS, pace).await
    }

    #[tokio::test]
    async fn a_long_answer_is_read_on_another_thread_and_no_longer_than_its_call() {
        let endless = Pace::endless();
        assert!(read("[1]", &endless).now_or_never().is_some());
        let long = format!("[{}1]", "1,".repeat(400_000));
        assert!(read(&long, &endless).now_or_never().is_none(), "it is read in place");
        assert!(read(&long, &endless).await.is_ok());
        let longer = format!("[{}1]", "1,".repeat(7_000_000));
        assert_eq!(read(&longer, &endless).await.unwrap_err().code(), ErrorCode::ResourceExhausted);
        let call = Call::new();
        call.handle().cancel();
        assert_eq!(read(&long, &Pace::of(call.handle())).await.unwrap_err().code(), ErrorCode::Cancelled);
    }

    #[test]
    fn an_inexact_value_is_a_plugin_error_with_its_place() {
        let told = |text: &str, answer| {
            parse::<serde_json::Value>(text.as_bytes(), answer, LIMITS, &Pace::endless()).unwrap_err()
        };
        for (text, answer, place) in [
            (r#"{"result": [{"id": 18446744073709551616}]}"#, Answer::Result, "result[0].id is"),
            (r#"{"result": 18446744073709551616, "blobs": []}"#, Answer::Result, "result is"),
            (r#"{"result": {"result": 18446744073709551616}}"#, Answer::Spilled, "result.result.result is"),
            ("18446744073709551616", Answer::Spilled, "result is"),
            (r#"{"event": "chunk", "payload": {"json": {"a": [1e400]}}}"#, Answer::Event, "result.a[0] is"),
            (r#"{"result": {"1": 1, "1": 2}}"#, Answer::Result, "the key result[\"1\"] occurs"),
        ] {
            // The places are those of values in answers, so the texts are read as answers.
            let error = match document::read::<Document>(text.as_bytes(), LIMITS.held, &Pace::endless()) {
                Err(Unread::Inexact(inexact)) => answer.inexact(inexact),
                other => panic!("{text}: {other:?}"),
            };
            assert_eq!(error.code(), ErrorCode::PluginFailed, "{error}");
            assert!(error.message().starts_with(&format!("the result cannot be handed back: {place}")), "{error}");
        }
        assert_eq!(told("[1e400]", Answer::Control).code(), ErrorCode::Protocol);
        assert_eq!(told("[1e400]", Answer::Result).code(), ErrorCode::Protocol, "that is not a result");
    }

    #[tokio::test]
    async fn an_invalid_answer_is_an_error_of_the_plugin_or_of_the_protocol() {
        for (text, code) in [
            ("[1,", ErrorCode::Protocol),
            (&"[".repeat(1000), ErrorCode::PluginFailed),
            (&"[".repeat(1 << 20), ErrorCode::PluginFailed),
        ] {
            assert_eq!(read(text, &Pace::endless()).await.unwrap_err().code(), code);
        }
    }
}
