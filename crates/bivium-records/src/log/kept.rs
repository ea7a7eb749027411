//! [`KeptLog`]: reads one plugin's log from its files, even while hosts write and rotate them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bivium_interface::{CallId, LogLevel, LogRecord, PluginError, Result};

use super::files::{Layout, is_at};

/// The records of one plugin that hosts have stored, and those that they write later. Reading blocks on the file system.
pub struct KeptLog {
    layout: Layout,
    plugin: String,
    filter: LogFilter,
    /// The newest file that was read, with the position in it.
    current: Option<Lines>,
}

/// Selects records of a log. By default all of them.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LogFilter {
    /// Only records of this level and above.
    pub level: Option<LogLevel>,
    /// Only records of this call.
    pub call: Option<CallId>,
}

impl LogFilter {
    /// Selects records of this level and above, and of this call, if they are given.
    #[must_use]
    pub fn new(level: Option<LogLevel>, call: Option<CallId>) -> Self {
        Self { level, call }
    }

    /// Whether a record is selected.
    #[must_use]
    pub fn admits(&self, record: &LogRecord) -> bool {
        self.level.is_none_or(|level| record.level >= level) && self.call.is_none_or(|call| record.call == Some(call))
    }
}

impl KeptLog {
    /// The log of a plugin in the directory of a [`LogFiles`](super::LogFiles). Nothing is read yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, plugin: impl Into<String>, filter: LogFilter) -> Self {
        Self { layout: Layout::reading(dir.into()), plugin: plugin.into(), filter, current: None }
    }

    /// Whether there was a file when the log was last read.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.current.is_some()
    }

    /// The last `count` selected records, oldest first. [`read`](Self::read) continues after them.
    ///
    /// # Errors
    /// `denied` or `internal` if a file exists but cannot be read.
    pub fn tail(&mut self, count: usize) -> Result<Vec<LogRecord>> {
        let mut last = VecDeque::new();
        let mut keep = |record| {
            if last.len() >= count {
                last.pop_front();
            }
            if count > 0 {
                last.push_back(record);
            }
        };
        self.go_on(None, &mut keep)?;
        Ok(last.into())
    }

    /// The selected records that were written since the log was last read, oldest first.
    ///
    /// # Errors
    /// As [`tail`](Self::tail).
    pub fn read(&mut self) -> Result<Vec<LogRecord>> {
        let mut new = Vec::new();
        let mut current = self.current.take();
        if let Some(lines) = &mut current {
            let is_newest = lines.is_at(&self.layout.file(&self.plugin, 0));
            // Checked before the file is read to its end: after a rotation, records are written to the new file.
            self.drain(lines, &mut |record| new.push(record))?;
            if is_newest {
                self.current = current;
                return Ok(new);
            }
        }
        self.go_on(current, &mut |record| new.push(record))?;
        Ok(new)
    }

    /// Reads all files that are newer than `after`, and remembers the newest. If there is no file, `after` stays current.
    fn go_on(&mut self, after: Option<Lines>, each: &mut dyn FnMut(LogRecord)) -> Result<()> {
        let mut files: Vec<Lines> = Vec::new();
        for age in 0..=Layout::KEPT {
            let path = self.layout.file(&self.plugin, age);
            let lines = match File::open(&path).and_then(Lines::new) {
                Ok(lines) => lines,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(&path.display().to_string(), &error)),
            };
            if after.as_ref().is_some_and(|after| after.id == lines.id) {
                break;
            }
            // The file was rotated meanwhile, and has already been read under its newer name.
            if files.iter().all(|known| known.id != lines.id) {
                files.push(lines);
            }
        }
        for lines in files.iter_mut().rev() {
            self.drain(lines, each)?;
        }
        self.current = files.into_iter().next().or(after);
        Ok(())
    }

    fn drain(&self, lines: &mut Lines, each: &mut dyn FnMut(LogRecord)) -> Result<()> {
        let read = lines.drain(&mut |line| {
            // A line that a host did not finish is not a record.
            if let Ok(record) = serde_json::from_slice::<LogRecord>(line)
                && self.filter.admits(&record)
            {
                each(record);
            }
        });
        read.map_err(|error| unreadable(&format!("the log of {}", self.plugin), &error))
    }
}

/// A file that is read line by line to its current end, repeatedly.
struct Lines {
    file: File,
    id: (u64, u64),
    /// The part of a line that has been read.
    line: Vec<u8>,
}

impl Lines {
    /// The longest line: a message with each byte escaped, and the rest of a record. Longer lines are ignored.
    const LONGEST: usize = 6 * super::PluginLog::MAX_MESSAGE + 1024;

    fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { file, id: (metadata.dev(), metadata.ino()), line: Vec::new() })
    }

    fn is_at(&self, path: &Path) -> bool {
        self.file.metadata().is_ok_and(|metadata| is_at(&metadata, path))
    }

    fn drain(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if self.file.metadata()?.len() < self.file.stream_position()? {
            // The file has been emptied.
            self.file.rewind()?;
            self.line.clear();
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for piece in buffer.get(..read).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
                if self.line.len() <= Self::LONGEST {
                    self.line.extend_from_slice(piece);
                }
                if piece.ends_with(b"\n") {
                    if self.line.len() <= Self::LONGEST {
                        each(&self.line);
                    }
                    self.line.clear();
                }
            }
        }
    }
}

fn unreadable(what: &str, error: &io::Error) -> PluginError {
    let message = format!("cannot read {what}: {error}");
    match error.kind() {
        ErrorKind::PermissionDenied => PluginError::denied(message),
        ErrorKind::NotADirectory => PluginError::invalid_input(message).with_help("name another directory"),
        _ => PluginError::internal(message),
    }
}
