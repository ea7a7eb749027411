//! [`BlobWriter`], and the file behind every blob of the exchange, which is deleted with its last handle.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bivium_interface::{Blob, ErrorCode, PluginError, Result, suffix_of_media_type};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fstat, openat, unlinkat};

use crate::errors::{failed, is_full};
use crate::ledger::{Charge, Kind};
use crate::media_type;
use crate::random_name::random_name;
use crate::session::{FileId, Session};
use crate::state::ExchangeState;

/// A blob that is being written. If it is dropped before [`finish`](Self::finish), nothing is left.
///
/// Each write goes to the file at once; put a [`BufWriter`](io::BufWriter) around it for small writes. The first error is
/// final: all later writes and `finish` return it again.
pub struct BlobWriter {
    exchange: Arc<ExchangeState>,
    media_type: String,
    file: File,
    stored: Stored,
    written: u64,
    limit: u64,
    /// How large the blob may become where it lies now.
    max_here: u64,
    failed: Option<PluginError>,
}

impl BlobWriter {
    pub(crate) fn new(exchange: &Arc<ExchangeState>, media_type: &str, expected: Option<u64>) -> Result<Self> {
        media_type::check(media_type)?;
        let (session, mut max_here) = exchange.places.for_blob(expected)?;
        let charge = || Charge::new(&exchange.ledger, Kind::Blob);
        let mut stored = Stored::unnamed(Arc::clone(&session), charge(), media_type)?;
        let file = match stored.create() {
            Err(error) if error.code() == ErrorCode::ResourceExhausted => {
                let Some(session) = exchange.places.overflow_from(&session)? else { return Err(error) };
                (stored, max_here) = (Stored::unnamed(session, charge(), media_type)?, u64::MAX);
                stored.create()?
            }
            file => file?,
        };
        Ok(Self {
            exchange: Arc::clone(exchange),
            media_type: media_type.to_owned(),
            file,
            stored,
            written: 0,
            limit: u64::MAX,
            max_here,
            failed: None,
        })
    }

    /// Refuses to grow past `max_bytes`.
    #[must_use]
    pub fn limit(mut self, max_bytes: u64) -> Self {
        self.limit = max_bytes;
        self
    }

    /// The bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// `resource-exhausted` past the limit, the exchange's quota or the space on the disk, `internal` for other errors of the
    /// system.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.try_append(bytes).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn try_append(&mut self, bytes: &[u8]) -> Result<()> {
        let more = bytes.len() as u64;
        let total = self.written.saturating_add(more);
        if total > self.limit {
            return Err(PluginError::resource_exhausted(format!(
                "the blob is larger than its limit of {} bytes",
                self.limit
            ))
            .with_help("write less, or raise the limit"));
        }
        self.stored.charge.grow(more)?;
        if total > self.max_here {
            self.move_on()?;
        }
        match self.file.write_all(bytes) {
            Err(error) if is_full(&error) && self.move_on()? => self.file.write_all(bytes),
            result => result,
        }
        .map_err(|error| failed("write a blob in", self.stored.session.path(), error))?;
        self.written = total;
        Ok(())
    }

    /// Moves what is written to the place for large files. False if it lies there already.
    fn move_on(&mut self) -> Result<bool> {
        let Some(session) = self.exchange.places.overflow_from(&self.stored.session)? else {
            return Ok(false);
        };
        self.move_to(&session)?;
        self.max_here = u64::MAX;
        Ok(true)
    }

    fn move_to(&mut self, session: &Arc<Session>) -> Result<()> {
        let failed = |error| failed("move a blob to", session.path(), error);
        let mut moved =
            Stored::unnamed(Arc::clone(session), Charge::new(&self.exchange.ledger, Kind::Blob), &self.media_type)?;
        let mut file = moved.create()?;
        self.file.rewind().map_err(failed)?;
        // Bytes that a failed write left behind these are not copied.
        io::copy(&mut (&self.file).take(self.written), &mut file).map_err(failed)?;
        std::mem::swap(&mut moved.charge, &mut self.stored.charge);
        self.stored = moved;
        self.file = file;
        Ok(())
    }

    /// Makes the file read-only and gives the blob.
    ///
    /// # Errors
    /// That of an earlier write; `internal` for errors of the system.
    pub fn finish(mut self) -> Result<Blob> {
        if self.failed.is_none() && !self.stored.is_there(&self.file) {
            // Somebody has removed the directory meanwhile; the file is still open.
            let session = self.exchange.places.in_place_of(&self.stored.session)?;
            self.move_to(&session)?;
        }
        match self.failed {
            Some(error) => Err(error),
            None => self.stored.into_blob(&self.file, &self.media_type, self.written),
        }
    }
}

/// The source of the error is the [`PluginError`] that [`BlobWriter::append`] returns.
impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map(|()| bytes.len()).map_err(|error| {
            let kind = match error.code() {
                ErrorCode::ResourceExhausted => io::ErrorKind::StorageFull,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, error)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobWriter({}, {}, {} bytes)", self.stored.path().display(), self.media_type, self.written)
    }
}

