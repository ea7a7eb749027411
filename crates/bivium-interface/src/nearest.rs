//! [`nearest`]: of the names that there are the one that was most likely meant.

use crate::head;

/// How alike two names must be for the one to be a slip of the pen for the other.
pub(crate) const ALIKE: f64 = 0.8;
/// As much of a name as is compared, in bytes.
const LENGTH: usize = 100;
/// As many names are compared.
const NAMES: usize = 10_000;

/// Of `known` the name that was most likely meant by one that is not among them; none if nothing is like it. Of `group.name`
/// the `name` alone may have been given. Case counts for nothing, and `_` is as good as `-`.
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
