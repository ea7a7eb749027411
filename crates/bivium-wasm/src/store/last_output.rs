//! [`LastOutput`]: what a guest wrote before it crashed, kept for the error.
//!
//! A trap does not say its cause: the languages' runtimes write it on standard error, or into the log, and then execute `unreachable`. This
//! module knows their output well enough to find the most informative sentence in it.

use std::collections::VecDeque;

use bivium_interface::head;

use crate::text;

/// The last part of what a guest has written on standard error, and as errors in its log, since its call began.
#[derive(Default)]
pub(crate) struct LastOutput {
    said: VecDeque<Said>,
    bytes: usize,
}

struct Said {
    text: String,
    /// It is a record of the log, not a line.
    is_record: bool,
}

impl LastOutput {
    /// The most bytes that are kept.
    const MOST: usize = 16 << 10;
    /// The most bytes of one line or record.
    const MOST_OF_ONE: usize = 4 << 10;
    /// The bytes that each takes in addition to its text.
    const EACH: usize = 64;
    /// The longest sentence, in bytes.
    const SENTENCE: usize = 2 << 10;

    /// Adds a line of standard error.
    pub(crate) fn line(&mut self, text: &str) {
        self.push(text, false);
    }

    /// Adds an error of the log.
    pub(crate) fn record(&mut self, text: &str) {
        self.push(text, true);
    }

