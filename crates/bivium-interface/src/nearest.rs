//! [`nearest`] and [`nearest_file`]: suggest the name that was probably meant.

use std::path::Path;

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

/// The name that is most similar to a path's last part, of a file in the same directory with the same extension or, with `is_directory`, of a
/// directory there. `None` if none is similar. Blocks on the file system.
#[must_use]
pub fn nearest_file(path: &Path, is_directory: bool) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let is_alike = |other: &Path| match is_directory {
        true => other.is_dir(),
        false => other.extension() == path.extension(),
    };
    let entries = std::fs::read_dir(path.parent()?).ok()?.flatten().take(NAMES);
    let others = entries.map(|entry| entry.path()).filter(|other| is_alike(other));
    let names: Vec<String> = others.filter_map(|other| Some(other.file_name()?.to_str()?.to_owned())).collect();
    nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
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
