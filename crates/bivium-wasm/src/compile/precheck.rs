//! Checks quickly whether a file can be a component, by its header and the lengths of its sections. Nothing is compiled, and little is
//! read.

use std::io::{self, BufReader, ErrorKind, Read as _};
use std::path::Path;

use bivium_interface::Result;

use super::source::{ComponentFile, at, failed};
use crate::refusal;

/// The most sections that are checked. A component has some tens of them.
const MOST_SECTIONS: usize = 10_000;
/// The length of the header, in bytes.
const HEADER: u64 = 8;
/// The most bytes of an encoded length.
const LENGTH: usize = 5;

/// Checks whether a file can be a component. Blocks on the file system.
///
/// # Errors
/// As for loading it: `not-found` or `denied` if it cannot be read; `invalid-manifest` if it is not a component, or is cut short.
pub fn check_component(path: &Path) -> Result<()> {
    let source = ComponentFile::open(path, u64::MAX)?;
    let size = source.stamp().size;
    let mut file = BufReader::new(source.into_file());
    let mut header = Vec::new();
    (&mut file).take(HEADER).read_to_end(&mut header).map_err(|error| failed(path, &error))?;
    refusal::check_header(&header).map_err(|error| at(path, error))?;
    match is_whole(&mut file, size) {
        Ok(true) => Ok(()),
        Ok(false) => Err(at(path, refusal::cut_short())),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(at(path, refusal::cut_short())),
        Err(error) => Err(failed(path, &error)),
    }
}

/// Goes from section to section: each is a kind, a length and that many bytes.
fn is_whole(file: &mut BufReader<std::fs::File>, size: u64) -> io::Result<bool> {
    let mut end = HEADER;
    for _ in 0..MOST_SECTIONS {
        if end >= size {
            break;
        }
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        let (mut length, mut read) = (0_u64, 1);
        for n in 0..LENGTH {
            file.read_exact(&mut byte)?;
            read += 1;
            length |= u64::from(byte[0] & 0x7f) << (7 * n);
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        end = end.saturating_add(read).saturating_add(length);
        file.seek_relative(i64::try_from(length).unwrap_or(i64::MAX))?;
    }
    Ok(end <= size || size == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_a_component_is_recognized_by_its_header_and_length() {
        let dir = tempfile::tempdir().unwrap();
        let message_of = |bytes: &[u8]| {
            let path = dir.path().join("x.wasm");
            std::fs::write(&path, bytes).unwrap();
            check_component(&path)
                .err()
                .map_or_else(String::new, |error| error.message().replace(path.to_str().unwrap(), "x"))
        };
        let component = b"\0asm\x0d\0\x01\0";
        for whole in [&b""[..], b"\0\x03\x01ab", b"\0\x03\x01ab\0\x82\x00\x01a"] {
            assert_eq!(message_of(&[component, whole].concat()), "", "{whole:?}");
        }
        for cut in [&b"\0"[..], b"\0\x03", b"\0\x03\x01a", b"\0\x80", b"\0\xff\xff\xff\xff\x0f"] {
            assert_eq!(
                message_of(&[component, cut].concat()),
                "x: the file ends in the middle of the component",
                "{cut:?}"
            );
        }
        assert_eq!(message_of(b"\0asm\x0d"), "x: the file ends in the middle of the component");
        assert_eq!(message_of(b"\0asm\x01\0\0\0"), "x: the file is a core module, not a component");
        for other in [&b""[..], b"a text", b"\x7fELF"] {
            assert_eq!(message_of(other), "x: the file is not WebAssembly");
        }
        let directory = check_component(dir.path()).unwrap_err();
        assert!(directory.message().ends_with(" is not a regular file"), "{directory}");
        assert_eq!(
            check_component(&dir.path().join("none")).unwrap_err().code(),
            bivium_interface::ErrorCode::NotFound
        );
    }
}
