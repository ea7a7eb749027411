//! A cleaner of temporary files, which removes the exchange, or a part of it, while the host runs.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bivium::PluginManager;

use crate::Dice;

/// What it removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Session,
    Areas,
    Blobs,
    /// The directory that one worker writes to, or the one with the blobs of its calls.
    OneArea,
    OneBlob,
}

/// How many removals have begun and ended, so that a call knows whether there was one while it ran.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Cleaner {
    /// To be called when a call begins, for [`was_here_since`](Self::was_here_since).
    pub(crate) fn now(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Whether something has been removed since then, at least in part.
    pub(crate) fn was_here_since(&self, now: u64) -> bool {
        self.begun.load(Ordering::SeqCst) > now
    }

    /// Removes a part, if there is one at this moment.
    pub(crate) fn remove(&self, manager: &PluginManager, part: Part, dice: &Dice) -> bool {
        let Some(session) = manager.exchange().directories().into_iter().next() else { return false };
        self.begun.fetch_add(1, Ordering::SeqCst);
        let removed = match part {
            Part::Session => remove_all(&session),
            Part::Areas => remove_all(&session.join("areas")),
            Part::Blobs => remove_all(&session.join("blobs")),
            Part::OneArea => one_in(&session.join("areas"), dice).is_some_and(|area| remove_all(&area)),
            Part::OneBlob => one_in(&session.join("blobs"), dice).is_some_and(|blob| fs::remove_file(blob).is_ok()),
        };
        self.ended.fetch_add(1, Ordering::SeqCst);
        removed
    }
}

fn one_in(directory: &Path, dice: &Dice) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found.get(dice.roll(found.len() as u64) as usize).cloned()
}

/// Removes a directory while others write to it.
fn remove_all(directory: &Path) -> bool {
    if !directory.exists() {
        return false;
    }
    for _ in 0..1000 {
        match fs::remove_dir_all(directory) {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::NotFound && !directory.exists() => return true,
            Err(_) => {}
        }
    }
    false
}
