//! `subtitles`: recognized words with their times to SubRip (SRT) and WebVTT.

mod cues;
mod write;

use bivium_guest::{Blob, Call, Empty, Error, Plugin, Result};
use cues::{Limits, Word};
use serde::{Deserialize, Serialize};

struct Subtitles;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    segments: Vec<Segment>,
    /// Characters of a line.
    #[serde(default = "max_chars")]
    max_chars: usize,
    /// Lines of a cue.
    #[serde(default = "max_lines")]
    max_lines: usize,
    /// Seconds of a cue.
    #[serde(default = "max_seconds")]
    max_seconds: f64,
    /// A silence of this many seconds ends a cue.
    #[serde(default = "gap_s")]
    gap_s: f64,
}

fn max_chars() -> usize {
    42
}

fn max_lines() -> usize {
    2
}

fn max_seconds() -> f64 {
    6.0
}

fn gap_s() -> f64 {
    0.8
}

/// What a recognizer makes of one stretch of speech; it may say more, which is ignored.
#[derive(Deserialize)]
struct Segment {
    #[serde(default)]
    text: String,
    #[serde(default)]
    words: Vec<Word>,
    /// Added to the words' times, where these count from the segment's own start.
    #[serde(default)]
    offset_s: f64,
}

#[derive(Serialize, Deserialize)]
struct Output {
    srt: Blob,
    vtt: Blob,
    /// The whole transcript, a line a segment.
    text: String,
    cues: usize,
}

impl Plugin for Subtitles {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Makes SRT and WebVTT subtitles of recognized words.";
    type Config = Empty;
    type Input = Input;
    type Output = Output;

    fn output_schema() -> bivium_guest::serde_json::Value {
        bivium_guest::schema_of::<Output>()
    }

    fn config_schema() -> bivium_guest::serde_json::Value {
        bivium_guest::serde_json::json!({"type": "object", "additionalProperties": false})
    }

    fn new(_: Empty) -> Result<Self> {
        Ok(Self)
    }

    fn execute(&mut self, call: &Call, input: Input) -> Result<Output> {
        let limits = Limits::new(input.max_chars, input.max_lines, input.max_seconds, input.gap_s)?;
        let mut timed = Vec::new();
        for (n, segment) in input.segments.into_iter().enumerate() {
            call.check()?;
            timed.push(segment.into_timed(n)?);
        }
        // Segments may have been recognized side by side and come in any order.
        timed.sort_by(|a, b| a.start().total_cmp(&b.start()));
        let text = timed.iter().map(|segment| segment.text.as_str()).filter(|text| !text.is_empty());
        let text = text.collect::<Vec<_>>().join("\n");
        let cues = cues::split(timed.into_iter().map(|segment| segment.words), &limits);
        Ok(Output {
            srt: Blob::from_bytes("application/x-subrip", write::srt(&cues).as_bytes())?,
            vtt: Blob::from_bytes("text/vtt", write::vtt(&cues).as_bytes())?,
            text,
            cues: cues.len(),
        })
    }
}

/// A segment whose times are checked and count from the start of the whole.
struct Timed {
    text: String,
    words: Vec<Word>,
}

impl Timed {
    fn start(&self) -> f64 {
        self.words.first().map_or(f64::MAX, |word| word.start)
    }
}

impl Segment {
    fn into_timed(self, n: usize) -> Result<Timed> {
        let mut words = self.words;
        for (m, word) in words.iter_mut().enumerate() {
            word.start += self.offset_s;
            word.end += self.offset_s;
            word.word = squeeze(&word.word);
            let wrong = |what: &str| {
                let (start, end) = (word.start, word.end);
                Error::invalid_input(format!("segment {n}, word {m} `{}`: {what} ({start} to {end} s)", word.word))
            };
            if !(word.start >= 0.0 && word.end <= cues::LATEST) {
                return Err(wrong("its times must lie between 0 and 1000 hours"));
            }
            if word.end < word.start {
                return Err(wrong("it ends before it starts"));
            }
        }
        words.retain(|word| !word.word.is_empty());
        words.sort_by(|a, b| a.start.total_cmp(&b.start));
        let mut text = squeeze(&self.text);
        if text.is_empty() {
            text = words.iter().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" ");
        }
        Ok(Timed { text, words })
    }
}

/// On one line, with single spaces.
fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

bivium_guest::export!(Subtitles);

#[cfg(test)]
mod tests {
    use bivium_guest::serde_json::{Value, json};
    use bivium_guest::testing::Harness;

    use super::*;

    fn words(text: &str, start: f64, each: f64) -> Vec<Value> {
        let word =
            |(n, word)| json!({"word": word, "start": start + each * n as f64, "end": start + each * (n as f64 + 0.9)});
        text.split(' ').enumerate().map(word).collect()
    }

    fn run(arguments: &Value) -> Result<(String, String, Value)> {
        let (result, blobs) = Harness::<Subtitles>::new(&json!({})).unwrap().execute(arguments, &[])?;
        let text = |n: usize| String::from_utf8(blobs[n].bytes(1 << 20).unwrap()).unwrap();
        assert_eq!(blobs[0].media_type(), "application/x-subrip");
        assert_eq!(blobs[1].media_type(), "text/vtt");
        Ok((text(0), text(1), result))
    }

    #[test]
    fn writes_both_formats_and_the_transcript_in_order_of_time() {
        let (srt, vtt, result) = run(&json!({"segments": [
            {"text": "second  part", "words": words("second part", 0.0, 0.5), "offset_s": 3661.5},
            {"words": words("a < b & c", 0.5, 0.5)},
        ]}))
        .unwrap();
        assert_eq!(
            srt,
            "1\n00:00:00,500 --> 00:00:02,950\na < b & c\n\n2\n01:01:01,500 --> 01:01:02,450\nsecond part\n\n"
        );
        assert_eq!(
            vtt,
            "WEBVTT\n\n00:00:00.500 --> 00:00:02.950\na &lt; b &amp; c\n\n01:01:01.500 --> 01:01:02.450\nsecond part\n\n"
        );
        assert_eq!(result["text"], "a < b & c\nsecond part");
        assert_eq!(result["cues"], 2);
    }

    #[test]
    fn nothing_said_is_no_cue() {
        let (srt, vtt, result) =
            run(&json!([[{"text": "", "words": []}, {"words": [{"word": " ", "start": 0, "end": 1}]}]])).unwrap();
        assert_eq!((srt.as_str(), vtt.as_str(), &result["cues"]), ("", "WEBVTT\n\n", &json!(0)));
    }

    #[test]
    fn wrong_times_and_limits_are_refused_by_name() {
        let word =
            |start: f64, end: f64| json!({"segments": [{}, {"words": [{"word": "hm", "start": start, "end": end}]}]});
        for (arguments, words) in [
            (word(2.0, 1.0), "segment 1, word 0 `hm`: it ends before it starts (2 to 1 s)"),
            (word(-1.0, 1.0), "between 0 and 1000 hours"),
            (word(0.0, 1e300), "between 0 and 1000 hours"),
            (json!({"segments": [], "max_chars": 0}), "max_chars"),
            (json!({"segments": [], "max_seconds": 0}), "max_seconds"),
            (json!({"segment": []}), "there is no argument \"segment\""),
        ] {
            let error = run(&arguments).unwrap_err();
            assert!(error.code() == "invalid-input" && error.message().contains(words), "{error}");
        }
    }
}
