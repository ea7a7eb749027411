//! [`LogFiles`]: plugins' log records in files, for `bivium logs` and later hosts.
//!
//! A plugin's records are lines of JSON in `NAME.jsonl`. When the file is larger than [`LogFiles::BYTES`], it is renamed to
//! `NAME.jsonl.1`, and so on up to `.3`; older files are deleted. Several hosts may write to the same directory. Each line is one
//! append, and before it a host checks that the name still refers to its open file. Only one host rotates files at a time.
//!
//! A separate thread writes, so that no plugin waits for a slow disk. Records that do not fit into the thread's queue are counted and
//! dropped, and the file says how many.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bivium_interface::{LogLevel, LogRecord, LogSource};
use rustix::fs::OFlags;
use serde::Serialize;

/// Stores plugins' log records in files. Nothing is created before the first record. Cheap to clone.
#[derive(Clone)]
pub struct LogFiles(Arc<Inner>);

struct Inner {
    layout: Layout,
    /// The queue of the writing thread; `None` if the thread could not be started.
    writer: OnceLock<Option<Sender<Request>>>,
    /// Bytes of the records in the queue.
    waiting: Arc<AtomicUsize>,
}

/// A request to the writing thread.
enum Request {
    Write { plugin: Arc<str>, record: LogRecord, missing: u64 },
    Flush(Sender<()>),
}

/// The bytes that a record in the queue takes in addition to its message.
const RECORD_BYTES: usize = size_of::<Request>() + 32;

impl LogFiles {
    /// A file that is larger than this is rotated.
    pub const BYTES: u64 = 8 << 20;
    /// The largest size of the queue, in bytes of records.
    const QUEUE: usize = 16 << 20;

    /// Log files in this directory, which is created for this user only (0700) if it does not exist.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::rotating_at(dir, Self::BYTES)
    }

    /// As [`new`](Self::new), with files of another size.
    #[must_use]
    pub fn rotating_at(dir: impl Into<PathBuf>, bytes: u64) -> Self {
        let layout = Layout { dir: dir.into(), bytes };
        Self(Arc::new(Inner { layout, writer: OnceLock::new(), waiting: Arc::default() }))
    }

    /// Sends a record to the writing thread. Does not block. If the queue is full, the record is counted in `missing`.
    pub(super) fn write(&self, plugin: &Arc<str>, record: LogRecord, missing: &AtomicU64) {
        let waiting = &self.0.waiting;
        let Some(writer) = self.0.writer.get_or_init(|| start(&self.0.layout, waiting)) else { return };
        let bytes = RECORD_BYTES + record.message.len();
        if waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > Self::QUEUE {
            waiting.fetch_sub(bytes, Ordering::Relaxed);
            missing.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let missing = missing.swap(0, Ordering::Relaxed);
        // The thread lives as long as there is a sender.
        let _ = writer.send(Request::Write { plugin: Arc::clone(plugin), record, missing });
    }

    /// Waits until all records so far are in the files, but no longer than `patience`. Blocks.
    pub fn flush(&self, patience: Duration) {
        let Some(Some(writer)) = self.0.writer.get() else { return };
        let (done, written) = channel();
        let _ = writer.send(Request::Flush(done));
        let _ = written.recv_timeout(patience);
    }
}

/// Starts the writing thread. It ends when the last sender is dropped.
fn start(layout: &Layout, waiting: &Arc<AtomicUsize>) -> Option<Sender<Request>> {
    let (sender, requests) = channel();
    let writer = Writer { layout: layout.clone(), files: BTreeMap::new(), troubled: BTreeSet::new() };
    let waiting = Arc::clone(waiting);
    let thread = std::thread::Builder::new().name("bivium-log".to_owned());
    match thread.spawn(move || writer.run(&requests, &waiting)) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "plugins' logs are not written to files: no thread can be started");
            None
        }
    }
}

/// The paths of the files of plugins' logs.
#[derive(Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    bytes: u64,
}

impl Layout {
    /// How many full files are kept.
    pub(super) const KEPT: usize = 3;

    pub(super) fn reading(dir: PathBuf) -> Self {
        Self { dir, bytes: 0 }
    }

    /// The current file (0), or the file from `age` rotations ago. (A plugin's name is not a path, and with `.jsonl` appended it cannot end
    /// in `.jsonl.1`.)
    pub(super) fn file(&self, plugin: &str, age: usize) -> PathBuf {
        let name = if age == 0 { format!("{plugin}.jsonl") } else { format!("{plugin}.jsonl.{age}") };
        self.dir.join(name)
    }

