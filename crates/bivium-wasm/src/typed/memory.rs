//! [`GuestMemory`]: reads a component's memory, which is not trusted.

use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;

/// The guest's bytes are not a value of the type. Completes "the component returned …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

const OUTSIDE: Broken = Broken("a pointer or a length outside its memory");
const UNALIGNED: Broken = Broken("a pointer that is not aligned");
const NO_TEXT: Broken = Broken("a string that is not valid in its encoding");

/// The flag in the length of a `latin1+utf16` string that means UTF-16.
const UTF16: usize = 1 << 31;

#[derive(Clone, Copy)]
pub(super) struct GuestMemory<'a> {
    bytes: &'a [u8],
    encoding: StringEncoding,
}

impl<'a> GuestMemory<'a> {
    pub(super) fn new(bytes: &'a [u8], encoding: StringEncoding) -> Self {
        Self { bytes, encoding }
    }

    pub(super) fn array<const N: usize>(self, at: usize) -> Result<[u8; N], Broken> {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(OUTSIDE)
    }

    pub(super) fn u32(self, at: usize) -> Result<u32, Broken> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn slice(self, at: usize, len: usize) -> Result<&'a [u8], Broken> {
        let end = at.checked_add(len).ok_or(OUTSIDE)?;
        self.bytes.get(at..end).ok_or(OUTSIDE)
    }

    /// The address and the number of items of the list that the pointer at `at` refers to; all of them are inside the memory.
    pub(super) fn list(self, at: usize, size: usize, align: u32) -> Result<(usize, usize), Broken> {
        let (start, len) = (self.u32(at)? as usize, self.u32(at.saturating_add(4))? as usize);
        self.slice(start, len.checked_mul(size).ok_or(OUTSIDE)?)?;
        aligned(start, align)?;
        Ok((start, len))
    }

    /// The string that the pointer at `at` refers to.
    pub(super) fn text(self, at: usize) -> Result<Text<'a>, Broken> {
        let (start, len) = (self.u32(at)? as usize, self.u32(at.saturating_add(4))? as usize);
        let wide = |len: usize| len.checked_mul(2).ok_or(OUTSIDE);
        let (align, bytes, form) = match self.encoding {
            StringEncoding::Utf8 => (1, len, Form::Utf8),
            StringEncoding::Utf16 => (2, wide(len)?, Form::Utf16),
            StringEncoding::CompactUtf16 if len & UTF16 == 0 => (2, len, Form::Latin1),
            StringEncoding::CompactUtf16 => (2, wide(len ^ UTF16)?, Form::Utf16),
        };
        aligned(start, align)?;
        Ok(Text { bytes: self.slice(start, bytes)?, form })
    }
}

/// Whether a pointer is aligned.
pub(super) fn aligned(at: usize, align: u32) -> Result<(), Broken> {
    if at.is_multiple_of(align as usize) { Ok(()) } else { Err(UNALIGNED) }
}

#[derive(Clone, Copy)]
enum Form {
    Utf8,
    Utf16,
    Latin1,
}

/// A string in the memory that has not been read yet.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    bytes: &'a [u8],
    form: Form,
}

impl Text<'_> {
    /// The fewest bytes that it can have in UTF-8.
    pub(super) fn least(self) -> usize {
        match self.form {
            Form::Utf8 | Form::Latin1 => self.bytes.len(),
            Form::Utf16 => self.bytes.len() / 2,
        }
    }

    /// The most bytes that it can have in UTF-8.
    pub(super) fn most(self) -> usize {
        match self.form {
            Form::Utf8 => self.bytes.len(),
            Form::Utf16 => self.bytes.len() / 2 * 3,
            Form::Latin1 => self.bytes.len() * 2,
        }
    }

    pub(super) fn read(self) -> Result<String, Broken> {
        let mut text = String::with_capacity(self.most());
        match self.form {
            Form::Utf8 => text.push_str(str::from_utf8(self.bytes).map_err(|_| NO_TEXT)?),
            Form::Latin1 => text.extend(self.bytes.iter().map(|byte| char::from(*byte))),
            Form::Utf16 => {
                let units = self.bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
                for one in char::decode_utf16(units) {
                    text.push(one.map_err(|_| NO_TEXT)?);
                }
            }
        }
        Ok(text)
    }

    /// Its first bytes only; invalid text is shown with replacement characters.
    pub(super) fn beginning(self, bytes: usize) -> String {
        let cut = self.bytes.get(..bytes.saturating_mul(2)).unwrap_or(self.bytes);
        match (Self { bytes: cut, ..self }.read(), self.form) {
            (Ok(text), _) => text,
            (Err(_), Form::Utf8) => String::from_utf8_lossy(cut).into_owned(),
            (Err(_), _) => {
                let units: Vec<u16> = cut.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
                String::from_utf16_lossy(&units)
            }
        }
    }
}
