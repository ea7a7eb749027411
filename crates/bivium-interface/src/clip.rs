//! Text from strangers, cut to what a host keeps of it.

/// At most `most` bytes of a text, up to the end of a character.
#[must_use]
pub fn head(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// The same of a text that is kept, in memory of about that size: `String::truncate` would keep all that the whole text
/// took.
#[must_use]
pub fn clip(mut text: String, most: usize) -> String {
    if text.len() > most {
        return head(&text, most).to_owned();
    }
    if text.capacity() > most {
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_takes_no_memory() {
        let mut roomy = String::with_capacity(1 << 20);
        roomy.push('é');
        for (text, kept) in
            [("é".repeat(1 << 20), "é".repeat(50)), (roomy, "é".to_owned()), (String::new(), String::new())]
        {
            let clipped = clip(text, 101);
            assert_eq!(clipped, kept);
            assert!(clipped.capacity() <= 101, "{}", clipped.capacity());
        }
        assert_eq!(head("aé", 2), "a");
    }
}
