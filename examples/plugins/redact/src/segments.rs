//! Recognized segments: a text and the words that it is made of, masked alike.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::patterns::Patterns;

/// A segment; what it holds besides stays as it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Segment {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    words: Option<Vec<Word>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A word with its times and whatever else the recognizer says of it.
#[derive(Debug, Serialize, Deserialize)]
struct Word {
    word: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Segment {
    /// Masks the text and the words. What is found in both counts once.
    pub(crate) fn mask(&mut self, patterns: &Patterns, counts: &mut [u64]) {
        let mut in_text = vec![0; counts.len()];
        let mut in_words = in_text.clone();
        if let Some(text) = &mut self.text {
            *text = patterns.mask(text, &mut in_text);
        }
        if let Some(words) = &mut self.words {
            *words = mask_words(std::mem::take(words), patterns, &mut in_words);
        }
        for (count, (a, b)) in counts.iter_mut().zip(in_text.into_iter().zip(in_words)) {
            *count += a.max(b);
        }
    }
}

/// The words that a match touches become one, which lasts from the start of the first to the end of the last.
fn mask_words(words: Vec<Word>, patterns: &Patterns, counts: &mut [u64]) -> Vec<Word> {
    let joined = words.iter().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" ");
    let found = patterns.matches(&joined);
    Patterns::count(&found, counts);

    let mut masked = Vec::with_capacity(words.len());
    let mut matches = found.as_slice();
    let mut words = words.into_iter().peekable();
    let mut at = 0;
    while let Some(mut word) = words.next() {
        let start = at;
        at += word.word.len() + 1;
        // Take in further words for as long as a match reaches over the end of what is taken in.
        let mut touching = matches.iter().take_while(|one| one.range.start < at).count();
        while matches.get(..touching).and_then(<[_]>::last).is_some_and(|one| one.range.end >= at) {
            let Some(mut next) = words.next() else { break };
            at += next.word.len() + 1;
            word.word.push(' ');
            word.word.push_str(&next.word);
            if let Some(end) = next.rest.remove("end") {
                word.rest.insert("end".to_owned(), end);
            }
            touching = matches.iter().take_while(|one| one.range.start < at).count();
        }
        let (here, later) = matches.split_at_checked(touching).unwrap_or((matches, &[]));
        word.word = patterns.replace(&word.word, start, here);
        matches = later;
        masked.push(word);
    }
    masked
}
