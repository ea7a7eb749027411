//! [`Digest`]: a SHA-256, by which components and compiled files are named.

use std::fmt;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of a whole file; does not move the file's position.
    pub(crate) fn of_file(file: &File) -> io::Result<Self> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        let mut at = 0;
        loop {
            let read = match file.read_at(&mut buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
                return Ok(Self(hash.finalize().into()));
            };
            hash.update(part);
            at += read as u64;
        }
    }

    /// The digest of some words and a value that implements `Hash`.
    pub(crate) fn of_hashed(words: &[&str], value: &impl Hash) -> Self {
        struct Absorb(Sha256);
        impl Hasher for Absorb {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut absorb = Absorb(Sha256::new());
        words.hash(&mut absorb);
        value.hash(&mut absorb);
        Self(absorb.0.finalize().into())
    }

    /// Reads 64 hexadecimal digits of either case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let &[high, low] = pair else { return None };
            *byte = (value(high)? << 4) | value(low)?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a SHA-256 has 64 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_same_bytes_have_the_same_digest_however_they_are_read() {
        let bytes: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        assert_eq!(Digest::of_file(&file).unwrap(), Digest::of(&bytes));
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(Digest::parse(&empty.to_uppercase()), Some(Digest::of(b"")));
        for wrong in ["", "00", &empty[1..], &empty.replace('e', "g"), &empty.replace("e3", "é")] {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }
}
