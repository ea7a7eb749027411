//! Reads JSON text exactly: a value that cannot be represented exactly is refused, with its place.
//!
//! `serde_json` silently turns an integer beyond 64 bits into a float, and silently keeps only the last of two equal keys. So this module
//! checks the text itself ([`find`]). The feature `arbitrary_precision` of `serde_json` would solve the first, but it changes how
//! every crate of an embedder's build reads JSON.

use std::borrow::Cow;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;

use serde::de::DeserializeOwned;

/// A float of this size or more may have been an integer in the text: see [`is_doubtful`].
const DOUBTFUL: f64 = 9.2e18;
/// The longest place in a message, in characters.
const MAX_PLACE: usize = 200;
/// The longest number in a message, in characters.
const MAX_DIGITS: usize = 80;
/// Values that are nested deeper are not checked: no reader here accepts more than 128 levels.
const DEEPEST: usize = 512;

/// Something in a JSON text that cannot be represented exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inexact {
    /// Its place, for example `items[3].id`; empty for the whole text.
    pub place: String,
    /// What is wrong with it.
    pub kind: InexactKind,
}

/// The kinds of [`Inexact`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InexactKind {
    /// An integer below −2⁶³, or 2⁶⁴ or more: its digits, or their count if there are many.
    Integer(String),
    /// A number that is too large for a float.
    Range(String),
    /// A key that occurs twice in its object: one of the two values would be lost.
    Key,
}

impl Inexact {
    /// The same, with its place below `root`, for example below an argument's name.
    #[must_use]
    pub fn below(mut self, root: &str) -> Self {
        let dot = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = clipped(&format!("{root}{dot}{}", self.place));
        self
    }
}

impl fmt::Display for Inexact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.place.is_empty() { "the value" } else { &self.place };
        match &self.kind {
            InexactKind::Integer(digits) => write!(
                f,
                "{place} is {digits}, an integer outside the range of exact JSON integers (-2**63 to 2**64-1): give it \
                 as a text"
            ),
            InexactKind::Range(digits) => {
                write!(f, "{place} is {digits}, which is too large for a 64-bit float: give it as a text")
            }
            InexactKind::Key => {
                write!(f, "the key {place} occurs twice in JSON: keep one of the two, or give them different names")
            }
        }
    }
}

impl std::error::Error for Inexact {}

/// Why a text could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unread {
    /// It is not JSON, or not JSON of the type that was asked for.
    Invalid(serde_json::Error),
    /// It contains something that cannot be represented exactly.
    Inexact(Inexact),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Inexact(inexact) => inexact.fmt(f),
        }
    }
}

impl std::error::Error for Unread {}

/// Reads a JSON text exactly.
///
/// # Errors
/// [`Unread`].
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Unread> {
    // Checked first: serde_json refuses a number that is too large for a float, but does not say where it is.
    match find(text.as_bytes()) {
        Some(inexact) => Err(Unread::Inexact(inexact)),
        None => serde_json::from_str(&without_negative_zeros(text)).map_err(Unread::Invalid),
    }
}

/// The same text with `0` in place of each `-0`, which serde_json would turn into a float. The text keeps its length, so that places
/// in it stay the same.
fn without_negative_zeros(text: &str) -> Cow<'_, str> {
    if !text.contains("-0") {
        return text.into();
    }
    let mut scan = Scan::of(text.as_bytes());
    let mut changed = text.as_bytes().to_vec();
    while let Some(byte) = scan.text.get(scan.at) {
        match byte {
            b'"' if scan.string().is_none() => break,
            b'"' => {}
            b'-' | b'0'..=b'9' => {
                let at = scan.at;
                if let (b"-0", Some(sign)) = (scan.number(), changed.get_mut(at)) {
                    *sign = b' ';
                }
            }
            _ => scan.at += 1,
        }
    }
    String::from_utf8(changed).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Whether a float that was read may be an inexact integer, so that the text must be checked by [`find`].
#[must_use]
pub fn is_doubtful(number: f64) -> bool {
    number.abs() >= DOUBTFUL
}

