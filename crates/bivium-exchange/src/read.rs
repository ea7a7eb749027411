//! Reading a blob on the host's side.

use std::fs::File;
use std::io;

use rustix::buffer::spare_capacity;

/// Reads up to `len` bytes from `offset` with `pread`; fewer only where the file ends. It allocates no more than the file
/// has, so `len` may come from a plugin. If the file shrinks meanwhile it gives fewer bytes; a memory map would get a
/// signal.
///
/// # Errors
/// Those of the system; `OutOfMemory` if the bytes cannot be allocated.
pub fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let there = file.metadata()?.len().saturating_sub(offset);
    let wanted = usize::try_from(there).map_or(len, |there| len.min(there));
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(wanted).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    while bytes.len() < wanted {
        let at = offset.saturating_add(bytes.len() as u64);
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(wanted);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn gives_what_is_there_whatever_is_asked() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        assert_eq!(read_at(&file, 0, 10).unwrap(), b"0123456789");
        assert_eq!(read_at(&file, 3, 4).unwrap(), b"3456");
        assert_eq!(read_at(&file, 8, usize::MAX).unwrap(), b"89");
        assert_eq!(read_at(&file, 10, 1).unwrap(), b"");
        assert_eq!(read_at(&file, u64::MAX, usize::MAX).unwrap(), b"");
        assert_eq!(read_at(&file, 2, 0).unwrap(), b"");
    }
}
