//! The configuration: where a silence is one, and how long a segment may be.

use bivium_guest::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// None: found out from the sound.
    pub(crate) silence_db: Option<f32>,
    pub(crate) min_silence_s: f64,
    pub(crate) padding_s: f64,
    pub(crate) min_segment_s: f64,
    pub(crate) max_segment_s: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { silence_db: None, min_silence_s: 0.4, padding_s: 0.15, min_segment_s: 1.0, max_segment_s: 20.0 }
    }
}

impl Config {
    /// Refuses what the schema cannot say.
    pub(crate) fn check(&self) -> Result<()> {
        let in_range = |name: &str, value: f64, least: f64, most: f64| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(Error::invalid_config(format!("{name} is {value}; it must be from {least} to {most}")))
            }
        };
        if let Some(level) = self.silence_db {
            in_range("silence_db", f64::from(level), -120.0, 0.0)?;
        }
        in_range("min_silence_s", self.min_silence_s, 0.05, 10.0)?;
        in_range("padding_s", self.padding_s, 0.0, 2.0)?;
        in_range("min_segment_s", self.min_segment_s, 0.0, 60.0)?;
        in_range("max_segment_s", self.max_segment_s, 1.0, 600.0)?;
        if self.max_segment_s < 2.0 * self.min_segment_s {
            return Err(Error::invalid_config("max_segment_s must be at least twice min_segment_s"));
        }
        Ok(())
    }
}

pub(crate) fn schema() -> Value {
    let default = Config::default();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "silence_db": {
                "type": ["number", "null"], "minimum": -120, "maximum": 0, "default": default.silence_db,
                "description": "Below this loudness (RMS, dB of full scale) it is silent; null: found out from the sound."
            },
            "min_silence_s": {
                "type": "number", "minimum": 0.05, "maximum": 10, "default": default.min_silence_s,
                "description": "A shorter silence does not part two segments."
            },
            "padding_s": {
                "type": "number", "minimum": 0, "maximum": 2, "default": default.padding_s,
                "description": "How much of the silence is kept around a segment."
            },
            "min_segment_s": {
                "type": "number", "minimum": 0, "maximum": 60, "default": default.min_segment_s,
                "description": "A shorter segment is joined with its nearer neighbour, if that is within a second and the two fit together."
            },
            "max_segment_s": {
                "type": "number", "minimum": 1, "maximum": 600, "default": default.max_segment_s,
                "description": "A longer segment is split where it is most quiet. At least twice min_segment_s."
            }
        }
    })
}
