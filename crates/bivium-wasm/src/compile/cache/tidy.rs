//! Keeps the cache within its size: removes the least recently used entries, and what killed hosts left behind.
//!
//! A file that a process has mapped may be removed too: the process keeps it. Only names are removed.

use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::Timespec;

use super::{CODE, Cache, CacheKey, dir};
use crate::compile::digest::Digest;

/// The most remembered digests of component files.
const DIGESTS: usize = 1024;

struct Entry {
    key: CacheKey,
    used: Timespec,
    bytes: u64,
}

impl Cache {
    /// Removes entries past the limit, except `kept`. Does nothing while another host makes an entry: the last one to finish does it.
    pub(super) fn tidy(&self, kept: CacheKey) {
        if let Err(error) = self.try_tidy(kept) {
            tracing::warn!(cache = %self.path.display(), %error, "cannot tidy the cache of compiled components");
        }
    }

    fn try_tidy(&self, kept: CacheKey) -> io::Result<()> {
        let lock = self.lock_file()?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        self.remove_left()?;
        let mut entries = self.entries()?;
        entries.sort_by_key(|entry| (entry.key == kept, entry.used));
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in entries {
            if total <= self.limit || entry.key == kept {
                break;
            }
            tracing::debug!(key = %entry.key, "a compiled component is removed from the cache");
            self.discard(entry.key);
            total = total.saturating_sub(entry.bytes);
        }
        self.forget()
    }

    /// Removes what killed hosts have left. Must only be called while nobody makes an entry.
    fn remove_left(&self) -> io::Result<()> {
        for name in dir::names(self.dir.as_fd())? {
            if let Some(name) = name.to_str().ok().filter(|name| name.starts_with('.')) {
                dir::remove_hidden(self.dir.as_fd(), name)?;
            }
        }
        Ok(())
    }

    /// Removes everything, and returns the number of entries and their bytes. A process keeps the code that it has mapped.
    pub(crate) fn clear(&self) -> io::Result<(usize, u64)> {
        let lock = self.lock_file()?;
        lock.try_lock()
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another host is compiling a component"))?;
        self.remove_left()?;
        for name in dir::names(self.digests.as_fd())? {
            name.to_str().map_or(Ok(()), |name| dir::remove_hidden(self.digests.as_fd(), name))?;
        }
        let (mut count, mut bytes) = (0, 0_u64);
        for entry in self.entries()? {
            dir::remove(self.dir.as_fd(), &entry.key.to_string())?;
            (count, bytes) = (count + 1, bytes.saturating_add(entry.bytes));
        }
        Ok((count, bytes))
    }

    /// Removes the oldest remembered digests past the limit.
    fn forget(&self) -> io::Result<()> {
        let notes = dir::names(self.digests.as_fd())?;
        let names = notes.iter().filter_map(|name| name.to_str().ok());
        let mut aged: Vec<(Timespec, &str)> =
            names.filter_map(|name| Some((dir::look_at(self.digests.as_fd(), name).ok()?.0, name))).collect();
        aged.sort_unstable();
        let surplus = aged.len().saturating_sub(DIGESTS);
        aged.iter().take(surplus).try_for_each(|(_, name)| dir::remove_hidden(self.digests.as_fd(), name))
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let names = dir::names(self.dir.as_fd())?;
        let keys = names.iter().filter_map(|name| Digest::parse(name.to_str().ok()?)).map(CacheKey);
        // An entry that is removed meanwhile is not counted.
        let entry = |key: CacheKey| {
            let (used, _) = dir::look_at(self.dir.as_fd(), &key.to_string()).ok()?;
            let code = dir::look_at(self.dir.as_fd(), &format!("{key}/{CODE}"));
            Some(Entry { key, used, bytes: code.map_or(0, |(_, bytes)| bytes) })
        };
        Ok(keys.filter_map(entry).collect())
    }

    /// How many entries there are, and their bytes.
    pub(crate) fn usage(&self) -> io::Result<(usize, u64)> {
        let entries = self.entries()?;
        Ok((entries.len(), entries.iter().map(|entry| entry.bytes).sum()))
    }
}
