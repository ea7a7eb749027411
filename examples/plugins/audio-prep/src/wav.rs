//! Reads WAV files: RIFF and RF64, integers of 8 to 32 bits and floats of 32 or 64, any number of channels up to
//! [`MOST_CHANNELS`], mixed to one.
//!
//! A file is hostile until shown otherwise: no size that it states is believed before it is held against what is
//! there, and nothing is reserved for it.

use std::io::{BufRead, Read, Seek, SeekFrom};

use bivium_guest::{Error, Result};

const MOST_CHANNELS: u16 = 32;
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Programs that write to a pipe state a size of this or more: until the end.
const UNKNOWN_SIZE: u64 = 0x7fff_f000;
/// A file with more chunks before its sound is up to something.
const MOST_CHUNKS: usize = 1_000;
/// How much is read at once.
const PIECE: u64 = 64 << 10;

/// The sound of a WAV file.
pub(crate) struct Wav<R> {
    source: R,
    format: Format,
    /// Where the sound begins.
    start: u64,
    frames: u64,
    /// Where `source` stands, in frames.
    at: Option<u64>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Format {
    encoding: Encoding,
    channels: u16,
    rate: u32,
    /// Bytes of one frame: a sample of each channel.
    frame: u16,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Encoding {
    Unsigned8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
    Float64,
}

fn wrong(what: impl std::fmt::Display) -> Error {
    Error::invalid_input(format!("the audio is no WAV file that can be read: {what}"))
}

impl<R: BufRead + Seek> Wav<R> {
    pub(crate) fn open(mut source: R) -> Result<Self> {
        let end = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let mut header = [0; 12];
        read(&mut source, &mut header, "it is shorter than its header")?;
        let [a, b, c, d, _, _, _, _, kind @ ..] = header;
        if !matches!(&[a, b, c, d], b"RIFF" | b"RF64") || &kind != b"WAVE" {
            return Err(wrong("it does not begin as one (RIFF … WAVE); convert it, for example with ffmpeg"));
        }
        let mut format = None;
        let mut long_size = None;
        let mut at = 12;
        for _ in 0..MOST_CHUNKS {
            let mut header = [0; 8];
            read(&mut source, &mut header, "it ends before its sound (no `data` chunk)")?;
            let [a, b, c, d, size @ ..] = header;
            let (id, size) = ([a, b, c, d], u64::from(u32::from_le_bytes(size)));
            at += 8;
            if &id == b"data" {
                let format: Format = format.ok_or_else(|| wrong("its sound comes before its format"))?;
                let there = end.saturating_sub(at);
                let size = match long_size {
                    Some(long) if size == 0xffff_ffff => long,
                    _ if size >= UNKNOWN_SIZE && size > there => there,
                    _ => size,
                };
                if size > there {
                    return Err(wrong(format!("it is cut off: {size} bytes of sound stated, {there} there")));
                }
                return Ok(Self {
                    source,
                    format,
                    start: at,
                    frames: size / u64::from(format.frame),
                    at: Some(0),
                    bytes: Vec::new(),
                });
            }
            if size > end.saturating_sub(at) {
                return Err(wrong(format!("its chunk `{}` is longer than the file", id.escape_ascii())));
            }
            match &id {
                b"fmt " => format = Some(Format::read(&mut source, size)?),
                b"ds64" => {
                    let mut sizes = [0; 16];
                    read(&mut source, &mut sizes, "its `ds64` chunk is too short")?;
                    let [_, _, _, _, _, _, _, _, data @ ..] = sizes;
                    long_size = Some(u64::from_le_bytes(data));
                }
                _ => {}
            }
            // Chunks are padded to even sizes.
            at = at.saturating_add(size + size % 2);
            source.seek(SeekFrom::Start(at))?;
        }
        Err(wrong(format!("it has more than {MOST_CHUNKS} chunks before its sound")))
    }

    pub(crate) fn rate(&self) -> u32 {
        self.format.rate
    }

    pub(crate) fn channels(&self) -> u16 {
        self.format.channels
    }

    /// The length, in frames.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// Appends up to `count` frames from frame `from` on, mixed to one channel, from -1 to 1; fewer at the end.
    pub(crate) fn read_mono(&mut self, from: u64, count: u64, into: &mut Vec<f32>) -> Result<()> {
        let frame = u64::from(self.format.frame);
        let mut left = count.min(self.frames.saturating_sub(from));
        if self.at != Some(from) {
            self.at = None;
            self.source.seek(SeekFrom::Start(self.start + from * frame))?;
        }
        let mut at = from;
        while left > 0 {
            let now = left.min(PIECE / frame).max(1);
            self.bytes.resize(usize::try_from(now * frame)?, 0);
            self.at = None;
            self.source.read_exact(&mut self.bytes)?;
            self.format.mix(&self.bytes, into);
            at += now;
            left -= now;
            self.at = Some(at);
        }
        Ok(())
    }
}

fn read(source: &mut impl Read, into: &mut [u8], or_else: &str) -> Result<()> {
    source.read_exact(into).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => wrong(or_else),
        _ => Error::from(error),
    })
}

