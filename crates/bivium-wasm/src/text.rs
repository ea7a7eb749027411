//! Text from strangers, made fit for messages.

/// At most `most` bytes of it.
pub(crate) fn clip(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

/// A name that a stranger chose: escaped and not for ever long.
pub(crate) fn name(name: &str) -> String {
    clip(name.escape_debug().to_string(), 200)
}
