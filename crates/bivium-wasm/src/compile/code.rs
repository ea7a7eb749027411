//! [`Code`]: a compiled component in a file. Trusting such a file to be the engine's own output is `unsafe`; it is done only here.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::digest::Digest;

/// The open file of a compiled component, which this host has just made or found unchanged in the cache.
///
/// Whoever makes one guarantees its content. The file lies in a directory that only this user can enter, or has no name, and nobody
/// opens it for writing again. There is no other protection: the engine runs what is in the file.
#[derive(Debug)]
pub(crate) struct Code {
    file: File,
    /// Its digest when it was checked, in case it must be read again.
    digest: Option<Digest>,
}

impl Code {
    /// A file that was compiled for this process, with its digest if that is known.
    pub(super) fn trusted(file: File, digest: Option<Digest>) -> Self {
        Self { file, digest }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |found| found.len())
    }

    /// Maps the component through the file's handle, so that it is the same file that was checked. If it cannot be mapped (no `/proc`, or
    /// a file system without execution) it is read.
    pub(crate) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        let handles = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
        let path = PathBuf::from(format!("{handles}/{}", self.file.as_raw_fd()));
        // SAFETY: the file is what this engine's compiler wrote, see the type; it is not changed while it is mapped,
        // since entries of the cache are replaced as a whole and never written to.
        #[expect(unsafe_code, reason = "the engine cannot check compiled code; the cache vouches for it")]
        let mapped = unsafe { Component::deserialize_file(engine, path) };
        mapped.or_else(|error| match self.read() {
            Ok(bytes) => from_memory(engine, &bytes),
            Err(_) => Err(error),
        })
    }

    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.file.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, 0)?;
        match self.digest {
            Some(digest) if Digest::of(&bytes) != digest => Err(io::Error::other("the file has changed")),
            _ => Ok(bytes),
        }
    }
}

/// A component from the output of this engine's compiler.
pub(super) fn from_memory(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are the compiler's own, or were read from a file that stands for them, see `Code`.
    #[expect(unsafe_code, reason = "the engine cannot check compiled code; it was made here")]
    unsafe {
        Component::deserialize(engine, compiled)
    }
}
