//! Cuts untrusted text to the length that a host stores.

/// The first bytes of a text: at most `most`, and only whole characters.
#[must_use]
pub fn head(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// As [`head`], for a text that is stored. Its memory is about that size: `String::truncate` would keep the memory of the whole
/// text.
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

/// How many of the first `most` bytes of a text to take so that no character is cut: an incomplete character at the end is not
/// counted. Bytes that are not UTF-8 count one by one.
#[must_use]
pub fn whole(text: &[u8], most: usize) -> usize {
    let end = text.len().min(most);
    for (before, byte) in text.iter().take(end).rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        let has = before + 1;
        // The text is shorter than its first character, so there is nothing else to take.
        return if has < length && has < end { end - has } else { end };
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_cut_off_takes_no_memory() {
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

    #[test]
    fn no_character_is_cut() {
        let text = "aé€🙂b".as_bytes();
        let cuts: Vec<usize> = (0..=text.len() + 1).map(|most| whole(text, most)).collect();
        assert_eq!(cuts, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11]);
        assert_eq!(whole(b"\xf0\x9f\x99", 8), 3, "nothing stands before it");
        assert_eq!(whole(b"a\xf0\x9f\x99", 8), 1, "its end may come yet");
        assert_eq!(whole(b"\xff\x80\x80\x80\x80", 4), 4, "no UTF-8");
    }
}
