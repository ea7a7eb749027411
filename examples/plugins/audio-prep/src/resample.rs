//! Any rate to 16 kHz by a windowed sinc (Kaiser) in polyphase form.
//!
//! Going down, the filter passes what the new rate can hold (to about 6.7 kHz, flat) and stops the rest by 80 dB before
//! 8 kHz, where it would fold back. The taps of every phase are worked out once; for a pair of rates with more phases
//! than fit [`LARGEST_TABLE`], the nearest phase serves, which is off by less than a thousandth of a sample.

use std::f64::consts::PI;

/// Samples a second of what comes out.
pub(crate) const RATE: u32 = 16_000;

/// Zero crossings of the sinc on each side.
const CROSSINGS: f64 = 32.0;
/// The Kaiser window's shape: 80 dB.
const BETA: f64 = 8.0;
/// Where the pass band ends, as a share of the lower rate's Nyquist frequency.
const ROLL_OFF: f64 = 0.92;
/// Taps in all phases together: 4 MiB.
const LARGEST_TABLE: usize = 1 << 20;

/// A filter from one rate to [`RATE`].
pub(crate) struct Resampler {
    from: u64,
    /// Taps on each side of an output's place, at the rate of the input.
    half: u64,
    phases: u64,
    /// The taps, phase after phase.
    table: Vec<f32>,
}

impl Resampler {
    pub(crate) fn new(from: u32) -> Self {
        let ratio = f64::from(RATE) / f64::from(from);
        let cutoff = if ratio < 1.0 { ratio * ROLL_OFF } else { 1.0 };
        let half = (CROSSINGS / cutoff).ceil();
        let taps = 2 * half as usize;
        let exact = RATE / greatest_common_divisor(RATE, from);
        let phases = (exact as usize).min(LARGEST_TABLE / taps).max(1);

        let mut table = Vec::with_capacity(phases * taps);
        for phase in 0..phases {
            let offset = phase as f64 / phases as f64;
            let row = table.len();
            // Tap n stands for the input sample at (place - half + 1 + n); `offset` is how far the place is past it.
            table.extend((0..taps).map(|n| kernel(n as f64 - half + 1.0 - offset, cutoff, half) as f32));
            // Each phase passes a constant unchanged; otherwise the phases would hum.
            let sum: f32 = table.iter().skip(row).sum();
            table.iter_mut().skip(row).for_each(|tap| *tap /= sum);
        }
        Self { from: u64::from(from), half: half as u64, phases: phases as u64, table }
    }

    /// How many samples come out of `frames` that go in.
    pub(crate) fn output_len(&self, frames: u64) -> u64 {
        (u128::from(frames) * u128::from(RATE)).div_ceil(u128::from(self.from)) as u64
    }

    /// Which input samples the outputs `from..to` need: the first (which may lie before the sound) and how many.
    pub(crate) fn needs(&self, from: u64, to: u64) -> (i64, u64) {
        let first = self.place(from).0 as i64 - self.half as i64 + 1;
        let last = self.place(to.saturating_sub(1)).0 as i64 + self.half as i64 + 1;
        (first, last.saturating_sub(first).unsigned_abs() + 1)
    }

    /// Appends the outputs `from..to`. `input` holds what [`needs`](Self::needs) says, zeros outside the sound.
    pub(crate) fn resample(&self, from: u64, to: u64, input: &[f32], into: &mut Vec<f32>) {
        let taps = 2 * self.half as usize;
        let base = self.place(from).0;
        into.extend((from..to).map(|n| {
            let (place, phase) = self.place(n);
            let skip = (place - base) as usize;
            let row = phase as usize * taps;
            let (input, row) =
                (input.get(skip..).unwrap_or_default(), self.table.get(row..row + taps).unwrap_or_default());
            input.iter().zip(row).map(|(sample, tap)| sample * tap).sum::<f32>()
        }));
    }

