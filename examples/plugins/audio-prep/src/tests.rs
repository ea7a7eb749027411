//! The plugin as a whole, on WAV files made here.

use bivium_guest::Blob;
use bivium_guest::testing::{self, Harness};
use serde_json::{Value, json};

use super::*;

struct File {
    tag: u16,
    bits: u16,
    channels: u16,
    rate: u32,
    extensible: bool,
}

const PLAIN: File = File { tag: 1, bits: 16, channels: 1, rate: 16_000, extensible: false };

impl File {
    /// Tones of 440 Hz and silences in turn, of these lengths in seconds; the second and later channels are silent.
    fn sound(&self, tones: &[f64]) -> Vec<u8> {
        let mut data = Vec::new();
        for (n, seconds) in tones.iter().enumerate() {
            for i in 0..(seconds * f64::from(self.rate)) as u64 {
                let angle = 440.0 * std::f64::consts::TAU * i as f64 / f64::from(self.rate);
                let sample = if n % 2 == 0 { angle.sin() * 0.5 } else { 0.0 };
                for channel in 0..self.channels {
                    self.push(&mut data, if channel == 0 { sample } else { 0.0 });
                }
            }
        }
        data
    }

    fn push(&self, data: &mut Vec<u8>, sample: f64) {
        match (self.tag, self.bits) {
            (1, 8) => data.push((sample * 127.0 + 128.0) as u8),
            (1, bits) => {
                let all = ((sample * 2_147_483_647.0) as i32).to_le_bytes();
                data.extend_from_slice(&all[4 - usize::from(bits / 8)..]);
            }
            (_, 32) => data.extend_from_slice(&(sample as f32).to_le_bytes()),
            _ => data.extend_from_slice(&sample.to_le_bytes()),
        }
    }

    fn bytes(&self, data: &[u8]) -> Vec<u8> {
        let frame = self.channels * (self.bits / 8);
        let mut fmt = Vec::new();
        fmt.extend((if self.extensible { 0xfffe } else { self.tag }).to_le_bytes());
        fmt.extend(self.channels.to_le_bytes());
        fmt.extend(self.rate.to_le_bytes());
        fmt.extend(self.rate.wrapping_mul(u32::from(frame)).to_le_bytes());
        fmt.extend(frame.to_le_bytes());
        fmt.extend(self.bits.to_le_bytes());
        if self.extensible {
            fmt.extend([22, 0, self.bits as u8, 0, 0, 0, 0, 0]);
            fmt.extend(self.tag.to_le_bytes());
            fmt.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
        }
        let mut all = b"RIFF\0\0\0\0WAVEodd \x03\0\0\0abc\0fmt ".to_vec();
        all.extend((fmt.len() as u32).to_le_bytes());
        all.extend(fmt);
        all.extend(b"data");
        all.extend((data.len() as u32).to_le_bytes());
        all.extend(data);
        all
    }
}

fn run(bytes: &[u8]) -> bivium_guest::Result<(Value, Vec<Blob>)> {
    let blob = Blob::from_bytes("audio/wav", bytes).unwrap();
    Harness::<AudioPrep>::new(&json!({})).unwrap().execute(&json!({"audio": {"$blob": 0}}), &[blob])
}

#[test]
fn every_format_gives_the_same_segments() {
    let file = |tag, bits, channels, rate, extensible| File { tag, bits, channels, rate, extensible };
    for file in [
        file(1, 8, 1, 8_000, false),
        PLAIN,
        file(1, 16, 2, 44_100, false),
        file(1, 24, 2, 48_000, true),
        file(1, 32, 1, 22_050, true),
        file(3, 32, 1, 11_025, false),
        file(3, 64, 2, 96_000, true),
        file(1, 16, 6, 32_000, true),
    ] {
        let what = format!("{} {} {} {}", file.tag, file.bits, file.channels, file.rate);
        let (result, blobs) = run(&file.bytes(&file.sound(&[2.0, 1.0, 1.5]))).unwrap();
        let segments = result["segments"].as_array().unwrap();
        assert_eq!((segments.len(), blobs.len()), (2, 2), "{what}: {result}");
        let near = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() < 0.05;
        assert!(near(&segments[0]["start_s"], 0.0) && near(&segments[0]["end_s"], 2.15), "{what}: {result}");
        assert!(near(&segments[1]["start_s"], 2.85) && near(&segments[1]["end_s"], 4.5), "{what}: {result}");
        assert!(near(&segments[1]["duration_s"], 1.65), "{what}: {result}");
        assert_eq!(segments[1]["index"], 1);
        assert_eq!(blobs[0].media_type(), "audio/wav");

        let mut segment = Wav::open(blobs[0].reader()).unwrap();
        assert_eq!((segment.rate(), segment.channels()), (16_000, 1));
        let mut samples = Vec::new();
        segment.read_mono(0, segment.frames(), &mut samples).unwrap();
        assert!(near(&json!(samples.len() as f64 / 16_000.0), 2.15));
        let middle = &samples[8_000..24_000];
        let rms = (middle.iter().map(|sample| sample * sample).sum::<f32>() / 16_000.0).sqrt();
        let expected = 0.5 / 2f32.sqrt() / f32::from(file.channels);
        assert!((rms / expected - 1.0).abs() < 0.03, "{what}: {rms} where {expected} was expected");
        let crossings = middle.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
        assert!((438..=442).contains(&crossings), "{what}: {crossings} Hz where 440 were expected");
    }
}

