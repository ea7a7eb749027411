//! Writes JSON texts for plugins, within a limit and only while the call lasts.

use std::io;

use bivium_interface::PluginError;
use serde::Serialize;
use serde_json::{Map, Value};

use super::pace::Pace;

/// Up to this many values are read and written in place: handing them to another thread takes longer.
const FEW_VALUES: usize = 4 << 10;
/// This many bytes of a string take as long as one value.
const LIKE_A_VALUE: usize = 64;

/// Why a text was not written.
#[derive(Debug)]
pub enum Unwritten {
    /// It cannot be written as JSON.
    Invalid(serde_json::Error),
    /// It is longer than the limit.
    TooLong,
    /// The call is over.
    Over(PluginError),
}

/// The document as a text of at most `limit` bytes.
///
/// # Errors
/// [`Unwritten`].
pub fn write(document: &impl Serialize, limit: usize, pace: &Pace) -> Result<Vec<u8>, Unwritten> {
    let mut text = Text::new(Some(Vec::new()), limit, pace);
    text.take(document)?;
    Ok(text.bytes.unwrap_or_default())
}

/// Refuses a document whose text would be longer than `limit`, without keeping the text. It is written only if the longest text
/// that such values can have exceeds the limit.
///
/// # Errors
/// [`Unwritten`].
pub fn measure(document: &impl Bounded, limit: usize, pace: &Pace) -> Result<(), Unwritten> {
    let (mut left, mut steps) = (limit, pace.clone());
    match document.fits(&mut left, &mut steps) {
        Ok(true) => Ok(()),
        Ok(false) => Text::new(None, limit, pace).take(document),
        Err(error) => Err(Unwritten::Over(error)),
    }
}

/// A document whose longest possible text is known without writing it.
pub trait Bounded: Serialize {
    /// Subtracts the length of its longest possible text from `left`; false if less is left.
    ///
    /// # Errors
    /// As for [`Pace::step`].
    fn fits(&self, left: &mut usize, pace: &mut Pace) -> Result<bool, PluginError>;
}

impl Bounded for Value {
    fn fits(&self, left: &mut usize, pace: &mut Pace) -> Result<bool, PluginError> {
        pace.step()?;
        match self {
            Self::Null | Self::Bool(_) => Ok(take(left, "false".len())),
            Self::Number(_) => Ok(take(left, LONGEST_NUMBER)),
            Self::String(text) => Ok(take(left, longest_string(text))),
            Self::Array(items) => items.fits(left, pace),
            Self::Object(object) => object.fits(left, pace),
        }
    }
}

impl Bounded for Vec<Value> {
    fn fits(&self, left: &mut usize, pace: &mut Pace) -> Result<bool, PluginError> {
        // Brackets, and a comma for each item.
        let mut fits = take(left, self.len().saturating_add(2));
        for item in self {
            fits = fits && item.fits(left, pace)?;
        }
        Ok(fits)
    }
}

impl Bounded for Map<String, Value> {
    fn fits(&self, left: &mut usize, pace: &mut Pace) -> Result<bool, PluginError> {
        let mut fits = take(left, 2);
        for (key, item) in self {
            // A colon and a comma.
            fits = fits && take(left, longest_string(key).saturating_add(2)) && item.fits(left, pace)?;
        }
        Ok(fits)
    }
}

/// The length of `-2.2250738585072014e-308`, which no 64-bit number exceeds.
const LONGEST_NUMBER: usize = 24;

/// Quotation marks, and `\u0000` for each byte.
fn longest_string(text: &str) -> usize {
    text.len().saturating_mul(6).saturating_add(2)
}

fn take(left: &mut usize, bytes: usize) -> bool {
    left.checked_sub(bytes).map(|rest| *left = rest).is_some()
}

/// Whether there are so many values that reading or writing them takes long.
#[must_use]
pub fn are_many<'a>(values: impl IntoIterator<Item = &'a Value>) -> bool {
    fn within(value: &Value, left: &mut usize) -> bool {
        let long = match value {
            Value::String(text) => text.len() / LIKE_A_VALUE,
            _ => 0,
        };
        let Some(rest) = left.checked_sub(1 + long) else { return false };
        *left = rest;
        match value {
            Value::Array(items) => items.iter().all(|item| within(item, left)),
            Value::Object(object) => {
                object.iter().all(|(key, item)| match left.checked_sub(key.len() / LIKE_A_VALUE) {
                    Some(rest) => {
                        *left = rest;
                        within(item, left)
                    }
                    None => false,
                })
            }
            _ => true,
        }
    }
    let mut left = FEW_VALUES;
    !values.into_iter().all(|value| within(value, &mut left))
}

