//! Valid files that were changed at random.

use proptest::prelude::*;

use super::forms::{FLAT, NESTED};
use super::*;

/// Bits of JSON that turn up in the wrong place.
fn bit() -> impl Strategy<Value = String> {
    let bits =
        ["{", "}", "[", "]", ",", ":", "\"", "null", "true", "-1", "1e999", "{}", "[]", "\"\"", "\"\\ud800\"", "\n"];
    prop_oneof!["\\PC{0,3}", prop::sample::select(bits.to_vec()).prop_map(str::to_owned)]
}

proptest! {
    #[test]
    fn no_change_of_a_valid_file_breaks_the_reader(
        file in 0..2_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6_usize, bit()), 1..4),
    ) {
        let mut text: Vec<char> = [NESTED, FLAT][file].chars().collect();
        for (place, length, bit) in edits {
            let start = place.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, bit.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = ManifestFile::parse(&text, Path::new(PATH), &FORMS) {
            prop_assert!(!error.problems().is_empty());
            for problem in error.problems() {
                // Else the schema would say less than the types.
                prop_assert!(!problem.message.contains("this manifest cannot be read"), "{}\n{text}", problem.message);
                let line = problem.location.trim_start_matches("line ").parse::<usize>().unwrap();
                prop_assert!((1..=text.lines().count().max(1) + 1).contains(&line));
            }
        }
    }
}
