//! Makes untrusted text safe for messages.

pub(crate) use bivium_interface::clip;
use bivium_interface::head;

/// A name from a component, escaped and cut.
pub(crate) fn name(name: &str) -> String {
    clip(head(name, 200).escape_debug().to_string(), 200)
}

/// The engine's error message on one line. It may contain names from a component.
pub(crate) fn reason(error: &wasmtime::Error) -> String {
    line(&format!("{error:#}"), 500)
}

/// Untrusted text on one line of at most this many bytes.
pub(crate) fn line(text: &str, most: usize) -> String {
    harmless(text.trim_start(), most)
}

/// The same, but keeps the space before it.
pub(crate) fn indented(text: &str, most: usize) -> String {
    harmless(text, most)
}

fn harmless(text: &str, most: usize) -> String {
    let text = head(text, most);
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' => line.push(' '),
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    clip(line, most)
}