/// The first thing in a JSON text that cannot be represented exactly. A text that is not JSON is checked as far as possible. Takes
/// time proportional to the text's length, and 16 bytes for each key of the objects that are open at a time.
#[must_use]
pub fn find(text: &[u8]) -> Option<Inexact> {
    let mut scan = Scan::of(text);
    loop {
        let byte = *text.get(scan.at)?;
        match byte {
            b'"' => {
                let string = scan.string()?;
                if !scan.is_key_next() {
                    continue;
                }
                let hash = scan.hasher.hash_one(&*unescaped(string));
                match scan.open.last_mut() {
                    Some(Level::Object { keys, key, .. }) => {
                        *key = string;
                        if !keys.insert(hash) {
                            return Some(scan.inexact(InexactKind::Key));
                        }
                    }
                    _ => return None,
                }
            }
            b'{' | b'[' => {
                if scan.open.len() >= DEEPEST {
                    return None;
                }
                scan.open.push(match byte {
                    b'{' => Level::Object { keys: HashSet::new(), key: b"" },
                    _ => Level::Array(0),
                });
                scan.at += 1;
            }
            b'}' | b']' => {
                scan.open.pop()?;
                scan.at += 1;
            }
            b',' => {
                if let Some(Level::Array(index)) = scan.open.last_mut() {
                    *index += 1;
                }
                scan.at += 1;
            }
            b'-' | b'0'..=b'9' => {
                if let Some(kind) = kind(scan.number()) {
                    return Some(scan.inexact(kind));
                }
            }
            _ => scan.at += 1,
        }
    }
}

/// What is wrong with a number's text.
fn kind(text: &[u8]) -> Option<InexactKind> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let text = std::str::from_utf8(text).ok()?;
    if digits.iter().all(u8::is_ascii_digit) {
        // Shorter numbers fit.
        let fits = digits.len() < 19 || text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok();
        return (!fits).then(|| InexactKind::Integer(shown(text, digits.len())));
    }
    let beyond = text.parse::<f64>().is_ok_and(f64::is_infinite);
    beyond.then(|| InexactKind::Range(shown(text, text.len())))
}

fn shown(text: &str, digits: usize) -> String {
    if text.len() > MAX_DIGITS { format!("a number of {digits} digits") } else { text.to_owned() }
}

/// An array or object that is open.
enum Level<'t> {
    /// The index of the current item.
    Array(usize),
    Object {
        /// Hashes of the keys so far.
        keys: HashSet<u64>,
        /// The current key, as it is written in the text.
        key: &'t [u8],
    },
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
    open: Vec<Level<'t>>,
    hasher: RandomState,
}

impl<'t> Scan<'t> {
    fn of(text: &'t [u8]) -> Self {
        Self { text, at: 0, open: Vec::new(), hasher: RandomState::new() }
    }

    /// The string that begins here, as it is written in the text; `None` if it does not end.
    fn string(&mut self) -> Option<&'t [u8]> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.text.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        self.text.get(start..at)
    }

    /// Whether a colon follows, so that the last string was a key.
    fn is_key_next(&mut self) -> bool {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at) == Some(&b':')
    }

    /// The number that begins here.
    fn number(&mut self) -> &'t [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let len = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        self.at += len.max(1);
        rest.get(..len).unwrap_or_default()
    }

    fn inexact(&self, kind: InexactKind) -> Inexact {
        let mut place = String::new();
        for level in &self.open {
            match level {
                Level::Array(index) => place.push_str(&format!("[{index}]")),
                Level::Object { key, .. } => push_key(&mut place, &unescaped(key)),
            }
            if place.len() > (1 << 16) {
                break;
            }
        }
        Inexact { place: clipped(&place), kind }
    }
}

/// Adds a key to a place.
pub(crate) fn push_key(place: &mut String, key: &str) {
    let is_plain = key.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match (is_plain, place.is_empty()) {
        (true, true) => place.push_str(key),
        (true, false) => place.push_str(&format!(".{key}")),
        // Written as a JSON string, so that it contains no control characters.
        (false, _) => place.push_str(&format!("[{}]", serde_json::Value::from(key))),
    }
}

/// A place, with its middle left out if it is long.
fn clipped(place: &str) -> String {
    let count = place.chars().count();
    if count <= MAX_PLACE {
        return place.to_owned();
    }
    let half = MAX_PLACE / 2;
    place.chars().take(half).chain(['…']).chain(place.chars().skip(count - half)).collect()
}

