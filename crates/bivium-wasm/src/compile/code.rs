//! [`Code`]: a compiled component in a file. To take such a file for what the engine itself has written is `unsafe`, here
//! and nowhere else.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::digest::Digest;

/// The open file of a compiled component, made by us or found in the cache as we left it there.
///
/// Whoever makes one vouches for its content. It lies in a directory of ours that nobody else can enter, or has no
/// name; and nobody opens it for writing again. That is all the protection there is: the engine runs what is in it.
#[derive(Debug)]
pub(crate) struct Code {
    file: File,
    /// What it had to be when it was looked at, for the case that it must be read once more.
    digest: Option<Digest>,
}

impl Code {
    /// A file that this process had made for it, with the digest that it has, if that is known.
    pub(super) fn trusted(file: File, digest: Option<Digest>) -> Self {
        Self { file, digest }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |found| found.len())
    }

    /// Maps the component. The very file that was looked at is mapped, by its handle; its name is not asked again.
    /// Where it cannot be mapped (no `/proc`, or a file system that nothing may be run from) it is read.
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
            Some(digest) if Digest::of(&bytes) != digest => Err(io::Error::other("it has changed")),
            _ => Ok(bytes),
        }
    }
}

/// A component from what this engine's compiler has just made.
pub(super) fn from_memory(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are the compiler's own, or were read from a file that stands for them, see `Code`.
    #[expect(unsafe_code, reason = "the engine cannot check compiled code; it was made here")]
    unsafe {
        Component::deserialize(engine, compiled)
    }
}
