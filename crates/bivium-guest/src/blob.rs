//! [`Blob`]: large data that travels as a file; [`BlobReader`] and [`BlobWriter`] give it `std::io`'s traits.
//!
//! Each host call copies once into or out of the plugin's memory. Both work in pieces of [`PIECE`] bytes: a host call
//! costs about a microsecond, and neither side ever holds a whole file.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use crate::{Error, Result, sys};

/// How many bytes one host call carries, unless the caller's own buffer is larger.
const PIECE: usize = 64 << 10;

/// The most bytes that the host returns from one read.
const LONGEST_READ: usize = 1 << 20;

/// A finished, immutable file. Cheap to clone; clones are the same file.
///
/// In arguments and results serde writes it as `{"$blob": n}`: put a `Blob` in the types that a plugin takes and returns. A
/// blob that came with a call can be read until that call ends.
#[derive(Clone)]
pub struct Blob(Rc<sys::Handle>);

impl Blob {
    /// Starts a new blob of this media type (RFC 6838).
    #[must_use]
    pub fn create(media_type: &str) -> BlobWriter {
        BlobWriter { to: sys::Writer::new(media_type), buffer: Vec::with_capacity(PIECE) }
    }

    /// A blob of these bytes.
    ///
    /// # Errors
    /// `resource-exhausted` if the plugin's quota or the disk is full.
    pub fn from_bytes(media_type: &str, bytes: &[u8]) -> Result<Self> {
        let to = sys::Writer::new(media_type);
        for piece in bytes.chunks(LONGEST_READ) {
            to.write(piece)?;
        }
        Ok(Self::from(to.finish()?))
    }

    /// The media type, for example `audio/wav`.
    #[must_use]
    pub fn media_type(&self) -> String {
        self.0.media_type()
    }

    /// The length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// A reader of the content, from the start, with its own buffer.
    #[must_use]
    pub fn reader(&self) -> BlobReader {
        BlobReader { blob: self.clone(), size: self.size(), position: 0, buffer: Vec::new(), buffer_at: 0 }
    }

    /// The whole content.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if it is larger than `most` bytes; any error of the host.
    pub fn bytes(&self, most: usize) -> Result<Vec<u8>> {
        let size = self.size();
        if usize::try_from(size).map_or(true, |size| size > most) {
            return Err(Error::InvalidInput(format!("the blob has {size} bytes; at most {most} are accepted here")));
        }
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The host's handle, for a result: this one if no clone of the blob holds it too.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_handle(self) -> sys::Handle {
        Rc::try_unwrap(self.0).unwrap_or_else(|shared| shared.duplicate())
    }
}

impl From<sys::Handle> for Blob {
    fn from(handle: sys::Handle) -> Self {
        Self(Rc::new(handle))
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.media_type(), self.size())
    }
}

/// Reads a [`Blob`]. In a function that returns [`Error`], `?` turns an error of the host back into the same [`Error`].
#[derive(Debug)]
pub struct BlobReader {
    blob: Blob,
    size: u64,
    position: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl BlobReader {
    /// The part of the buffer from the position on.
    fn buffered(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.buffer_at).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.buffer.get(skip..)).unwrap_or_default()
    }

    fn fetch(&mut self, wanted: usize) -> io::Result<()> {
        if self.buffered().is_empty() && self.position < self.size {
            let length = wanted.clamp(PIECE, LONGEST_READ);
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            self.buffer = self.blob.0.read(self.position, length).map_err(Error::into_io)?;
            self.buffer_at = self.position;
        }
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.fetch(into.len())?;
        let mut available = self.buffered();
        let count = available.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fetch(PIECE)?;
        Ok(self.buffered())
    }

    fn consume(&mut self, count: usize) {
        self.position = self.position.saturating_add(count as u64);
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
        };
        self.position = target
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "cannot seek before the start of a blob"))?;
        Ok(self.position)
    }
}

/// A blob that is being written. If it is dropped without [`finish`](Self::finish), what was written is deleted.
#[derive(Debug)]
pub struct BlobWriter {
    to: sys::Writer,
    buffer: Vec<u8>,
}

impl BlobWriter {
    /// Ends the writing and returns the blob.
    ///
    /// # Errors
    /// `resource-exhausted` if the plugin's quota or the disk is full.
    pub fn finish(mut self) -> Result<Blob> {
        self.flush()?;
        Ok(Blob::from(self.to.finish()?))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > PIECE {
            self.flush()?;
        }
        if bytes.len() < PIECE {
            self.buffer.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let piece = bytes.get(..LONGEST_READ).unwrap_or(bytes);
        self.to.write(piece).map_err(Error::into_io)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.to.write(&self.buffer).map_err(Error::into_io)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_written_in_odd_pieces_can_be_read_back_and_sought() {
        let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let mut writer = Blob::create("application/octet-stream");
        let mut rest = data.as_slice();
        for size in [1, 70_000, 3, 65_536, 17, 100_000].into_iter().cycle() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            writer.write_all(now).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let blob = writer.finish().unwrap();
        assert_eq!(blob.size(), 300_000);
        assert_eq!(blob.bytes(300_000).unwrap(), data);
        assert_eq!(blob.bytes(299_999).unwrap_err().code(), "invalid-input");

        let mut reader = blob.reader();
        let mut four = [0; 4];
        for at in [299_990u64, 5, 65_534, 65_530, 0] {
            reader.seek(SeekFrom::Start(at)).unwrap();
            reader.read_exact(&mut four).unwrap();
            assert_eq!(four, data[at as usize..at as usize + 4]);
        }
        reader.seek(SeekFrom::End(10)).unwrap();
        assert_eq!(reader.read(&mut four).unwrap(), 0);
        reader.seek(SeekFrom::Start(0)).unwrap();
        assert!(reader.seek(SeekFrom::Current(-1)).is_err());
    }
}
