//! [`LogFiles`]: plugins' log records in files, for `bivium logs` and for whoever comes later.
//!
//! A plugin's records are lines of JSON in `NAME.jsonl`. Past [`LogFiles::BYTES`] the file becomes `NAME.jsonl.1`, and so
//! on up to `.3`; what is older is deleted. Several hosts may write to the same directory: each line is one append,
//! and before it a host looks whether the name still is the file that it holds; only one of them rotates at a time.
//!
//! A thread of its own writes, so that a slow disk keeps no plugin waiting: what does not fit into the queue before it
//! is counted and dropped, and the file tells how much that was.

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

/// Where plugins' log records are kept. Nothing is made before the first record. Cheap to clone.
#[derive(Clone)]
pub struct LogFiles(Arc<Inner>);

struct Inner {
    layout: Layout,
    /// The way to the writing thread; none where that could not be started.
    writer: OnceLock<Option<Sender<Order>>>,
    /// Bytes of the records that wait for it.
    waiting: Arc<AtomicUsize>,
}

/// What the writing thread is told.
enum Order {
    Write { plugin: Arc<str>, record: LogRecord, missing: u64 },
    Flush(Sender<()>),
}

/// What a record in the queue takes up besides its message.
const RECORD_BYTES: usize = size_of::<Order>() + 32;

impl LogFiles {
    /// A file that has become larger is rotated.
    pub const BYTES: u64 = 8 << 20;
    /// Bytes of records that may wait for the disk.
    const QUEUE: usize = 16 << 20;

    /// In this directory, which is made for this user only (0700) if it is not there.
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

    /// Hands a record to the writing thread. Does not block; counts in `missing` what there is no room for.
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
        // The thread lives as long as there is somebody to send.
        let _ = writer.send(Order::Write { plugin: Arc::clone(plugin), record, missing });
    }

    /// Waits until what was handed over so far is in the files, but no longer than `patience`. Blocks.
    pub fn flush(&self, patience: Duration) {
        let Some(Some(writer)) = self.0.writer.get() else { return };
        let (done, written) = channel();
        let _ = writer.send(Order::Flush(done));
        let _ = written.recv_timeout(patience);
    }
}

/// Starts the writing thread, which ends with the last sender.
fn start(layout: &Layout, waiting: &Arc<AtomicUsize>) -> Option<Sender<Order>> {
    let (sender, orders) = channel();
    let writer = Writer { layout: layout.clone(), files: BTreeMap::new(), troubled: BTreeSet::new() };
    let waiting = Arc::clone(waiting);
    let thread = std::thread::Builder::new().name("bivium-log".to_owned());
    match thread.spawn(move || writer.run(&orders, &waiting)) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "plugins' logs are not written to files: no thread can be started");
            None
        }
    }
}

/// Where the files of a plugin's log lie.
#[derive(Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    bytes: u64,
}

impl Layout {
    /// Full files that are kept.
    pub(super) const KEPT: usize = 3;

    pub(super) fn reading(dir: PathBuf) -> Self {
        Self { dir, bytes: 0 }
    }

    /// The file that is written to (0), or the one that was so many rotations ago. (A plugin's name is no path, and
    /// ends in no `.jsonl.1` once `.jsonl` is behind it.)
    pub(super) fn file(&self, plugin: &str, age: usize) -> PathBuf {
        let name = if age == 0 { format!("{plugin}.jsonl") } else { format!("{plugin}.jsonl.{age}") };
        self.dir.join(name)
    }

    /// Puts the full file of a plugin away, unless another host has done so or is about to.
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
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(file)
    }
}

/// How long another host may take over a line that it is writing. A reader sees the part of it that is there where it crosses a
/// page of the file.
const ONE_LINE: Duration = Duration::from_millis(20);

/// Whether a host that was killed, or had no room left, has left half a line at the end. A file that cannot be read has
/// none that anybody knows of. Blocks for [`ONE_LINE`] if there is one.
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

/// Whether a path still names the file.
pub(super) fn is_at(file: &Metadata, path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()))
}

/// The writing thread.
struct Writer {
    layout: Layout,
    files: BTreeMap<Arc<str>, File>,
    /// Plugins whose last record could not be written: that is told once, not for each record.
    troubled: BTreeSet<Arc<str>>,
}

/// A line of a file.
#[derive(Serialize)]
struct Line<'a> {
    plugin: &'a str,
    #[serde(flatten)]
    record: &'a LogRecord,
}

impl Writer {
    /// Files that are held open.
    const OPEN: usize = 64;

    fn run(mut self, orders: &Receiver<Order>, waiting: &AtomicUsize) {
        for order in orders {
            let (plugin, record, missing) = match order {
                Order::Write { plugin, record, missing } => (plugin, record, missing),
                Order::Flush(done) => {
                    // Nobody there: it has waited long enough.
                    let _ = done.send(());
                    continue;
                }
            };
            let told = if missing > 0 { self.tell(&plugin, missing, &record) } else { Ok(()) };
            let written = told.and_then(|()| self.append(&plugin, &record));
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

    fn tell(&mut self, plugin: &Arc<str>, missing: u64, near: &LogRecord) -> io::Result<()> {
        let message = format!("{missing} log records are missing here: the disk was slower than the plugin");
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

    /// The file to append so many bytes to.
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
