//! The configuration and what becomes of it: regular expressions of bounded size, and where they match.
//!
//! The engine is `regex-lite`: its time is bounded by the product of pattern and text, so no pattern can hang it.
//! All patterns look at the text as it came in, the first in the list has the first choice, and a mask is never
//! itself searched.

use std::ops::Range;

use bivium_guest::{Error, Result};
use regex_lite::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const MOST_PATTERNS: usize = 64;
const LONGEST_SOURCE: usize = 4096;
/// Bytes of one compiled pattern.
const LARGEST_PROGRAM: usize = 1 << 20;

/// What to mask, and with what.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    patterns: Vec<Pattern>,
    mask: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    name: String,
    regex: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replacement: Option<String>,
}

/// In order of choice. They err on the side of masking.
const DEFAULTS: [(&str, &str); 4] = [
    ("email", r"(?i)\b[a-z0-9._%+-]+@(?:[a-z0-9-]+\.)+[a-z]{2,24}\b"),
    ("card", r"\b\d(?:[ -]?\d){12,18}\b"),
    ("phone", r"(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,4}\) ?|\b\d{2,4}[ .-])\d{2,4}(?:[ .-]?\d{2,4}){1,3}\b"),
    (
        "spoken-number",
        concat!(
            r"(?i)\b(?:(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|",
            r"fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|",
            r"hundred|double|triple)[\s,.-]+){4,}",
            r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|",
            r"fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|",
            r"hundred)\b"
        ),
    ),
];

impl Default for Config {
    fn default() -> Self {
        let pattern =
            |(name, regex): (&str, &str)| Pattern { name: name.into(), regex: regex.into(), replacement: None };
        Self { patterns: DEFAULTS.into_iter().map(pattern).collect(), mask: "[{name}]".into() }
    }
}

pub(crate) fn config_schema() -> Value {
    let default = Config::default();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "patterns": {
                "type": "array",
                "description": "What to mask; where two match, the first in the list is taken.",
                "maxItems": MOST_PATTERNS,
                "default": default.patterns,
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["name", "regex"],
                    "properties": {
                        "name": {"type": "string", "minLength": 1, "maxLength": 64},
                        "regex": {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": LONGEST_SOURCE,
                            "description": "In the syntax of the Rust crate regex-lite."
                        },
                        "replacement": {"type": "string", "description": "In place of `mask`, for this pattern."}
                    }
                }
            },
            "mask": {
                "type": "string",
                "description": "What stands in place of a match; {name} is the pattern's name.",
                "default": default.mask
            }
        }
    })
}

/// The compiled patterns.
pub(crate) struct Patterns(Vec<Compiled>);

struct Compiled {
    name: String,
    regex: Regex,
    mask: String,
}

/// Where a pattern matched.
pub(crate) struct Match {
    pub(crate) range: Range<usize>,
    pattern: usize,
}

impl Patterns {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        if config.patterns.len() > MOST_PATTERNS {
            return Err(Error::invalid_config(format!("there are more than {MOST_PATTERNS} patterns")));
        }
        let mut compiled: Vec<Compiled> = Vec::new();
        for Pattern { name, regex, replacement } in &config.patterns {
            let wrong = |why: &dyn std::fmt::Display| Error::invalid_config(format!("pattern `{name}`: {why}"));
            if compiled.iter().any(|other| other.name == *name) {
                return Err(wrong(&"another pattern has the same name"));
            }
            if regex.len() > LONGEST_SOURCE {
                return Err(wrong(&format!("the expression is longer than {LONGEST_SOURCE} bytes")));
            }
            let regex = RegexBuilder::new(regex).size_limit(LARGEST_PROGRAM).build().map_err(|error| wrong(&error))?;
            if regex.is_match("") {
                return Err(wrong(&"the expression matches the empty text, so it would match everywhere"));
            }
            let mask = replacement.clone().unwrap_or_else(|| config.mask.replace("{name}", name));
            compiled.push(Compiled { name: name.clone(), regex, mask });
        }
        Ok(Self(compiled))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|pattern| pattern.name.as_str())
    }

    /// Every match, from left to right; no two overlap.
    pub(crate) fn matches(&self, text: &str) -> Vec<Match> {
        let mut found: Vec<Match> = Vec::new();
        for (pattern, compiled) in self.0.iter().enumerate() {
            let mut new: Vec<Match> = Vec::new();
            // Both run from left to right, so one look ahead at `found` is enough.
            let mut earlier = found.iter().peekable();
            for range in compiled.regex.find_iter(text).map(|one| one.range()).filter(|range| !range.is_empty()) {
                while earlier.next_if(|taken| taken.range.end <= range.start).is_some() {}
                if earlier.peek().is_none_or(|taken| taken.range.start >= range.end) {
                    new.push(Match { range, pattern });
                }
            }
            found.append(&mut new);
            found.sort_by_key(|one| one.range.start);
        }
        found
    }

    /// What stands in place of a match.
    pub(crate) fn mask_of(&self, one: &Match) -> &str {
        self.0.get(one.pattern).map_or("", |pattern| &pattern.mask)
    }

    /// Adds the matches to `counts`, a number a pattern.
    pub(crate) fn count(found: &[Match], counts: &mut [u64]) {
        for one in found {
            if let Some(count) = counts.get_mut(one.pattern) {
                *count += 1;
            }
        }
    }

    pub(crate) fn mask(&self, text: &str, counts: &mut [u64]) -> String {
        let found = self.matches(text);
        Self::count(&found, counts);
        self.replace(text, 0, &found)
    }

    /// `text`, which begins at `offset` of what was searched, with its matches masked.
    pub(crate) fn replace(&self, text: &str, offset: usize, found: &[Match]) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut at = 0;
        for one in found {
            let (start, end) = (one.range.start.saturating_sub(offset), one.range.end.saturating_sub(offset));
            masked.push_str(text.get(at..start).unwrap_or_default());
            masked.push_str(self.mask_of(one));
            at = end;
        }
        masked.push_str(text.get(at..).unwrap_or_default());
        masked
    }
}