/// A file name in a session's directory of blobs, and its charge. Dropping it deletes the file.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) session: Arc<Session>,
    pub(crate) name: String,
    pub(crate) charge: Charge,
}

impl Stored {
    /// A new file name. The file does not exist yet.
    pub(crate) fn unnamed(session: Arc<Session>, charge: Charge, media_type: &str) -> Result<Self> {
        let random = random_name(16).map_err(|error| failed("name a blob in", session.path(), error))?;
        Ok(Self { session, name: random + &suffix_of_media_type(media_type), charge })
    }

    fn create(&self) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self.session.blobs(), &self.name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| failed("make a blob in", self.session.path(), error))
    }

    /// Whether its path still leads to the file that was made.
    fn is_there(&self, file: &File) -> bool {
        fstat(file).is_ok_and(|made| FileId::of(&made).is_at(&self.path()))
    }

    fn path(&self) -> PathBuf {
        self.session.blob_path(&self.name)
    }

    pub(crate) fn into_blob(self, file: &File, media_type: &str, size: u64) -> Result<Blob> {
        fchmod(file, Mode::RUSR).map_err(|error| failed("finish a blob in", self.session.path(), error))?;
        Ok(Blob::new(self.path(), media_type, size, Some(Box::new(self))))
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if !self.session.is_own() {
            return;
        }
        match unlinkat(self.session.blobs(), &self.name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => {
                tracing::warn!(path = %self.path().display(), %error, "cannot delete a blob")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exchange;
    use crate::place::Places;

    struct TwoPlaces {
        main: tempfile::TempDir,
        overflow: tempfile::TempDir,
        exchange: Exchange,
    }

    fn two_places(unknown_bytes: u64) -> TwoPlaces {
        let (main, overflow) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let exchange = Exchange::over(Places::for_test(main.path(), overflow.path(), unknown_bytes), None);
        TwoPlaces { main, overflow, exchange }
    }

    /// A file to which nothing can be written.
    fn full() -> File {
        File::options().read(true).write(true).open("/dev/full").unwrap()
    }

    #[test]
    fn a_blob_that_outgrows_its_place_moves_whole() {
        let two = two_places(10);
        let mut writer = two.exchange.writer("text/plain").unwrap();
        writer.append(b"0123456789").unwrap();
        assert!(writer.stored.path().starts_with(two.main.path().canonicalize().unwrap()));
        assert_eq!(two.exchange.directories().len(), 1, "the overflow session is made when it is needed");
        writer.append(b"abc").unwrap();
        assert_eq!(two.exchange.usage().blobs, 1);
        let blob = writer.finish().unwrap();
        assert!(blob.path().starts_with(two.overflow.path().canonicalize().unwrap()));
        assert_eq!(std::fs::read(blob.path()).unwrap(), b"0123456789abc");
        assert_eq!((two.exchange.usage().blobs, two.exchange.usage().bytes), (1, 13));
        drop((blob, two.exchange));
        for root in [two.main, two.overflow] {
            assert_eq!(root.path().read_dir().unwrap().count(), 0);
        }
    }

    #[test]
    fn a_blob_known_to_be_large_starts_in_the_overflow_place() {
        let two = two_places(10);
        let writer = two.exchange.writer_sized("text/plain", u64::MAX / 2).unwrap();
        assert!(writer.stored.path().starts_with(two.overflow.path().canonicalize().unwrap()));
        let small = two.exchange.write(b"0123456789abc", "text/plain").unwrap();
        assert!(small.path().starts_with(two.main.path().canonicalize().unwrap()));
    }

    #[test]
    fn a_blob_moves_from_a_full_place_to_the_overflow_place() {
        let two = two_places(1000);
        let mut writer = two.exchange.writer("text/plain").unwrap();
        writer.file = full();
        writer.append(b"data").unwrap();
        let blob = writer.finish().unwrap();
        assert!(blob.path().starts_with(two.overflow.path().canonicalize().unwrap()));
        assert_eq!(std::fs::read(blob.path()).unwrap(), b"data");
    }

    #[test]
    fn a_full_disk_is_a_final_error_and_leaves_no_file() {
        let root = tempfile::tempdir().unwrap();
        let exchange = Exchange::builder().root(root.path()).open().unwrap();
        let mut writer = exchange.writer("text/plain").unwrap();
        let path = writer.stored.path();
        writer.file = full();
        let error = writer.write_all(b"data").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(writer.append(b"").unwrap_err().code(), ErrorCode::ResourceExhausted);
        assert_eq!(writer.finish().unwrap_err().code(), ErrorCode::ResourceExhausted);
        assert!(!path.exists());
        assert_eq!(exchange.usage(), crate::Usage::default());
    }
}
