//! Reads text files whose paths a user gives. The size is limited, and reading does not wait for a pipe that nobody writes to.

use std::fs::OpenOptions;
use std::io::{self, Error, ErrorKind, IsTerminal as _, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// How many bytes are read at once.
const PIECE: u64 = 64 * 1024;

/// The text of a file of at most `limit` bytes. A pipe is read to its end if it has a writer. A device other than a terminal is
/// refused.
///
/// # Errors
/// Those of the file system; and reasons why the file is not a text of that length, each as a clause ("it is a device").
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    // Otherwise opening a pipe would wait for a writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let kind = file.metadata()?.file_type();
    let is_device = kind.is_block_device() || kind.is_char_device() && !file.is_terminal();
    if kind.is_dir() || is_device {
        let what = if is_device { "it is a device, not a file" } else { "it is a directory" };
        return Err(Error::new(ErrorKind::InvalidInput, what));
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    let text = read_text_from(&file, limit)?;
    if text.is_empty() && kind.is_fifo() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is a pipe that nobody writes to"));
    }
    Ok(text)
}

/// As [`read_text`], for an open file. Stops at the first zero byte: a text has none, and endless files like `/dev/zero` have many.
///
/// # Errors
/// As [`read_text`].
pub fn read_text_from(file: impl Read, limit: u64) -> io::Result<String> {
    let invalid = |what: String| Error::new(ErrorKind::InvalidData, what);
    let mut file = file.take(limit.saturating_add(1));
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        (&mut file).take(PIECE).read_to_end(&mut bytes)?;
        let piece = bytes.get(before..).unwrap_or_default();
        if let Some(at) = piece.iter().position(|byte| *byte == 0) {
            return Err(invalid(format!("it is not a text (byte {} is 0)", before + at)));
        }
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            return Err(invalid(format!("it is longer than {} MiB", limit >> 20)));
        }
        if piece.is_empty() {
            break;
        }
    }
    String::from_utf8(bytes)
        .map_err(|error| invalid(format!("it is not UTF-8 (at byte {})", error.utf8_error().valid_up_to())))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    #[test]
    fn files_that_never_end_and_pipes_without_a_writer_are_refused() {
        let told = |path: &str| read_text(Path::new(path), 1 << 20).unwrap_err().to_string();
        assert_eq!(told("/dev/zero"), "it is a device, not a file");
        assert_eq!(told("/"), "it is a directory");
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(told(pipe.to_str().unwrap()), "it is a pipe that nobody writes to");
        let zeroes = File::open("/dev/zero").unwrap();
        assert_eq!(read_text_from(zeroes, 1 << 40).unwrap_err().to_string(), "it is not a text (byte 0 is 0)");
        assert_eq!(read_text_from(io::repeat(b'y'), 1 << 20).unwrap_err().to_string(), "it is longer than 1 MiB");
        assert_eq!(read_text_from(&b"ab\xff"[..], 9).unwrap_err().to_string(), "it is not UTF-8 (at byte 2)");
        assert_eq!(read_text(Path::new("/no/such"), 9).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
        let thread = std::thread::spawn(move || {
            for _ in 0..1000 {
                io::Write::write_all(&mut writer, &[b'x'; 1000]).unwrap();
            }
        });
        let path = format!("/proc/self/fd/{fd}");
        assert_eq!(read_text(Path::new(&path), 1 << 20).unwrap().len(), 1_000_000);
        thread.join().unwrap();
    }
}
