//! Text from strangers, made fit for messages.

pub(crate) use bivium_interface::clip;
use bivium_interface::head;

/// A name that a stranger chose: escaped and not for ever long.
pub(crate) fn name(name: &str) -> String {
    clip(head(name, 200).escape_debug().to_string(), 200)
}

/// Why the engine refuses something, on one line: it repeats names that a stranger chose.
pub(crate) fn reason(error: &wasmtime::Error) -> String {
    line(&format!("{error:#}"), 500)
}

/// What a stranger says, on one line of at most this many bytes.
pub(crate) fn line(text: &str, most: usize) -> String {
    harmless(text.trim_start(), most)
}

/// The same with the space before it.
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