/// The text of a string as it is written in JSON.
fn unescaped(written: &[u8]) -> Cow<'_, str> {
    if written.contains(&b'\\') {
        let quoted = [b"\"", written, b"\""].concat();
        if let Ok(text) = serde_json::from_slice::<String>(&quoted) {
            return text.into();
        }
    }
    String::from_utf8_lossy(written)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message(text: &str) -> String {
        from_str::<Value>(text).unwrap_err().to_string()
    }

    #[test]
    fn exact_values_are_read() {
        for (text, value) in [
            ("18446744073709551615", json!(u64::MAX)),
            ("[-9223372036854775808, 1e20, 1E+3, -0.5]", json!([i64::MIN, 1e20, 1e3, -0.5])),
            (r#"{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]}"#, json!({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})),
            (r#""18446744073709551616""#, json!("18446744073709551616")),
            (
                r#"{"a\"": "b: {\"a\": 1, \"a\": 99999999999999999999}"}"#,
                json!({"a\"": "b: {\"a\": 1, \"a\": 99999999999999999999}"}),
            ),
            (r#"[-0, {"a": -0}, -0.0, -0e1, "-0", "\"-0", -1]"#, json!([0, {"a": 0}, -0.0, -0.0, "-0", "\"-0", -1])),
            ("-0", json!(0)),
            ("--0", Value::Null),
            ("00000000000000000000", Value::Null),
        ] {
            match from_str::<Value>(text) {
                // Compared as text, because as numbers `-0.0` and 0 are equal.
                Ok(read) => assert_eq!(read.to_string(), value.to_string(), "{text}"),
                Err(error) => assert!(value.is_null() && matches!(error, Unread::Invalid(_)), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn inexact_values_are_refused_with_their_place() {
        assert_eq!(
            message("18446744073709551616"),
            "the value is 18446744073709551616, an integer outside the range of exact JSON integers (-2**63 to 2**64-1): give it as \
             a text"
        );
        for (text, begin) in [
            (r#"{"items": [1, {"id": -9223372036854775809}]}"#, "items[1].id is -9223372036854775809, an integer"),
            (r#"[[], [{"a b": {"\u0061": 99999999999999999999}}]]"#, r#"[1][0]["a b"].a is 99999999999999999999,"#),
            (r#"{"a": "x", "b": ["y", 1e400]}"#, "b[1] is 1e400, which is too large for a 64-bit float"),
            (r#"{"a": [1], "b" : 2, "a": 3}"#, "the key a occurs twice in JSON: keep one"),
            (r#"[{"x": {"é": 1, "\u00e9": 3}}]"#, "the key [0].x[\"é\"] occurs twice in JSON"),
        ] {
            assert!(message(text).starts_with(begin), "{text}: {}", message(text));
        }
        let long = format!(r#"{{"a": [1{}]}}"#, "0".repeat(400));
        assert!(message(&long).starts_with("a[0] is a number of 401 digits, an integer"), "{}", message(&long));
        let deep = format!("{}[99999999999999999999]{}", r#"{"level":"#.repeat(100), "}".repeat(100));
        assert!(message(&deep).starts_with("level.level") && message(&deep).len() < 400, "{}", message(&deep));
        let below = find(b"[99999999999999999999]").unwrap().below("ids").place;
        assert_eq!(
            (below.as_str(), find(b"{\"a\": 99999999999999999999}").unwrap().below("x").place.as_str()),
            ("ids[0]", "x.a")
        );
        assert_eq!(find(b"99999999999999999999").unwrap().below("n").place, "n");
    }

    #[test]
    fn floats_in_doubt_are_those_that_integers_may_have_become() {
        for text in ["18446744073709551616", "-9223372036854775809"] {
            assert!(is_doubtful(serde_json::from_str::<f64>(text).unwrap()));
        }
        assert!(!is_doubtful(9_007_199_254_740_993.0));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in r#"[\[\]{},:"0-9eE.\\u -]{0,64}"#) {
            let found = find(text.as_bytes());
            if let Ok(value) = serde_json::from_str::<Value>(&text) && found.is_none() {
                // A value that is read, written and read again is the same.
                proptest::prop_assert_eq!(&serde_json::from_str::<Value>(&value.to_string()).unwrap(), &value);
            }
        }
    }
}
