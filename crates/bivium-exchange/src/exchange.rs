//! [`Exchange`]: how it is opened, and how data gets into it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bivium_interface::{Blob, FileBackedDto, PluginError, Result};

use crate::area::Area;
use crate::errors::{failed, quoted};
use crate::ledger::{Ledger, Usage};
use crate::place::Places;
use crate::session::Session;
use crate::state::ExchangeState;
use crate::window::Window;
use crate::writer::BlobWriter;

/// A private place for blobs. Cheap to clone; clones are the same exchange. Blobs and areas outlive it: its directories
/// are deleted when the last of all of them is dropped.
#[derive(Clone)]
pub struct Exchange(Arc<ExchangeState>);

/// Settings of an [`Exchange`].
#[derive(Debug, Clone, Default)]
pub struct Builder {
    root: Option<PathBuf>,
    max_bytes: Option<u64>,
}

impl Builder {
    /// Uses one existing directory for everything, in place of `/dev/shm` and the temp directory.
    #[must_use]
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// The most bytes in all blobs of the exchange together. Without it only the free space on the disk limits them.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = Some(max_bytes);
        self
    }

    /// Removes what dead hosts left in the same places, and opens an exchange.
    ///
    /// # Errors
    /// `not-found` or `denied` if a directory does not exist, cannot be written to, or lets every user rename what is in it;
    /// `resource-exhausted` if it is full; `internal` for other errors of the system.
    pub fn open(self) -> Result<Exchange> {
        let places = match &self.root {
            Some(root) => Places::one(root)?,
            None => Places::by_default()?,
        };
        Ok(Exchange::over(places, self.max_bytes))
    }
}

impl Exchange {
    /// Opens an exchange in memory (`/dev/shm`, if it exists) and in the temp directory (`TMPDIR`).
    ///
    /// # Errors
    /// Those of [`Builder::open`].
    pub fn open() -> Result<Self> {
        Self::builder().open()
    }

    /// Settings: another directory, a quota.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn over(places: Places, max_bytes: Option<u64>) -> Self {
        Self(Arc::new(ExchangeState { places, ledger: Ledger::new(max_bytes.unwrap_or(u64::MAX)) }))
    }

    /// Writes bytes to a new blob.
    ///
    /// # Errors
    /// `invalid-input` if the media type is not valid, `resource-exhausted` if the quota or the disk is full.
    pub fn write(&self, bytes: &[u8], media_type: &str) -> Result<Blob> {
        let mut writer = self.writer_sized(media_type, bytes.len() as u64)?;
        writer.append(bytes)?;
        writer.finish()
    }

    /// A new blob, to be written in pieces.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn writer(&self, media_type: &str) -> Result<BlobWriter> {
        BlobWriter::new(&self.0, media_type, None)
    }

    /// As [`writer`](Self::writer), for a size that is known at least roughly. The size decides where the blob lies and does
    /// not limit it.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn writer_sized(&self, media_type: &str, expected: u64) -> Result<BlobWriter> {
        BlobWriter::new(&self.0, media_type, Some(expected))
    }

    /// Lets a host's own type write itself to a file and takes that file: as the exchange's own if it lies in the directory
    /// that the type was given, else by reference.
    ///
    /// # Errors
    /// Those of [`write`](Self::write) and of [`Blob::by_reference`]; `internal` if the type fails to write.
    pub fn adopt_dto(&self, dto: &dyn FileBackedDto) -> Result<Blob> {
        let area = self.area("dto")?;
        let file =
            dto.to_temp_file(area.path()).map_err(|error| failed("write a value to a file in", area.path(), error))?;
        match file.strip_prefix(area.path()).map(Path::to_str) {
            Ok(Some(relative)) => area.adopt(relative, dto.media_type()),
            Ok(None) => Err(PluginError::invalid_input(format!(
                "the file name {} is not UTF-8",
                quoted(&file.to_string_lossy())
            ))),
            Err(_) => Blob::by_reference(file, Some(dto.media_type())),
        }
    }

    /// A directory in which one plugin instance may write. `label` becomes part of its name, so that people can recognize it.
    ///
    /// # Errors
    /// `resource-exhausted` if there is no space, `internal` for other errors of the system.
    pub fn area(&self, label: &str) -> Result<Area> {
        Area::new(&self.0, label)
    }

    /// Directories in which blobs are lent to one plugin instance that may read no other directory. `label` is as for
    /// [`area`](Self::area).
    ///
    /// # Errors
    /// Those of [`area`](Self::area).
    pub fn window(&self, label: &str) -> Result<Window> {
        let sessions = self.0.places.all()?;
        let areas = sessions.into_iter().map(|session| Area::within(&self.0, session, label));
        Ok(Window::new(&self.0, areas.collect::<Result<_>>()?))
    }

    /// What it holds now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.0.ledger.usage()
    }

    /// The session directories, for people: one, or two after something large was written.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        self.0.places.directories()
    }

    /// The directories in which it makes session directories.
    #[must_use]
    pub fn roots(&self) -> Vec<PathBuf> {
        self.0.places.roots()
    }

    /// The directories that an exchange uses if none is given.
    #[must_use]
    pub fn usual_roots() -> Vec<PathBuf> {
        let usual = [std::env::temp_dir(), PathBuf::from("/dev/shm")];
        usual.into_iter().filter_map(|root| root.canonicalize().ok()).collect()
    }

    /// The session directories of this user's hosts in a directory of [`roots`](Self::roots).
    #[must_use]
    pub fn sessions_in(root: &Path) -> Vec<PathBuf> {
        Session::all_in(root)
    }

    /// Whether a directory has the name of a session, of any user's host and in any place.
    #[must_use]
    pub fn is_session(path: &Path) -> bool {
        path.file_name().and_then(|name| name.to_str()).is_some_and(Session::is_name)
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("directories", &self.directories()).field("usage", &self.usage()).finish()
    }
}
