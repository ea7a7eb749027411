//! Escapes untrusted text for a terminal, and formats JSON.
//!
//! Only [`is_unseen`] decides which characters are escaped; [`Output::line`](super::Output::line) and
//! [`Screen`](super::Screen) pass all text through [`printable`].

use std::borrow::Cow;

use bivium_interface::head;
use serde_json::Value;
use unicode_general_category::{GeneralCategory, get_general_category};

/// Whether a character is invisible but has an effect: control characters and escape sequences, marks that change the direction of
/// writing or have no width, line separators, and characters that look empty.
fn is_unseen(c: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    // Unicode calls these letters or marks, but they look empty.
    const EMPTY: [char; 7] = ['\u{34f}', '\u{115f}', '\u{1160}', '\u{17b4}', '\u{17b5}', '\u{3164}', '\u{ffa0}'];
    matches!(get_general_category(c), Control | Format | LineSeparator | ParagraphSeparator) || EMPTY.contains(&c)
}

/// The text with every invisible character escaped, except line ends and tabs. Then nothing in it can move the cursor, change
/// colours, send commands to the terminal, or reverse or hide text.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_written_out = |c: char| is_unseen(c) && !matches!(c, '\n' | '\t');
    // Avoids a copy, because a result may be large.
    if !text.chars().any(is_written_out) {
        return Cow::Borrowed(text);
    }
    let mut fit = String::with_capacity(text.len());
    for c in text.chars() {
        if is_written_out(c) { fit.extend(c.escape_default()) } else { fit.push(c) }
    }
    Cow::Owned(fit)
}

/// The text on one line: white space of any kind and length becomes one space.
pub(crate) fn on_one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
}

/// A number and what is counted: `1 file`, `2 files`.
pub(crate) fn counted(number: impl std::fmt::Display, what: &str) -> String {
    let number = number.to_string();
    let ending = if number == "1" { "" } else { "s" };
    format!("{number} {what}{ending}")
}

/// A name from a file, on one line and shortened. Its author could choose it freely.
pub(crate) fn short(name: &str) -> String {
    cut(name, 100)
}

/// The first bytes of a text, on one line.
pub(super) fn cut(text: &str, most: usize) -> String {
    let dots = if text.len() > most { "…" } else { "" };
    format!("{}{dots}", on_one_line(head(text, most)))
}

/// The text of one record, with all lines but the first indented, so that no line can look like another record.
pub(crate) fn indented(text: &str) -> String {
    printable(text.trim_end()).replace('\n', "\n    ")
}

/// A longer JSON text is not indented: indented it may be many times as long, and nobody reads it.
const LAID_OUT: usize = 1 << 20;

/// JSON in which every invisible character is escaped. It reads as the same value. serde_json escapes only control characters below
/// the space.
pub(super) fn json(value: &Value, pretty: bool) -> String {
    let mut text = value.to_string();
    if pretty && text.len() <= LAID_OUT {
        text = format!("{value:#}");
    }
    // Line ends are only part of the indentation: in strings they are already escaped.
    let needs_escape = |c: char| c != '\n' && is_unseen(c);
    if !text.chars().any(needs_escape) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if needs_escape(c) {
            // They occur only in strings, where an escape is allowed.
            escaped.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn invisible_characters_are_escaped() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}é\tb\n"), "a\\u{1b}[2J\\u{9b}é\tb\n");
        assert_eq!(on_one_line(" a\r\n  b\u{7}\t"), "a b\\u{7}");
        assert_eq!((short("a\n b\u{1b}"), short(&"é".repeat(1 << 19)).len()), ("a b\\u{1b}".to_owned(), 103));
        assert_eq!(indented("a\nwarn: b\r\n"), "a\n    warn: b");
        assert_eq!(printable("cod\u{202e}gnp.exe"), "cod\\u{202e}gnp.exe");
    }

    #[test]
    fn every_kind_of_invisible_character_is_known() {
        let unseen = ('\0'..'\u{9}')
            .chain('\u{b}'..' ')
            .chain('\u{7f}'..='\u{9f}')
            .chain(['\u{ad}', '\u{34f}', '\u{61c}', '\u{180e}', '\u{2028}', '\u{2029}', '\u{3164}', '\u{feff}'])
            .chain('\u{200b}'..='\u{200f}')
            .chain('\u{202a}'..='\u{202e}')
            .chain('\u{2060}'..='\u{2064}')
            .chain('\u{2066}'..='\u{206f}')
            .chain('\u{fff9}'..='\u{fffb}')
            .chain(['\u{e0001}', '\u{e0041}', '\u{1d173}']);
        for c in unseen {
            let plain = c.to_string();
            let shown = printable(&plain);
            assert!(shown.starts_with('\\'), "{:x}", u32::from(c));
            let text = super::json(&json!([c, {(c.to_string()): 1}]), false);
            assert!(!text.contains(c), "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!([c, {(c.to_string()): 1}]));
        }
        for seen in ["é", "日本", "😀", "שלום", "e\u{301}", "नमस्ते", "\u{a0}", "❤\u{fe0f}", "„“—…"]
        {
            assert_eq!(printable(seen), seen);
        }
    }

    #[test]
    fn json_stays_the_same_value_without_control_characters() {
        let value = json!({"a\u{9b}": "\u{7f}\u{1b}é\u{202e}"});
        for pretty in [true, false] {
            let text = super::json(&value, pretty);
            assert!(!text.chars().any(|c| is_unseen(c) && c != '\n'), "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn a_long_value_is_not_indented() {
        assert_eq!(super::json(&json!([1, 2]), true), "[\n  1,\n  2\n]");
        let long = super::json(&Value::from(vec![1; LAID_OUT]), true);
        assert_eq!((long.lines().count(), long.len()), (1, 2 * LAID_OUT + 1));
    }
}