    /// Where output `n` lies: after which input sample, and at which phase past it.
    fn place(&self, n: u64) -> (u64, u64) {
        let (n, from, rate, phases) = (u128::from(n), u128::from(self.from), u128::from(RATE), u128::from(self.phases));
        let (whole, rest) = (n * from / rate, n * from % rate);
        let phase = (rest * phases + rate / 2) / rate;
        if phase == phases { (whole as u64 + 1, 0) } else { (whole as u64, phase as u64) }
    }
}

fn kernel(x: f64, cutoff: f64, half: f64) -> f64 {
    let within = 1.0 - (x / half).powi(2);
    if within <= 0.0 {
        return 0.0;
    }
    let angle = PI * x * cutoff;
    let sinc = if angle.abs() < 1e-9 { 1.0 } else { angle.sin() / angle };
    sinc * bessel(BETA * within.sqrt()) / bessel(BETA)
}

/// The modified Bessel function of the first kind and order zero.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..50 {
        term *= (x / 2.0 / f64::from(n)).powi(2);
        sum += term;
    }
    sum
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of a tone at `rate`, resampled in odd pieces; the RMS in dB of its middle, relative to a full tone.
    fn gain(rate: u32, frequency: f64) -> f64 {
        let tone = |n: i64| if n < 0 { 0.0 } else { (2.0 * PI * frequency * n as f64 / f64::from(rate)).sin() as f32 };
        let resampler = Resampler::new(rate);
        let mut out = Vec::new();
        let mut at = 0;
        while at < 16_000 {
            let to = (at + 1_777).min(16_000);
            let (first, count) = resampler.needs(at, to);
            let input: Vec<f32> = (first..first + count as i64).map(tone).collect();
            resampler.resample(at, to, &input, &mut out);
            at = to;
        }
        assert_eq!(out.len(), 16_000);
        let middle = &out[3_200..12_800];
        let power = middle.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / middle.len() as f64;
        10.0 * (power * 2.0 + 1e-20).log10()
    }

    #[test]
    fn passes_speech_and_stops_what_would_fold_back() {
        for rate in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 47_999, 48_000, 96_000, 768_000] {
            for frequency in [50.0, 440.0, 3_000.0] {
                assert!(gain(rate, frequency).abs() < 0.1, "{rate} Hz: {frequency} Hz: {} dB", gain(rate, frequency));
            }
            if rate >= 16_000 {
                assert!(gain(rate, 6_500.0).abs() < 0.2, "{rate} Hz: 6.5 kHz: {} dB", gain(rate, 6_500.0));
            }
            if rate > 22_050 {
                assert!(gain(rate, 8_200.0) < -75.0, "{rate} Hz: 8.2 kHz: {} dB", gain(rate, 8_200.0));
                assert!(gain(rate, 12_000.0) < -75.0, "{rate} Hz: 12 kHz: {} dB", gain(rate, 12_000.0));
            }
        }
        assert!(gain(1_000, 100.0).abs() < 0.1);
    }

    #[test]
    fn the_same_rate_is_left_alone() {
        let resampler = Resampler::new(RATE);
        let sound: Vec<f32> = (0..1000).map(|n| ((n * 7919) % 1000) as f32 / 1000.0).collect();
        let (first, count) = resampler.needs(0, 1000);
        let input: Vec<f32> = (first..first + count as i64)
            .map(|n| usize::try_from(n).ok().and_then(|n| sound.get(n)).copied().unwrap_or(0.0))
            .collect();
        let mut out = Vec::new();
        resampler.resample(0, 1000, &input, &mut out);
        assert!(out.iter().zip(&sound).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn lengths_are_of_the_same_time() {
        assert_eq!(Resampler::new(44_100).output_len(44_100 * 3), 48_000);
        assert_eq!(Resampler::new(8_000).output_len(1), 2);
        assert_eq!(Resampler::new(768_000).output_len(0), 0);
    }
}