impl Format {
    fn read(source: &mut impl Read, size: u64) -> Result<Self> {
        let mut bytes = [0; 40];
        let wanted = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len());
        let part = bytes.get_mut(..wanted).filter(|part| part.len() >= 16);
        let part = part.ok_or_else(|| wrong(format!("its `fmt ` chunk has {size} bytes, fewer than 16")))?;
        read(source, part, "it ends in its `fmt ` chunk")?;
        let u16_at = |n: usize| match bytes.get(n..n + 2) {
            Some(&[low, high]) => u16::from_le_bytes([low, high]),
            _ => 0,
        };
        let tag = match u16_at(0) {
            // WAVE_FORMAT_EXTENSIBLE: the first two bytes of a GUID are the tag that would stand here otherwise.
            0xfffe if wanted == 40 => u16_at(24),
            0xfffe => return Err(wrong("its extensible format is not complete")),
            tag => tag,
        };
        let (channels, frame, bits) = (u16_at(2), u16_at(12), u16_at(14));
        let rate = u32::from(u16_at(4)) | u32::from(u16_at(6)) << 16;
        if channels == 0 || channels > MOST_CHANNELS {
            return Err(wrong(format!("it has {channels} channels; 1 to {MOST_CHANNELS} are accepted")));
        }
        if !RATES.contains(&rate) {
            return Err(wrong(format!(
                "it has {rate} samples a second; {} to {} are accepted",
                RATES.start(),
                RATES.end()
            )));
        }
        if frame % channels != 0 || u32::from(frame / channels) * 8 < u32::from(bits) {
            return Err(wrong(format!("{frame} bytes do not hold {channels} samples of {bits} bits")));
        }
        // Fewer valid bits than their bytes hold stand at the upper end, so the bytes alone decide.
        let encoding = match (tag, frame / channels) {
            (1, 1) => Encoding::Unsigned8,
            (1, 2) => Encoding::Signed16,
            (1, 3) => Encoding::Signed24,
            (1, 4) => Encoding::Signed32,
            (3, 4) => Encoding::Float32,
            (3, 8) => Encoding::Float64,
            (tag, bytes) => {
                return Err(wrong(format!(
                    "its samples have format {tag:#06x} in {bytes} bytes; plain integers (8 to 32 bits) and floats \
                     (32 or 64 bits) are accepted"
                )));
            }
        };
        Ok(Self { encoding, channels, rate, frame })
    }

    /// Appends the mean of each frame's channels.
    fn mix(self, bytes: &[u8], into: &mut Vec<f32>) {
        let scale = 1.0 / f32::from(self.channels);
        match self.encoding {
            Encoding::Unsigned8 => self.each(bytes, into, |[b]| scale * (f32::from(b) - 128.0) / 128.0),
            Encoding::Signed16 => self.each(bytes, into, |b| scale * f32::from(i16::from_le_bytes(b)) / 32_768.0),
            Encoding::Signed24 => {
                self.each(bytes, into, |[a, b, c]| scale * i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0)
            }
            Encoding::Signed32 => {
                self.each(bytes, into, |b| scale * i32::from_le_bytes(b) as f32 / 2_147_483_648.0);
            }
            Encoding::Float32 => self.each(bytes, into, |b| scale * tame(f32::from_le_bytes(b))),
            Encoding::Float64 => self.each(bytes, into, |b| scale * tame(f64::from_le_bytes(b) as f32)),
        }
    }

    fn each<const N: usize>(self, bytes: &[u8], into: &mut Vec<f32>, sample: impl Fn([u8; N]) -> f32) {
        let frames = bytes.chunks_exact(usize::from(self.frame));
        into.extend(frames.map(|frame| {
            let (samples, _) = frame.as_chunks::<N>();
            samples.iter().map(|bytes| sample(*bytes)).sum::<f32>()
        }));
    }
}

/// No sound is louder than this by honest means, and what is no number is silence.
fn tame(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-8.0, 8.0) } else { 0.0 }
}