#[test]
fn hostile_files_are_refused() {
    let sound = PLAIN.sound(&[0.1]);
    let good = PLAIN.bytes(&sound);
    let patched = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    // fmt's body begins at 32, data's size is at 52.
    for (what, file) in [
        ("empty", Vec::new()),
        ("not a WAV", b"ID3 this is an mp3 file, honestly it is".to_vec()),
        ("header only", good[..12].to_vec()),
        ("cut in fmt", good[..40].to_vec()),
        ("no data", good[..48].to_vec()),
        ("cut in data", good[..good.len() - 100].to_vec()),
        ("data size lies", patched(52, &0x7000_0000u32.to_le_bytes())),
        ("chunk size lies", patched(16, &0xffff_fff0u32.to_le_bytes())),
        ("fmt too short", patched(28, &4u32.to_le_bytes())),
        ("no channels", patched(34, &[0, 0])),
        ("65535 channels", patched(34, &[255, 255])),
        ("rate 0", patched(36, &[0; 4])),
        ("rate 4 GHz", patched(36, &[255; 4])),
        ("frame 0", patched(44, &[0, 0])),
        ("frame too small", patched(44, &[1, 0])),
        ("compressed", patched(32, &[2, 0])),
        ("extensible without more", patched(32, &[0xfe, 0xff])),
        ("sound before format", [&good[..12], b"data\0\0\0\0"].concat()),
        ("endless chunks", [&good[..12], &b"junk\0\0\0\0".repeat(5_000)].concat()),
    ] {
        let error = run(&file).map(|(result, _)| result).expect_err(what);
        assert_eq!(error.code(), "invalid-input", "{what}: {error}");
    }
    let cut_off = run(&good[..good.len() - 100]).unwrap_err();
    assert!(cut_off.message().contains("cut off: 3200 bytes of sound stated, 3100 there"), "{cut_off}");
}

#[test]
fn what_a_pipe_wrote_is_read_to_its_end() {
    let mut file = PLAIN.bytes(&PLAIN.sound(&[1.0]));
    file[52..56].copy_from_slice(&[255; 4]);
    assert_eq!(run(&file).unwrap().0["segments"][0]["end_s"], 1.0);
}

#[test]
fn no_sound_and_silence_give_no_segments() {
    for tones in [&[][..], &[0.0, 3.0]] {
        assert_eq!(run(&PLAIN.bytes(&PLAIN.sound(tones))).unwrap().0, json!({"segments": []}));
    }
    let odd = File { tag: 3, bits: 32, ..PLAIN };
    let nonsense = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(f32::to_le_bytes).concat().repeat(10_000);
    assert_eq!(run(&odd.bytes(&nonsense)).unwrap().0, json!({"segments": []}));
}

#[test]
fn streams_with_progress_until_cancelled() {
    let blob = Blob::from_bytes("audio/wav", &PLAIN.bytes(&PLAIN.sound(&[2.0, 1.0, 2.0, 1.0, 2.0]))).unwrap();
    let mut plugin = Harness::<AudioPrep>::new(&json!({})).unwrap();
    let mut stream = plugin.stream(&json!([{"$blob": 0}]), &[blob]).unwrap();
    let (first, blobs) = stream.next().unwrap().unwrap();
    assert_eq!((&first["index"], &first["audio"], blobs.len()), (&json!(0), &json!({"$blob": 0}), 1));
    let fractions: Vec<f64> = testing::progress().into_iter().filter_map(|(fraction, _)| fraction).collect();
    assert!(fractions.is_sorted() && fractions.last().is_some_and(|last| (0.3..0.9).contains(last)), "{fractions:?}");
    testing::cancel();
    assert_eq!(stream.next().unwrap().unwrap_err().code(), "cancelled");
    assert!(stream.next().is_none());
}

#[test]
fn the_defaults_fit_the_schema_and_are_checked() {
    let mut plugin = Harness::<AudioPrep>::new(&json!({})).unwrap();
    let schema = AudioPrep::config_schema();
    for (key, value) in plugin.config().as_object().unwrap() {
        assert_eq!(schema["properties"][key]["default"], *value, "{key}");
    }
    for wrong in [json!({"max_segment_s": 0}), json!({"min_segment_s": 15}), json!({"padding": 1})] {
        assert_eq!(plugin.configure(&wrong).unwrap_err().code(), "invalid-config", "{wrong}");
    }
}
