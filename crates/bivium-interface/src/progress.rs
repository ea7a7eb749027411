//! How far a call is.

use serde::{Deserialize, Serialize};

/// How far a call is, as its plugin says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// From 0 to 1; none where the plugin does not know.
    pub fraction: Option<f64>,
    /// What is being done; may be empty.
    #[serde(default)]
    pub message: String,
}

impl Progress {
    /// The longest message that is kept, in bytes: progress is shown on one line.
    const MAX_MESSAGE: usize = 1024;

    /// A progress with its parts brought in range: a fraction that is no number becomes unknown, one outside 0 to 1
    /// the nearer end, and a long message is cut.
    #[must_use]
    pub fn new(fraction: Option<f64>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > Self::MAX_MESSAGE {
            message.truncate(message.floor_char_boundary(Self::MAX_MESSAGE));
        }
        let fraction = fraction.filter(|f| !f.is_nan()).map(|f| f.clamp(0.0, 1.0));
        Self { fraction, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_brought_in_range() {
        assert_eq!(Progress::new(Some(7.0), "").fraction, Some(1.0));
        assert_eq!(Progress::new(Some(-1.0), "").fraction, Some(0.0));
        assert_eq!(Progress::new(Some(f64::NAN), "").fraction, None);
        assert_eq!(Progress::new(None, "é".repeat(1000)).message.len(), 1024);
    }
}
