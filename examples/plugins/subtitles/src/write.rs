//! Cues as text: SubRip and WebVTT.

use std::fmt::Write;

use crate::cues::Cue;

/// SubRip. It knows no escapes; lines come without line breaks, so a cue cannot be ended early.
pub(crate) fn srt(cues: &[Cue]) -> String {
    let mut text = String::new();
    for (n, cue) in cues.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(text, "{}\n{} --> {}\n", n + 1, time(cue.start, ','), time(cue.end, ','));
        for line in &cue.lines {
            let _ = writeln!(text, "{line}");
        }
        text.push('\n');
    }
    text
}

/// WebVTT.
pub(crate) fn vtt(cues: &[Cue]) -> String {
    let mut text = "WEBVTT\n\n".to_owned();
    for cue in cues {
        let _ = writeln!(text, "{} --> {}", time(cue.start, '.'), time(cue.end, '.'));
        for line in &cue.lines {
            let _ = writeln!(text, "{}", line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"));
        }
        text.push('\n');
    }
    text
}

fn time(seconds: f64, point: char) -> String {
    let all = (seconds * 1000.0).round() as u64;
    let (hours, minutes, seconds, millis) = (all / 3_600_000, all / 60_000 % 60, all / 1000 % 60, all % 1000);
    format!("{hours:02}:{minutes:02}:{seconds:02}{point}{millis:03}")
}
