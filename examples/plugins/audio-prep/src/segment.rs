//! Makes the planned segments, each when it is asked for: reads its part of the file, resamples it, writes it as a blob.

use std::io::{BufRead, Seek, Write};
use std::ops::Range;

use bivium_guest::{Blob, BlobWriter, Call, Result};
use serde::{Deserialize, Serialize};

use crate::MEASURED;
use crate::plan::STEP_S;
use crate::resample::{RATE, Resampler};
use crate::wav::Wav;

/// Output samples made at once: a second.
const PIECE: u64 = RATE as u64;

/// A stretch of speech.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Segment {
    audio: Blob,
    index: usize,
    start_s: f64,
    end_s: f64,
    duration_s: f64,
}

/// An iterator over the segments of a plan.
pub(crate) struct Cutter<R> {
    call: Call,
    wav: Wav<R>,
    plan: std::iter::Enumerate<std::vec::IntoIter<Range<usize>>>,
    steps: usize,
    resampler: Resampler,
}

impl<R: BufRead + Seek> Cutter<R> {
    pub(crate) fn new(call: Call, wav: Wav<R>, plan: Vec<Range<usize>>) -> Result<Self> {
        let steps = plan.last().map_or(1, |last| last.end);
        let resampler = Resampler::new(wav.rate());
        Ok(Self { call, wav, plan: plan.into_iter().enumerate(), steps, resampler })
    }

    fn cut(&mut self, index: usize, run: &Range<usize>) -> Result<Segment> {
        let most = self.resampler.output_len(self.wav.frames());
        let sample = |step: usize| ((step as f64 * STEP_S * f64::from(RATE)).round() as u64).min(most);
        let (start, end) = (sample(run.start), sample(run.end));
        let mut blob = Blob::create("audio/wav");
        blob.write_all(&header(end - start))?;
        let (mut input, mut output) = (Vec::new(), Vec::new());
        let mut at = start;
        while at < end {
            self.call.check()?;
            let to = (at + PIECE).min(end);
            let (first, count) = self.resampler.needs(at, to);
            self.read(first, count, &mut input)?;
            output.clear();
            self.resampler.resample(at, to, &input, &mut output);
            write_samples(&mut blob, &output)?;
            at = to;
        }
        let done = run.end as f64 / self.steps as f64;
        self.call.progress(MEASURED + (1.0 - MEASURED) * done, &format!("segment {}", index + 1));
        let seconds = |sample: u64| (sample as f64 / f64::from(RATE) * 1000.0).round() / 1000.0;
        Ok(Segment {
            audio: blob.finish()?,
            index,
            start_s: seconds(start),
            end_s: seconds(end),
            duration_s: seconds(end - start),
        })
    }

    /// The input from `first` on, with zeros outside the file.
    fn read(&mut self, first: i64, count: u64, into: &mut Vec<f32>) -> Result<()> {
        let count_all = usize::try_from(count)?;
        let before = first.min(0).unsigned_abs().min(count);
        into.clear();
        into.resize(usize::try_from(before)?, 0.0);
        self.wav.read_mono(first.max(0).unsigned_abs(), count - before, into)?;
        into.resize(count_all, 0.0);
        Ok(())
    }
}

impl<R: BufRead + Seek> Iterator for Cutter<R> {
    type Item = Result<Segment>;

    fn next(&mut self) -> Option<Self::Item> {
        let (index, run) = self.plan.next()?;
        Some(self.cut(index, &run))
    }
}

/// The 44 bytes before 16-bit mono sound of this many samples.
fn header(samples: u64) -> Vec<u8> {
    // A segment has at most 600 seconds.
    let bytes = u32::try_from(samples * 2).unwrap_or(u32::MAX - 36);
    let mut header = Vec::with_capacity(44);
    header.extend_from_slice(b"RIFF");
    header.extend_from_slice(&(bytes + 36).to_le_bytes());
    header.extend_from_slice(b"WAVEfmt ");
    header.extend_from_slice(&16u32.to_le_bytes());
    header.extend_from_slice(&1u16.to_le_bytes());
    header.extend_from_slice(&1u16.to_le_bytes());
    header.extend_from_slice(&RATE.to_le_bytes());
    header.extend_from_slice(&(RATE * 2).to_le_bytes());
    header.extend_from_slice(&2u16.to_le_bytes());
    header.extend_from_slice(&16u16.to_le_bytes());
    header.extend_from_slice(b"data");
    header.extend_from_slice(&bytes.to_le_bytes());
    header
}

fn write_samples(blob: &mut BlobWriter, samples: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = samples
        .iter()
        .flat_map(|sample| ((sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16).to_le_bytes())
        .collect();
    Ok(blob.write_all(&bytes)?)
}
