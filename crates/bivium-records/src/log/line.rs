//! [`Line`]: splits what a plugin prints into lines.

use bivium_interface::whole;

use super::PluginLog;

/// The beginning of a line that has not ended yet.
#[derive(Debug, Default)]
pub struct Line(Vec<u8>);

impl Line {
    /// The longest line, in bytes. A longer line is split into pieces of about this length, between characters.
    const MAX: usize = PluginLog::MAX_MESSAGE;

    /// Adds printed text, and calls `each` for each complete line, without its line end. Empty lines are left out. For a progress bar,
    /// which returns to the beginning of its line, the line is what it showed last.
    pub fn push(&mut self, printed: &[u8], mut each: impl FnMut(&str)) {
        for piece in printed.split_inclusive(|byte| *byte == b'\n') {
            let (mut piece, ended) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            while self.0.len() + piece.len() > Self::MAX {
                let (taken, rest) = piece.split_at_checked(Self::MAX - self.0.len()).unwrap_or((piece, &[]));
                self.0.extend_from_slice(taken);
                piece = rest;
                let cut = self.0.split_off(whole(&self.0, Self::MAX));
                self.end(&mut each);
                self.0 = cut;
            }
            self.0.extend_from_slice(piece);
            if ended {
                self.end(&mut each);
            }
        }
    }

    /// Calls `each` for an incomplete last line, because nothing more will be printed.
    pub fn end(&mut self, mut each: impl FnMut(&str)) {
        if self.0.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&self.0);
        let shown = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if !shown.is_empty() {
            each(shown);
        }
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut line, mut lines) = (Line::default(), Vec::new());
        let mut each = |line: &str| lines.push(line.to_owned());
        pieces.iter().for_each(|piece| line.push(piece, &mut each));
        line.end(&mut each);
        lines
    }

    #[test]
    fn lines_come_whole_and_without_their_ends() {
        assert_eq!(lines(&[b"one\r\ntw", b"o\n\n  \nthree ", b"x"]), ["one", "two", "three x"]);
        assert_eq!(lines(&[b" 10%\r 50%\r", b"100%\r\n", b" 10%\r 20%\r"]), ["100%", " 20%"]);
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
    }

    #[test]
    fn a_long_line_is_cut_and_no_character_is() {
        let (moon, half) = ("\u{1f642}".repeat(Line::MAX / 2), "\u{e9}".as_bytes().split_at(1));
        let lines = lines(&[b"three", moon.as_bytes(), half.0, half.1]);
        assert!(lines.iter().all(|line| line.len() <= Line::MAX && !line.contains('\u{fffd}')), "{lines:?}");
        assert_eq!(lines.concat(), format!("three{moon}\u{e9}"));
        assert_eq!(lines.len(), 3);
    }
}