    /// Rotates the full file of a plugin, unless another host has done so or is doing so.
    fn rotate(&self, plugin: &str, full: &File) -> io::Result<()> {
        let lock = OpenOptions::new().append(true).create(true).mode(0o600).open(self.dir.join(".lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let current = self.file(plugin, 0);
        if !is_at(&full.metadata()?, &current) {
            return Ok(());
        }
        for age in (0..Self::KEPT).rev() {
            match std::fs::rename(self.file(plugin, age), self.file(plugin, age + 1)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn open(&self, plugin: &str) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(i32::try_from(flags).unwrap_or_default())
            .open(self.file(plugin, 0))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(file)
    }
}

/// How long another host may take to finish a line that it is writing. If the line crosses a page of the file, a reader can see only a part
/// of it.
const ONE_LINE: Duration = Duration::from_millis(20);

/// Whether the file ends in an incomplete line, from a host that was killed or had no disk space left. False for a file that cannot be
/// read. Blocks for [`ONE_LINE`] if there is one.
pub(crate) fn ends_in_half_a_line(file: &File) -> io::Result<bool> {
    let begun = Instant::now();
    while ends_within_a_line(file)? {
        if begun.elapsed() > ONE_LINE {
            return Ok(true);
        }
        std::thread::yield_now();
    }
    Ok(false)
}

fn ends_within_a_line(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let mut last = [b'\n'];
    Ok(size > 0 && file.read_at(&mut last, size - 1).is_ok_and(|read| read == 1) && last != *b"\n")
}

/// Whether a path still refers to the file.
pub(super) fn is_at(file: &Metadata, path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()))
}

/// The writing thread.
struct Writer {
    layout: Layout,
    files: BTreeMap<Arc<str>, File>,
    /// Plugins whose last record could not be written. This is logged once, not for each record.
    troubled: BTreeSet<Arc<str>>,
}

/// One line of a file.
#[derive(Serialize)]
struct Line<'a> {
    plugin: &'a str,
    #[serde(flatten)]
    record: &'a LogRecord,
}

impl Writer {
    /// How many files are kept open.
    const OPEN: usize = 64;

    fn run(mut self, requests: &Receiver<Request>, waiting: &AtomicUsize) {
        for request in requests {
            let (plugin, record, missing) = match request {
                Request::Write { plugin, record, missing } => (plugin, record, missing),
                Request::Flush(done) => {
                    // An error means that the caller no longer waits.
                    let _ = done.send(());
                    continue;
                }
            };
            let written = if missing > 0 { self.write_missing(&plugin, missing, &record) } else { Ok(()) };
            let written = written.and_then(|()| self.append(&plugin, &record));
            waiting.fetch_sub(RECORD_BYTES + record.message.len(), Ordering::Relaxed);
            match written {
                Ok(()) => {
                    self.troubled.remove(&plugin);
                }
                Err(error) => {
                    self.files.remove(&plugin);
                    let name = Arc::clone(&plugin);
                    if self.troubled.insert(plugin) {
                        let dir = self.layout.dir.display();
                        tracing::warn!(plugin = &*name, %error, "the plugin's log cannot be written in {dir}");
                    }
                }
            }
        }
    }

    fn write_missing(&mut self, plugin: &Arc<str>, missing: u64, near: &LogRecord) -> io::Result<()> {
        let message = format!("{missing} log records are missing here, because the disk was slower than the plugin");
        let (level, source) = (LogLevel::Warn, LogSource::Host);
        let mut record = LogRecord::new(level, source, near.instance, None, message);
        record.time = near.time;
        self.append(plugin, &record)
    }

    fn append(&mut self, plugin: &Arc<str>, record: &LogRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { plugin, record })?;
        line.push(b'\n');
        let mut file = self.file(plugin, line.len() as u64)?;
        if ends_in_half_a_line(file)? {
            line.insert(0, b'\n');
        }
        file.write_all(&line)
    }

    /// The file to which this many bytes are to be appended.
    fn file(&mut self, plugin: &Arc<str>, more: u64) -> io::Result<&File> {
        let mut file = match self.files.remove(plugin) {
            Some(file) if is_at(&file.metadata()?, &self.layout.file(plugin, 0)) => file,
            _ => self.layout.open(plugin)?,
        };
        let size = file.metadata()?.len();
        if size > 0 && size + more > self.layout.bytes {
            self.layout.rotate(plugin, &file)?;
            file = self.layout.open(plugin)?;
        }
        if self.files.len() == Self::OPEN {
            self.files.clear();
        }
        Ok(self.files.entry(Arc::clone(plugin)).or_insert(file))
    }
}
