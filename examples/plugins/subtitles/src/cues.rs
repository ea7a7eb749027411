//! From timed words to cues: what is shown at once.
//!
//! A cue ends where the speaker pauses, where its lines are full, or when it has been shown long enough; of these the
//! last two prefer a place after punctuation, if there is one in the later half of the cue.

use bivium_guest::{Error, Result};
use serde::Deserialize;

/// A thousand hours: what the formats can still write with four digits.
pub(crate) const LATEST: f64 = 3_600_000.0;

/// A word and when it is said, in seconds.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Word {
    pub(crate) word: String,
    pub(crate) start: f64,
    pub(crate) end: f64,
}

/// What is shown at once.
#[derive(Debug, PartialEq)]
pub(crate) struct Cue {
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) lines: Vec<String>,
}

/// How large a cue may be.
pub(crate) struct Limits {
    chars: usize,
    lines: usize,
    seconds: f64,
    gap: f64,
}

impl Limits {
    pub(crate) fn new(chars: usize, lines: usize, seconds: f64, gap: f64) -> Result<Self> {
        let wrong = |name, range| Err(Error::invalid_input(format!("{name} must be from {range}")));
        match () {
            () if !(8..=500).contains(&chars) => wrong("max_chars", "8 to 500"),
            () if !(1..=8).contains(&lines) => wrong("max_lines", "1 to 8"),
            () if !(0.5..=60.0).contains(&seconds) => wrong("max_seconds", "0.5 to 60"),
            () if !(0.05..=60.0).contains(&gap) => wrong("gap_s", "0.05 to 60"),
            () => Ok(Self { chars, lines, seconds, gap }),
        }
    }
}

/// The cues of segments in order of time. No cue holds words of two segments, and no two are shown at once.
pub(crate) fn split(segments: impl Iterator<Item = Vec<Word>>, limits: &Limits) -> Vec<Cue> {
    let mut cues: Vec<Cue> = Vec::new();
    for words in segments {
        let mut rest = words.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest, limits));
            cues.extend(cue(now, limits));
            rest = later;
        }
    }
    for n in 1..cues.len() {
        let next = cues.get(n).map_or(LATEST, |cue| cue.start);
        if let Some(cue) = cues.get_mut(n - 1) {
            cue.end = cue.end.min(next.max(cue.start));
        }
    }
    cues
}

/// How many of the words make the next cue; at least one.
fn fitting(words: &[Word], limits: &Limits) -> usize {
    let start = words.first().map_or(0.0, |word| word.start);
    let mut count = 0;
    let mut last_end = start;
    for word in words {
        if count > 0 && word.start - last_end >= limits.gap {
            return count;
        }
        let all = words.get(..=count).unwrap_or(words);
        if count > 0 && (word.end - start > limits.seconds || wrap(all, limits.chars).len() > limits.lines) {
            return at_punctuation(words.get(..count).unwrap_or(words)).unwrap_or(count);
        }
        last_end = last_end.max(word.end);
        count += 1;
    }
    count
}

/// After the last punctuation in the later half.
fn at_punctuation(words: &[Word]) -> Option<usize> {
    let last = words.iter().rposition(|word| word.word.ends_with(['.', '!', '?', ',', ';', ':', '…']))? + 1;
    (last * 2 > words.len()).then_some(last)
}

fn cue(words: &[Word], limits: &Limits) -> Option<Cue> {
    let end = words.iter().map(|word| word.end).fold(0.0, f64::max);
    Some(Cue { start: words.first()?.start, end, lines: wrap(words, limits.chars) })
}

/// Lines of at most `chars` characters. A longer word stands alone.
fn wrap(words: &[Word], chars: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        let length = word.word.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + length <= chars => {
                line.push(' ');
                line.push_str(&word.word);
            }
            _ => lines.push(word.word.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, each: f64) -> Vec<Word> {
        let word =
            |(n, word): (usize, &str)| Word { word: word.into(), start: each * n as f64, end: each * (n + 1) as f64 };
        text.split(' ').enumerate().map(word).collect()
    }

    fn lines(segments: Vec<Vec<Word>>, limits: &Limits) -> Vec<String> {
        split(segments.into_iter(), limits).into_iter().map(|cue| cue.lines.join("/")).collect()
    }

    #[test]
    fn lines_and_cues_are_filled_and_no_more() {
        let limits = Limits::new(10, 2, 60.0, 1.0).unwrap();
        let all = lines(vec![words("aaaa bbbb cccc dddd eeee incomprehensibilities x", 0.1)], &limits);
        assert_eq!(all, ["aaaa bbbb/cccc dddd", "eeee/incomprehensibilities", "x"]);
    }

    #[test]
    fn cues_prefer_to_end_after_punctuation() {
        let limits = Limits::new(20, 1, 60.0, 1.0).unwrap();
        assert_eq!(lines(vec![words("one two, three four", 0.1)], &limits), ["one two, three four"]);
        assert_eq!(lines(vec![words("one two, three fourteen", 0.1)], &limits), ["one two,", "three fourteen"]);
        assert_eq!(lines(vec![words("a, b c d e f g h i j k", 0.1)], &limits)[0], "a, b c d e f g h i j");
    }

    #[test]
    fn pauses_and_time_end_a_cue() {
        let limits = Limits::new(42, 2, 2.0, 0.5).unwrap();
        let mut spoken = words("one two three four", 0.5);
        spoken[2].start += 0.5;
        spoken[2].end += 0.5;
        spoken[3].start += 5.0;
        spoken[3].end += 5.0;
        assert_eq!(lines(vec![spoken], &limits), ["one two", "three", "four"]);
        assert_eq!(lines(vec![words("one two three four", 0.9)], &limits), ["one two", "three four"]);
    }

    #[test]
    fn no_two_cues_are_shown_at_once() {
        let limits = Limits::new(42, 2, 6.0, 0.8).unwrap();
        let mut early = words("first", 2.0);
        early.push(Word { word: "long".into(), start: 0.5, end: 3.0 });
        let mut late = words("second", 1.0);
        late[0].start = 2.5;
        late[0].end = 3.5;
        let cues = split([early, late].into_iter(), &limits);
        assert_eq!((cues[0].start, cues[0].end, cues[1].start), (0.0, 2.5, 2.5));
    }
}
