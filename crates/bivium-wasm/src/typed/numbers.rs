//! Whole numbers in JSON, and how many are crossed at once.

/// Numbers that are read or written between two looks at the clock.
pub(super) const AT_ONCE: usize = 1024;

/// Up to here a JSON number is exact everywhere; whole numbers beyond it are written as strings.
pub(super) const MAX_EXACT: i128 = 1 << 53;

/// A whole number, as long as it says exactly which one it is.
pub(super) fn whole(number: &serde_json::Number) -> Option<i128> {
    if let Some(number) = number.as_i64() {
        return Some(number.into());
    }
    if let Some(number) = number.as_u64() {
        return Some(number.into());
    }
    // 3.0, or 1e6: exact below that only, since 9007199254740993.0 is a float of 2^53.
    let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and a cast of what is too large is too large")]
    let whole = number as i128;
    (-MAX_EXACT + 1..MAX_EXACT).contains(&whole).then_some(whole)
}
