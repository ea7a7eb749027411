//! `audio-prep`: speech in a WAV file to what recognizers want: 16 kHz, mono, 16 bits, a blob for each stretch between
//! silences.
//!
//! The file is read twice: once for the loudness of each 20 ms, from which the segments are planned, once for the
//! sound of the segments, each made when it is asked for. So memory holds one number per 20 ms and one piece of sound,
//! however long the file is.

mod config;
mod plan;
mod resample;
mod segment;
mod wav;

use std::io::{BufRead, Seek};

use bivium_guest::{Blob, Call, Plugin, Result, Stream};
use config::Config;
use segment::{Cutter, Segment};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wav::Wav;

struct AudioPrep {
    config: Config,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    audio: Blob,
}

#[derive(Serialize)]
struct Output {
    segments: Vec<Segment>,
}

impl Plugin for AudioPrep {
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Cuts the speech of a WAV file into 16 kHz mono segments at its silences.";
    const STREAMS: bool = true;
    type Config = Config;
    type Input = Input;
    type Output = Output;

    fn output_schema() -> Value {
        bivium_guest::schema_of::<Segment>()
    }

    fn config_schema() -> Value {
        config::schema()
    }

    fn new(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }

    fn execute(&mut self, call: &Call, input: Input) -> Result<Output> {
        let segments = self.segments(call, &input)?.collect::<Result<_>>()?;
        Ok(Output { segments })
    }

    fn execute_stream(&mut self, call: &Call, input: Input) -> Result<Stream> {
        Ok(Stream::new(self.segments(call, &input)?))
    }
}

impl AudioPrep {
    fn segments(&self, call: &Call, input: &Input) -> Result<impl Iterator<Item = Result<Segment>> + use<>> {
        let mut wav = Wav::open(input.audio.reader())?;
        let levels = measure(call, &mut wav)?;
        let plan = plan::segments(&levels, &self.config);
        bivium_guest::info!(
            "{:.1} s of sound at {} Hz in {} channels: {} segments",
            wav.frames() as f64 / f64::from(wav.rate()),
            wav.rate(),
            wav.channels(),
            plan.len()
        );
        Cutter::new(*call, wav, plan)
    }
}

/// How much of the work is done once the loudness is known.
const MEASURED: f64 = 0.3;

/// The loudness of each [`plan::STEP_S`], in dB of full scale. The mean of each is left out: an offset is no sound.
fn measure<R: BufRead + Seek>(call: &Call, wav: &mut Wav<R>) -> Result<Vec<f32>> {
    let total = wav.frames().max(1) as f64;
    let step_frames = f64::from(wav.rate()) * plan::STEP_S;
    let mut levels = Vec::new();
    let mut samples = Vec::new();
    let mut at = 0;
    while at < wav.frames() {
        // Ends are rounded one by one, so that steps keep their time at rates that 20 ms do not divide.
        let end = ((levels.len() + 1) as f64 * step_frames).round() as u64;
        samples.clear();
        wav.read_mono(at, end.saturating_sub(at).max(1), &mut samples)?;
        if samples.is_empty() {
            break;
        }
        at += samples.len() as u64;
        let count = samples.len() as f64;
        let (sum, squares) = samples.iter().fold((0.0, 0.0), |(sum, squares), sample| {
            let sample = f64::from(*sample);
            (sum + sample, squares + sample * sample)
        });
        let variance = (squares / count - (sum / count).powi(2)).max(0.0);
        levels.push((10.0 * (variance + 1e-12).log10()) as f32);
        if levels.len() % 500 == 1 {
            call.check()?;
            call.progress(MEASURED * at as f64 / total, "looking for silences");
        }
    }
    Ok(levels)
}

bivium_guest::export!(AudioPrep);

#[cfg(test)]
mod tests;
