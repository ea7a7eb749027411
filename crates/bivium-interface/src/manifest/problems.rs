//! Collects the problems of one file, with their lines.

use crate::Problem;

/// The largest number of problems. More do not help, and a hostile file could have a hundred thousand.
const MOST: usize = 100;

/// The problems of a file, in the order in which they were found.
#[derive(Debug, Default, Clone)]
pub struct Problems {
    found: Vec<(usize, String)>,
    more: bool,
}

impl Problems {
    /// Adds a problem in a line, counted from 1.
    pub fn add(&mut self, line: usize, message: impl Into<String>) {
        if self.is_full() {
            self.more = true;
        } else {
            self.found.push((line, message.into()));
        }
    }

    /// Whether no more problems are collected.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them in the order of the file.
    pub(super) fn into_list(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|(line, _)| *line);
        let mut list: Vec<_> = self
            .found
            .into_iter()
            .map(|(line, message)| Problem { location: format!("line {line}"), message })
            .collect();
        if self.more {
            list.push(Problem {
                location: String::new(),
                message: format!("there are more than {MOST} problems; correct these first"),
            });
        }
        list
    }
}

/// A text of the file, quoted, escaped and shortened for a message.
#[must_use]
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
