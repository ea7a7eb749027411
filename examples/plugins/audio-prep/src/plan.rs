//! Where to cut: from the loudness of each 20 ms to the segments. Pure; in steps, not in seconds.
//!
//! The threshold between silence and speech adapts to the recording: it lies above the noise floor and below the loud
//! parts, in proportion to what lies between. A recording without that contrast is all speech, or all silence if it
//! is faint.

use std::ops::Range;

use crate::config::Config;

/// The length of a step in seconds.
pub(crate) const STEP_S: f64 = 0.02;

/// Fainter than this is no speech, whatever the contrast.
const FAINT_DB: f32 = -65.0;
/// With less between floor and peak than this there is no silence to tell from speech.
const LEAST_CONTRAST_DB: f32 = 12.0;
/// Where between floor and peak the threshold lies, and how far from the two it may be.
const SHARE: f32 = 0.3;
const MOST_ABOVE_FLOOR_DB: f32 = 15.0;
const MOST_BELOW_PEAK_DB: f32 = 40.0;
/// A click of fewer steps is no speech.
const LEAST_STEPS: usize = 3;
/// A short segment is not joined with a neighbour over a longer silence than this: a second.
const LONGEST_BRIDGE: usize = 50;

/// The segments, as ranges of steps, in order and without overlap.
pub(crate) fn segments(levels: &[f32], config: &Config) -> Vec<Range<usize>> {
    let steps = |seconds: f64| (seconds / STEP_S).round() as usize;
    let threshold = config.silence_db.unwrap_or_else(|| threshold(levels));
    let most = steps(config.max_segment_s).max(1);

    let loud = join(runs(levels, threshold), steps(config.min_silence_s));
    let long = loud.into_iter().filter(|run| run.len() >= LEAST_STEPS).collect();
    let padded = pad(long, steps(config.padding_s), levels.len());
    let joined = absorb(padded, steps(config.min_segment_s), most);
    joined.into_iter().flat_map(|run| split(levels, run, most)).collect()
}

fn threshold(levels: &[f32]) -> f32 {
    let mut sorted = levels.to_vec();
    sorted.sort_by(f32::total_cmp);
    let percentile = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(f32::MIN);
    let (floor, peak) = (percentile(0.1), percentile(0.95));
    if peak < FAINT_DB {
        return f32::MAX;
    }
    if peak - floor < LEAST_CONTRAST_DB {
        return f32::MIN;
    }
    let between = floor + (SHARE * (peak - floor)).min(MOST_ABOVE_FLOOR_DB);
    between.max(peak - MOST_BELOW_PEAK_DB).max(FAINT_DB)
}

/// The runs at or above the threshold.
fn runs(levels: &[f32], threshold: f32) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (n, _) in levels.iter().enumerate().filter(|(_, level)| **level >= threshold) {
        match runs.last_mut() {
            Some(last) if last.end == n => last.end = n + 1,
            _ => runs.push(n..n + 1),
        }
    }
    runs
}

/// Joins runs with less than `gap` between them.
fn join(runs: Vec<Range<usize>>, gap: usize) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for run in runs {
        match joined.last_mut() {
            Some(last) if run.start - last.end < gap => last.end = run.end,
            _ => joined.push(run),
        }
    }
    joined
}

/// Widens each run; two that would overlap meet in the middle of their silence.
fn pad(runs: Vec<Range<usize>>, padding: usize, end: usize) -> Vec<Range<usize>> {
    let mut padded: Vec<Range<usize>> = Vec::with_capacity(runs.len());
    for (n, run) in runs.iter().enumerate() {
        let before = padded.last().map_or(0, |last: &Range<usize>| last.end);
        let after = runs.get(n + 1).map_or(end, |next| run.end + (next.start - run.end) / 2);
        padded.push(run.start.saturating_sub(padding).max(before)..(run.end + padding).min(after));
    }
    padded
}

