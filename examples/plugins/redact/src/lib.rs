//! `redact`: masks what matches the patterns of its configuration, in a text or in recognized segments, where the
//! text and the list of words are masked alike. Changing the configuration changes the patterns of a running plugin.
//!
//! A match that is spread over two segments is not found: each segment stands for itself.

mod patterns;
mod segments;

use bivium_guest::{Call, Error, Plugin, Result};
use patterns::{Config, Patterns};
use segments::Segment;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

struct Redact {
    patterns: Patterns,
}

/// One of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    segments: Option<Vec<Segment>>,
}

#[derive(Serialize, Deserialize)]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<Vec<Segment>>,
    /// How often each pattern matched.
    counts: Map<String, Value>,
}

impl Plugin for Redact {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Masks e-mail addresses, phone and card numbers, or whatever its patterns match.";
    const ALTERNATIVES: &'static [&'static [&'static str]] = &[&["text"], &["segments"]];
    type Config = Config;
    type Input = Input;
    type Output = Output;

    fn output_schema() -> Value {
        bivium_guest::schema_of::<Output>()
    }

    fn config_schema() -> Value {
        patterns::config_schema()
    }

    fn new(config: Config) -> Result<Self> {
        Ok(Self { patterns: Patterns::new(&config)? })
    }

    fn execute(&mut self, call: &Call, input: Input) -> Result<Output> {
        let mut counts = vec![0; self.patterns.names().count()];
        let (text, segments) = match (input.text, input.segments) {
            (Some(text), None) => (Some(self.patterns.mask(&text, &mut counts)), None),
            (None, Some(mut segments)) => {
                for segment in &mut segments {
                    call.check()?;
                    segment.mask(&self.patterns, &mut counts);
                }
                (None, Some(segments))
            }
            _ => return Err(Error::invalid_input("give either `text` or `segments`")),
        };
        let names = self.patterns.names().map(str::to_owned);
        let counts = names.zip(counts.into_iter().map(Value::from)).collect();
        Ok(Output { text, segments, counts })
    }
}

bivium_guest::export!(Redact);

#[cfg(test)]
mod tests {
    use bivium_guest::testing::Harness;
    use serde_json::json;

    use super::*;

    fn redact(config: &Value) -> Harness<Redact> {
        Harness::new(config).unwrap()
    }

    fn masked(redact: &mut Harness<Redact>, text: &str) -> String {
        redact.execute(&json!({"text": text}), &[]).unwrap().0["text"].as_str().unwrap().to_owned()
    }

    #[test]
    fn the_default_patterns_mask_what_they_are_for() {
        let mut plugin = redact(&json!({}));
        for (text, expected) in [
            ("write to Ann.Lee+x@mail.example.co.uk.", "write to [email]."),
            ("call +44 20 7946 0958 today", "call [phone] today"),
            ("call (555) 123-4567, or 555.123.4567", "call [phone], or [phone]"),
            ("card 4111 1111 1111 1111 ok", "card [card] ok"),
            ("my number is five five five, one two three four", "my number is [spoken-number]"),
            ("double seven oh nine three two please", "[spoken-number] please"),
            ("one two three go", "one two three go"),
            ("in 1984 we had 12 of 300", "in 1984 we had 12 of 300"),
            ("someone often phones", "someone often phones"),
        ] {
            assert_eq!(masked(&mut plugin, text), expected);
        }
        let (result, _) = plugin.execute(&json!({"text": "a@b.cc d@e.ff 4111111111111111"}), &[]).unwrap();
        assert_eq!(result["counts"], json!({"email": 2, "card": 1, "phone": 0, "spoken-number": 0}));
    }

    #[test]
    fn text_and_words_are_masked_alike_and_keep_the_rest() {
        let spoken = ["it", "is", "one", "two", "three", "four", "five", "okay"];
        let times = |(n, word): (usize, &str)| json!({"word": word, "start": n, "end": n + 1});
        let spoken: Vec<Value> = spoken.into_iter().enumerate().map(times).collect();
        let segments = json!([{
            "index": 3, "text": "mail bob@x.org, now",
            "words": [
                {"word": "mail", "start": 0.0, "end": 0.4, "confidence": 0.9},
                {"word": "bob@x.org,", "start": 0.5, "end": 1.4},
                {"word": "now", "start": 1.5, "end": 1.9}
            ]
        }, {
            "text": "it is one two three four five okay",
            "words": spoken
        }]);
        let (result, _) = redact(&json!({})).execute(&json!({"segments": segments}), &[]).unwrap();
        assert_eq!(result["segments"][0]["text"], "mail [email], now");
        assert_eq!(result["segments"][0]["index"], 3);
        assert_eq!(result["segments"][0]["words"][0]["confidence"], 0.9);
        assert_eq!(result["segments"][0]["words"][1], json!({"word": "[email],", "start": 0.5, "end": 1.4}));
        assert_eq!(result["segments"][1]["text"], "it is [spoken-number] okay");
        let words = result["segments"][1]["words"].as_array().unwrap();
        assert_eq!(words.len(), 4);
        assert_eq!(words[2], json!({"word": "[spoken-number]", "start": 2, "end": 7}));
        assert_eq!(result["counts"], json!({"email": 1, "card": 0, "phone": 0, "spoken-number": 1}));
    }

    #[test]
    fn a_new_configuration_takes_hold_and_a_bad_one_does_not() {
        let mut plugin =
            redact(&json!({"patterns": [{"name": "cat", "regex": "(?i)\\bcats?\\b"}], "mask": "<{name}>"}));
        assert_eq!(masked(&mut plugin, "Cats and a cat"), "<cat> and a <cat>");
        for (bad, words) in [
            (json!({"patterns": [{"name": "ok", "regex": "a"}, {"name": "open", "regex": "(a"}]}), "`open`"),
            (json!({"patterns": [{"name": "twice", "regex": "a"}, {"name": "twice", "regex": "b"}]}), "`twice`"),
            (json!({"patterns": [{"name": "empty", "regex": "a*"}]}), "`empty`"),
            (json!({"patterns": [{"name": "big", "regex": "(?:\\w{900}){900}"}]}), "`big`"),
            (json!({"pattern": []}), "there is no `pattern`; there is `patterns`, `mask`"),
        ] {
            let error = plugin.configure(&bad).unwrap_err();
            assert!(error.code() == "invalid-config" && error.message().contains(words), "{error}");
        }
        assert_eq!(masked(&mut plugin, "a cat"), "a <cat>");
        plugin.configure(&json!({"patterns": [{"name": "dog", "regex": "dog", "replacement": "***"}]})).unwrap();
        assert_eq!(masked(&mut plugin, "a cat, a dog"), "a cat, a ***");
    }

    #[test]
    fn wants_one_of_text_and_segments() {
        let mut plugin = redact(&json!({}));
        for wrong in [json!({}), json!({"text": "a", "segments": []}), json!({"txt": "a"})] {
            assert_eq!(plugin.execute(&wrong, &[]).unwrap_err().code(), "invalid-input");
        }
    }
}
