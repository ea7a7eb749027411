//! [`nearest`]: suggests the name that was probably meant.

use crate::head;

/// How similar two names must be for one to be a mistyped form of the other.
pub(crate) const ALIKE: f64 = 0.8;
/// How much of a name is compared, in bytes.
const LENGTH: usize = 100;
/// How many names are compared.
const NAMES: usize = 10_000;

/// The name among `known` that is most similar to `given`; `None` if none is similar. For a known name `group.name`, `name` alone is
/// compared too. Upper and lower case count as equal, and so do `_` and `-`.
#[must_use]
pub fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let given = plain(given);
    let likeness = |known: &str| {
        let known = plain(known);
        let last = known.rsplit(['.', '#']).next().unwrap_or_default();
        strsim::jaro_winkler(&given, &known).max(strsim::jaro_winkler(&given, last))
    };
    let known = known.into_iter().take(NAMES).map(|known| (likeness(known), known));
    let nearest = known.max_by(|one, other| one.0.total_cmp(&other.0));
    nearest.filter(|(likeness, _)| *likeness > ALIKE).map(|(_, known)| known)
}

fn plain(name: &str) -> String {
    head(name, LENGTH).to_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant() {
        let known = ["execute", "images.resize", "images.crop", "greet"];
        for (given, meant) in [
            ("gret", Some("greet")),
            ("Greet", Some("greet")),
            ("resize", Some("images.resize")),
            ("resise", Some("images.resize")),
            ("image.crop", Some("images.crop")),
            ("images_crop", Some("images.crop")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
        assert_eq!(nearest("a", []), None);
        let long = "x".repeat(1 << 20);
        assert_eq!(nearest(&long, [long.as_str()]), Some(long.as_str()));
    }
}
