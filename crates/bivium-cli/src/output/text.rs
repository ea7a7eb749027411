//! Text that plugins wrote, made fit for a terminal, and JSON as it is printed.

use serde_json::Value;

/// The text with every control character but line ends and tabs written out, so that nothing moves the cursor,
/// changes colours or talks to the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut fit = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') { fit.extend(c.escape_default()) } else { fit.push(c) }
    }
    fit
}

/// The text on one line: white space of any kind and length becomes one blank.
pub(crate) fn on_one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A longer text is not laid out: nobody reads it, and laid out it may be many times as long.
const LAID_OUT: usize = 1 << 20;

/// JSON with every control character escaped: serde_json leaves DEL and those above it (C1) as they are.
pub(super) fn json(value: &Value, pretty: bool) -> String {
    let mut text = value.to_string();
    if pretty && text.len() <= LAID_OUT {
        text = format!("{value:#}");
    }
    if !text.chars().any(needs_escape) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        // Outside of strings JSON has none of them.
        if needs_escape(c) { escaped.push_str(&format!("\\u{:04x}", u32::from(c))) } else { escaped.push(c) }
    }
    escaped
}

fn needs_escape(c: char) -> bool {
    ('\u{7f}'..='\u{9f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}é\tb\n"), "a\\u{1b}[2J\\u{9b}é\tb\n");
        assert_eq!(on_one_line(" a\r\n  b\u{7}\t"), "a b\\u{7}");
    }

    #[test]
    fn json_stays_the_same_value_without_control_characters() {
        let value = json!({"a\u{9b}": "\u{7f}\u{1b}é"});
        for pretty in [true, false] {
            let text = super::json(&value, pretty);
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }

    #[test]
    fn a_long_value_is_not_laid_out() {
        assert_eq!(super::json(&json!([1, 2]), true), "[\n  1,\n  2\n]");
        let long = super::json(&Value::from(vec![1; LAID_OUT]), true);
        assert_eq!((long.lines().count(), long.len()), (1, 2 * LAID_OUT + 1));
    }
}
