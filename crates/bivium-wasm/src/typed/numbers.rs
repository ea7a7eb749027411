//! Whole numbers in JSON, and how many are converted at once.

/// How many numbers are read or written between two checks of the clock.
pub(super) const AT_ONCE: usize = 1024;

/// Up to here a JSON number is exact everywhere; larger whole numbers are written as strings.
pub(super) const MAX_EXACT: i128 = 1 << 53;

/// The whole number, if the JSON number gives it exactly.
pub(super) fn whole(number: &serde_json::Number) -> Option<i128> {
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    // For 3.0 or 1e6. Exact only below that limit, since 9007199254740993.0 becomes a float of 2^53.
    let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and a cast of what is too large is too large")]
    let whole = number as i128;
    (-MAX_EXACT + 1..MAX_EXACT).contains(&whole).then_some(whole)
}