    fn push(&mut self, text: &str, is_record: bool) {
        let text = head(text, Self::MOST_OF_ONE).to_owned();
        self.bytes += text.len() + Self::EACH;
        self.said.push_back(Said { text, is_record });
        while self.bytes > Self::MOST {
            let Some(first) = self.said.pop_front() else { break };
            self.bytes -= first.text.len() + Self::EACH;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.said.clear();
        self.bytes = 0;
    }

    /// The last message in one line: the exception, the panic, the assertion that failed.
    pub(crate) fn sentence(&self) -> Option<String> {
        let last = self.said.back()?;
        if last.is_record {
            return Some(text::line(&last.text, Self::SENTENCE)).filter(|sentence| !sentence.is_empty());
        }
        let lines = self.said.iter().rev().take_while(|said| !said.is_record).map(|said| said.text.as_str());
        let mut lines: Vec<&str> = lines.collect();
        lines.reverse();
        Some(text::line(&informative(&lines), Self::SENTENCE)).filter(|sentence| !sentence.is_empty())
    }

    /// Everything that is kept, one entry per line, if there is more than one.
    pub(crate) fn text(&self) -> Option<String> {
        let lines = self.said.iter().flat_map(|said| said.text.lines());
        let lines: Vec<String> = lines.map(|line| text::indented(line, Self::MOST_OF_ONE)).collect();
        (lines.len() > 1).then(|| lines.join("\n"))
    }
}

/// The most informative lines, joined.
fn informative(lines: &[&str]) -> String {
    let (before, panic) = match lines.iter().rposition(|line| begins_a_panic(line)) {
        Some(at) => lines.split_at(at),
        None => (lines, [].as_slice()),
    };
    // A runtime written in Rust panics because of an exception that it printed just before.
    if let Some(exception) = exception(before) {
        return exception.join(" ");
    }
    if !panic.is_empty() {
        return panic.iter().take_while(|line| !ends_a_panic(line)).copied().collect::<Vec<_>>().join(" ");
    }
    let is_informative = |line: &&&str| !is_frame(line) && !line.trim().eq_ignore_ascii_case("stack:");
    lines.iter().rev().find(is_informative).or(lines.last()).copied().unwrap_or_default().to_owned()
}

/// The exception at the end of these lines, if they end with a Python traceback.
fn exception<'l>(lines: &'l [&'l str]) -> Option<&'l [&'l str]> {
    let at = lines.iter().rposition(|line| line.trim_end() == "Traceback (most recent call last):")?;
    let (_, after) = lines.split_at_checked(at + 1)?;
    let frames = after.iter().take_while(|line| line.starts_with([' ', '\t'])).count();
    let exception = after.get(frames..)?;
    (!exception.is_empty()).then_some(exception)
}

/// The first words of Rust, Go and C++ when they end the program.
fn begins_a_panic(line: &str) -> bool {
    (line.starts_with("thread ") && line.contains(" panicked at "))
        || line.starts_with("panicked at ")
        || line.starts_with("panic: ")
        || line.starts_with("terminate called ")
}

fn ends_a_panic(line: &str) -> bool {
    line.starts_with("note: ") || line.starts_with("stack backtrace:") || line.starts_with("goroutine ")
}

/// Whether a line is part of a stack trace.
fn is_frame(line: &str) -> bool {
    line.starts_with([' ', '\t']) || line.starts_with("at ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(said: &str) -> Option<String> {
        let mut output = LastOutput::default();
        said.lines().filter(|line| !line.is_empty()).for_each(|line| output.line(line));
        output.sentence()
    }

    #[test]
    fn the_most_informative_sentence_is_found() {
        let rust = "starting\n\nthread 'main' (1) panicked at src/lib.rs:5:9:\nno more\napples\n\
                    note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace";
        assert_eq!(sentence(rust).unwrap(), "thread 'main' (1) panicked at src/lib.rs:5:9: no more apples");
        // What componentize-py 0.25 writes.
        let python = "Traceback (most recent call last):\n  File \"/0/app.py\", line 7, in boom\n    raise ValueError(text)\n\
                      ValueError: no such thing: x\nthread '<unnamed>' (1) panicked at runtime/src/lib.rs:1280:25:\n\
                      Python function threw an unexpected exception\nnote: run with `RUST_BACKTRACE=1`";
        assert_eq!(sentence(python).unwrap(), "ValueError: no such thing: x");
        let script = "TypeError: no such thing: x\n    at boom (app.js:1:70)\n    at <anonymous> (app.js:3)";
        assert_eq!(sentence(script).unwrap(), "TypeError: no such thing: x");
        assert_eq!(sentence("Error: no such thing\nStack:\n  boom@app.js:1:7").unwrap(), "Error: no such thing");
        let c = "one of two\nAssertion failed: n > 0 (app.c: run: 7)";
        assert_eq!(sentence(c).unwrap(), "Assertion failed: n > 0 (app.c: run: 7)");
        let cpp = "terminate called after throwing an instance of 'std::runtime_error'\n  what():  no such thing";
        assert_eq!(
            sentence(cpp).unwrap(),
            "terminate called after throwing an instance of 'std::runtime_error'   what():  no such thing"
        );
        assert_eq!(
            sentence("panic: index out of range\n\ngoroutine 1 [running]:").unwrap(),
            "panic: index out of range"
        );
        assert_eq!(sentence("    at nowhere").unwrap(), "at nowhere");
        assert_eq!((sentence(""), sentence(" \n")), (None, None));
    }

    #[test]
    fn the_last_error_in_the_log_is_shown_completely() {
        let mut output = LastOutput::default();
        output.line("a line");
        output.record("why:\n  because\nof that");
        assert_eq!(output.sentence().unwrap(), "why:   because of that");
        assert_eq!(output.text().unwrap(), "a line\nwhy:\n  because\nof that");
        output.line("and then");
        assert_eq!(output.sentence().unwrap(), "and then");
        output.clear();
        assert_eq!((output.sentence(), output.text()), (None, None));
    }

    #[test]
    fn the_kept_output_is_limited_and_control_characters_are_escaped() {
        let mut output = LastOutput::default();
        for n in 0..100_000 {
            output.line(&format!("\u{1b}[2J{n}{}", "x".repeat(n % 7000)));
            output.line("");
        }
        assert!(output.bytes <= LastOutput::MOST && output.said.len() <= LastOutput::MOST / LastOutput::EACH);
        output.line("\u{1b}[31mthe end\u{7}");
        let (sentence, text) = (output.sentence().unwrap(), output.text().unwrap());
        assert_eq!(sentence, "\\u{1b}[31mthe end\\u{7}");
        assert!(text.len() < 8 * LastOutput::MOST && text.ends_with(&sentence) && !text.contains('\u{1b}'));
        output.record(&"long ".repeat(10_000));
        assert!(output.sentence().unwrap().len() <= LastOutput::SENTENCE);
    }
}
