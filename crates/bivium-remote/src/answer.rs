//! Answers of workers, read: within the limits of what the host holds for them, and where other calls do not wait for it.

use bivium_instances::document::{self, DocumentLimits, Pace, SHORT, Unread, aside};
use bivium_interface::{ErrorCode, PluginError, Result};
use serde::de::DeserializeOwned;

/// What an answer is, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Result,
    Error,
    Event,
    Control,
}

impl Answer {
    /// Completes "… more than 20 MiB".
    fn is(self) -> &'static str {
        match self {
            Self::Result => "the plugin's result is",
            Self::Error => "the plugin's error is",
            Self::Event => "an item of the plugin's stream is",
            Self::Control => "what the worker tells is",
        }
    }
}

/// Whether a text is so long that to read it takes long.
pub(crate) fn is_long(text: &[u8]) -> bool {
    text.len() > SHORT
}

/// Reads an answer; a long one on a thread that may block.
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

/// The same in place. What nests too deep is the plugin's fault: the worker looks at the depth of few results.
pub(crate) fn parse<T: DeserializeOwned>(
    body: &[u8],
    answer: Answer,
    limits: DocumentLimits,
    pace: &Pace,
) -> Result<T> {
    document::read(body, limits.held, pace).map_err(|unread| match unread {
        Unread::TooLarge => limits.too_large(answer.is()),
        Unread::Over(error) => error,
        Unread::Invalid(error) => {
            let what = error.to_string();
            if what.starts_with("recursion limit exceeded") {
                return PluginError::new(ErrorCode::PluginFailed, "the result nests deeper than a host reads it")
                    .with_help("hand back at most 120 levels of lists and objects, or a file");
            }
            PluginError::protocol(format!("the worker's reply is not what the protocol says: {what}"))
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

    #[tokio::test]
    async fn what_is_no_answer_is_told_as_whose_fault_it_is() {
        for (text, code) in [
            ("[1,", ErrorCode::Protocol),
            (&"[".repeat(1000), ErrorCode::PluginFailed),
            (&"[".repeat(1 << 20), ErrorCode::PluginFailed),
        ] {
            assert_eq!(read(text, &Pace::endless()).await.unwrap_err().code(), code);
        }
    }
}
