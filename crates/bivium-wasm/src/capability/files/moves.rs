//! Checks before a guest makes a link or moves something.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bivium_interface::PluginError;
use tokio::sync::OwnedMutexGuard;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::runtime::spawn_blocking;

use super::links::{self, MAX_DEPTH, PathWithin, Verdict};
use super::list::MAX_LISTED;
use super::refused::{Denial, Refused};
use super::view::{Fd, FilesView};

/// While this lock is held, no other instance of the plugin makes a link or moves something.
pub(crate) type MoveLock = OwnedMutexGuard<()>;

impl FilesView<'_> {
    /// The place of a path. `None` if the operation itself is going to fail.
    fn place(&self, fd: &Fd, path: &str) -> Option<PathWithin> {
        let Ok(Descriptor::Dir(dir)) = self.store.table.get(fd) else { return None };
        let root = &self.origin(fd)?.dir;
        Some(PathWithin { dir: Arc::clone(&dir.dir), root: Arc::clone(&root.dir), path: path.to_owned() })
    }

    fn moving(&self) -> impl Future<Output = MoveLock> + use<> {
        Arc::clone(&self.files.grant.moves).lock_owned()
    }

    /// Refuses a new link that would lead out of the granted directory.
    pub(crate) async fn admit_symlink(&mut self, fd: &Fd, target: &str, path: &str) -> Result<MoveLock, Refused> {
        let moving = self.moving().await;
        let verdict = match links::climb(Path::new(target)) {
            Some(0) => Ok(Verdict::Fine),
            None => Ok(Verdict::LeadsOut),
            Some(climb) => {
                let Some(place) = self.place(fd, path) else { return Ok(moving) };
                spawn_blocking(move || links::made(climb, &place)).await
            }
        };
        self.answer(fd, path, verdict).map(|()| moving)
    }

    /// Refuses to move or link something if a link in it would then lead out of the granted directory.
    pub(crate) async fn admit_move(&mut self, fd: &Fd, path: &str, to: &Fd, new: &str) -> Result<MoveLock, Refused> {
        let moving = self.moving().await;
        let (Some(from), Some(to)) = (self.place(fd, path), self.place(to, new)) else { return Ok(moving) };
        let verdict = spawn_blocking(move || links::moved(&from, &to)).await;
        self.answer(fd, path, verdict).map(|()| moving)
    }

    fn answer(&mut self, fd: &Fd, path: &str, verdict: io::Result<Verdict>) -> Result<(), Refused> {
        match verdict {
            Ok(Verdict::Fine) => return Ok(()),
            Ok(Verdict::TooMuch) => {
                self.store.access.refuse(PluginError::resource_exhausted(format!(
                    "a directory with more than {MAX_LISTED} entries, or {MAX_DEPTH} directories within each other, cannot be \
                     moved to another directory"
                )));
                return Err(Refused::TooMuch);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Refused::NoEntry),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(Refused::NotDirectory),
            Ok(Verdict::LeadsOut) | Err(_) => {}
        }
        self.deny(fd, path, Denial::Outside);
        Err(Refused::NotPermitted)
    }
}