/// Joins each run shorter than `least` with its nearer neighbour, where one is near and both together are not longer
/// than `most`.
fn absorb(mut runs: Vec<Range<usize>>, least: usize, most: usize) -> Vec<Range<usize>> {
    let mut n = 0;
    while let Some(run) = runs.get(n).cloned() {
        let before = n.checked_sub(1).and_then(|n| runs.get(n)).cloned();
        let after = runs.get(n + 1).cloned();
        let fits = |a: &Range<usize>, b: &Range<usize>| b.end - a.start <= most && b.start - a.end <= LONGEST_BRIDGE;
        let back = before.filter(|before| fits(before, &run)).map(|before| run.start - before.end);
        let forth = after.filter(|after| fits(&run, after)).map(|after| after.start - run.end);
        let with_before = back.is_some_and(|back| forth.is_none_or(|forth| back <= forth));
        if run.len() >= least || (back.is_none() && forth.is_none()) {
            n += 1;
            continue;
        }
        let first = if with_before { n - 1 } else { n };
        let next = runs.remove(first + 1);
        if let Some(joined) = runs.get_mut(first) {
            joined.end = next.end;
        }
        n = first;
    }
    runs
}

/// Splits a run longer than `most` at the most quiet step in the later half of what is allowed.
fn split(levels: &[f32], mut run: Range<usize>, most: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    while run.len() > most {
        let window = run.start + most / 2..run.start + most;
        let quiet = levels.get(window.clone()).unwrap_or_default().iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        let cut = quiet.map_or(window.end, |(n, _)| window.start + n.max(1));
        parts.push(run.start..cut);
        run.start = cut;
    }
    parts.push(run);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels from (seconds, dB).
    fn levels(parts: &[(f64, f32)]) -> Vec<f32> {
        parts.iter().flat_map(|(seconds, db)| vec![*db; (seconds / STEP_S).round() as usize]).collect()
    }

    fn plan(parts: &[(f64, f32)], config: &Config) -> Vec<(f64, f64)> {
        let seconds = |step: usize| (step as f64 * STEP_S * 1000.0).round() / 1000.0;
        segments(&levels(parts), config).into_iter().map(|run| (seconds(run.start), seconds(run.end))).collect()
    }

    #[test]
    fn cuts_at_silences_over_any_noise_floor() {
        for (floor, speech) in [(-120.0, -20.0), (-60.0, -25.0), (-40.0, -15.0)] {
            let parts =
                [(1.0, floor), (2.0, speech), (0.2, floor), (1.0, speech), (0.8, floor), (3.0, speech), (0.5, floor)];
            assert_eq!(plan(&parts, &Config::default()), [(0.84, 4.36), (4.84, 8.16)], "{floor}");
        }
    }

    #[test]
    fn no_contrast_is_all_speech_or_all_silence() {
        assert_eq!(plan(&[(3.0, -20.0)], &Config::default()), [(0.0, 3.0)]);
        assert_eq!(plan(&[(3.0, -80.0)], &Config::default()), []);
        assert_eq!(plan(&[(3.0, -120.0)], &Config::default()), []);
        assert_eq!(plan(&[], &Config::default()), []);
    }

    #[test]
    fn short_segments_join_and_clicks_are_dropped() {
        let parts = [(2.0, -20.0), (0.6, -90.0), (0.3, -20.0), (3.0, -90.0), (0.04, -20.0), (2.0, -90.0), (0.3, -20.0)];
        assert_eq!(plan(&parts, &Config::default()), [(0.0, 3.06), (7.78, 8.24)]);
    }

    #[test]
    fn long_segments_split_where_it_is_quiet() {
        let config = Config { max_segment_s: 10.0, ..Config::default() };
        let parts = [(7.0, -20.0), (0.1, -30.0), (9.0, -20.0), (2.0, -90.0)];
        assert_eq!(plan(&parts, &config), [(0.0, 7.0), (7.0, 16.26)]);
        let endless = plan(&[(95.0, -20.0)], &config);
        assert!(endless.iter().all(|(start, end)| end - start <= 10.0 && end > start), "{endless:?}");
        assert_eq!((endless[0].0, endless.last().unwrap().1), (0.0, 95.0));
    }

    #[test]
    fn segments_never_overlap_and_keep_order() {
        let mut state = 7u32;
        let noisy: Vec<f32> = (0..5000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                -(f32::from((state >> 24) as u8) / 3.0)
            })
            .collect();
        let config = Config { padding_s: 2.0, min_silence_s: 0.05, silence_db: Some(-10.0), ..Config::default() };
        let all = segments(&noisy, &config);
        assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start));
        assert!(all.iter().all(|run| run.len() <= 1000 && !run.is_empty() && run.end <= 5000));
    }
}
