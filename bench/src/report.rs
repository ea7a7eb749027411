//! Writes the results as a table for people and as a JSON file.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use crate::cases::Results;
use crate::entry::{Entry, Measured};
use crate::machine;
use crate::site::Site;

/// Writes the file.
///
/// # Errors
/// If it cannot be written.
pub fn write(path: &Path, site: &Site, results: &Results) -> Result<()> {
    let report = json!({
        "format": 1,
        "quick": site.quick,
        "machine": machine::describe(),
        "versions": machine::versions(site),
        "cases": results.entries,
        "failed": results.failures,
    });
    let text = serde_json::to_string_pretty(&report)?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Prints the table as Markdown.
pub fn print(entries: &[Entry]) {
    println!("| case | variant | ours (p10–p90) | floor | peers | ÷ floor | ÷ peer | goal | met |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for entry in entries {
        let mut peers: Vec<String> =
            entry.peers.iter().map(|(name, peer)| format!("{name} {}", median(peer))).collect();
        peers.extend(entry.also.iter().map(|(name, also)| format!("({name} {})", median(also))));
        let ours = match &entry.ours {
            Measured::Stats(stats) => {
                format!("{} {} ({}–{})", number(stats.median), entry.unit, number(stats.p10), number(stats.p90))
            }
            Measured::Missing { missing } => missing.clone(),
        };
        let met = match entry.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None if entry.goal.is_some() => "?",
            None => "",
        };
        println!(
            "| {} | {} | {ours} | {} | {} | {} | {} | {} | {met} |",
            entry.case,
            entry.variant,
            entry.floor.as_ref().map(median).unwrap_or_default(),
            peers.join(", "),
            entry.ratio_to_floor.map(number).unwrap_or_default(),
            entry.ratio_to_peer.map(number).unwrap_or_default(),
            entry.goal.as_deref().unwrap_or_default(),
        );
    }
}

fn median(measured: &Measured) -> String {
    match measured {
        Measured::Stats(stats) => number(stats.median),
        Measured::Missing { .. } => "–".to_owned(),
    }
}

/// A number with three significant digits.
fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let decimals = usize::try_from(2 - digits).unwrap_or(0);
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_three_significant_digits() {
        assert_eq!(
            [0.0, 0.01234, 1.5, 12.345, 987.6, 65536.0].map(number),
            ["0.00", "0.0123", "1.50", "12.3", "988", "65536"]
        );
    }
}