/// Receives a text, and stops it when it is too long or too late.
struct Text {
    /// `None` if the text is only measured.
    bytes: Option<Vec<u8>>,
    left: usize,
    pace: Pace,
    stopped: Option<Unwritten>,
}

impl Text {
    fn new(bytes: Option<Vec<u8>>, limit: usize, pace: &Pace) -> Self {
        Self { bytes, left: limit, pace: pace.clone(), stopped: None }
    }

    fn take(&mut self, document: &impl Serialize) -> Result<(), Unwritten> {
        serde_json::to_writer(&mut *self, document)
            .map_err(|error| self.stopped.take().unwrap_or(Unwritten::Invalid(error)))
    }

    fn stop<T>(&mut self, why: Unwritten) -> io::Result<T> {
        self.stopped = Some(why);
        Err(io::ErrorKind::Other.into())
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else { return self.stop(Unwritten::TooLong) };
        self.left = left;
        if let Err(error) = self.pace.steps(1 + bytes.len() / LIKE_A_VALUE) {
            return self.stop(Unwritten::Over(error));
        }
        if let Some(text) = &mut self.bytes {
            text.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bivium_interface::{Call, ErrorCode};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_written_up_to_its_limit() {
        let document = json!({"a": [1, "é", null]});
        let text = document.to_string();
        assert_eq!(write(&document, text.len(), &Pace::endless()).unwrap(), text.as_bytes());
        measure(&document, text.len(), &Pace::endless()).unwrap();
        for limit in 0..text.len() {
            assert!(matches!(write(&document, limit, &Pace::endless()), Err(Unwritten::TooLong)));
            assert!(matches!(measure(&document, limit, &Pace::endless()), Err(Unwritten::TooLong)));
        }
        let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(write(&no_json, 100, &Pace::endless()), Err(Unwritten::Invalid(_))));
    }

    #[test]
    fn a_document_that_fits_has_no_longer_text() {
        let numbers = json!([0, -1, u64::MAX, i64::MIN, -f64::MIN_POSITIVE, -f64::MAX, f64::EPSILON, 0.1, 1e300]);
        let strings = json!(["", "\u{0}\u{1f}\"\\\u{7f}", "é", "\u{1f600}", "\n\n\n"]);
        let rest = json!({"": null, "\u{0}": [true, false, [], {}, [[]]], "a": {"b": {"c": [null]}}});
        for document in [numbers, strings, rest] {
            let text = document.to_string();
            let fits = |limit: usize| document.fits(&mut { limit }, &mut Pace::endless()).unwrap();
            let least = (0..).find(|limit| fits(*limit)).unwrap();
            assert!(text.len() <= least && least <= 40 * text.len(), "{least} {text}");
            for item in document.as_array().into_iter().flatten() {
                let (text, mut left) = (item.to_string(), 1000);
                assert!(item.fits(&mut left, &mut Pace::endless()).unwrap());
                assert!(text.len() <= 1000 - left, "{text}");
            }
        }
        let late = Call::new().timeout(Duration::ZERO);
        let measured = measure(&json!(vec![1; 10_000]), usize::MAX, &Pace::of(late.handle()));
        assert!(matches!(measured, Err(Unwritten::Over(error)) if error.code() == ErrorCode::Timeout));
    }

    #[test]
    fn writing_stops_when_the_call_is_over() {
        let late = Call::new().timeout(Duration::ZERO);
        for document in [json!(vec![1; 10_000]), json!("x".repeat(1 << 20))] {
            assert!(are_many([&document]));
            let written = write(&document, usize::MAX, &Pace::of(late.handle()));
            assert!(matches!(written, Err(Unwritten::Over(error)) if error.code() == ErrorCode::Timeout));
        }
    }

    #[test]
    fn few_values_are_distinguished_from_many() {
        let few = [json!(1), json!("x".repeat(64 << 10)), json!({"a": vec![1; 1000]})];
        assert!(!are_many(&few));
        assert!(!are_many([]));
        let many = [json!(vec![json!([]); 5000]), json!("x".repeat(1 << 20)), json!({"k".repeat(1 << 20): 1})];
        for many in &many {
            assert!(are_many([many]));
        }
        assert!(are_many(std::iter::repeat_n(&few[1], 5)), "together");
    }
}
