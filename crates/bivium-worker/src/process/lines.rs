//! Reads lines of bytes from a pipe, in pieces of a bounded length.

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Reads lines; one that is longer than the limit comes in several pieces.
pub(crate) struct Lines<R> {
    reader: R,
    limit: usize,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit }
    }

    /// The next line without its end; none at the end of the pipe, or when it breaks.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            let Ok(buffer) = self.reader.fill_buf().await else { return None };
            if buffer.is_empty() {
                return (!line.is_empty()).then_some(line);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let room = self.limit.saturating_sub(line.len());
            let take = end.unwrap_or(buffer.len()).min(room);
            line.extend(buffer.iter().take(take));
            let whole = end == Some(take);
            self.reader.consume(if whole { take + 1 } else { take });
            if whole || line.len() >= self.limit {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_or_in_pieces() {
        let text = b"one\n\ntwelve chars\nlast".as_slice();
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(5, text), 6);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await {
            found.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(found, ["one", "", "twelve", " chars", "last"]);
    }
}
