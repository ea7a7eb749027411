//! Checks the requirements of a Python plugin before an installer gets them.
//!
//! A manifest is untrusted, and its requirements become arguments of pip or uv. These accept much more than PEP 508: options, paths,
//! local archives, `file:` URLs, and (uv) `${NAME}` in a URL, which would send that environment variable to the URL's server. Only
//! a name with extras, versions and a marker, or a name with an `https:` URL, is accepted.

use pep440_rs::VersionSpecifiers;

/// The longest requirement, in bytes.
const LONGEST: usize = 2048;

/// What is wrong with a requirement, as the end of a sentence that begins with its text.
#[must_use]
pub fn requirement_fault(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return Some(format!("is longer than {LONGEST} bytes"));
    }
    if text.starts_with('-') {
        return Some("is an option of an installer".into());
    }
    if !text.chars().all(|c| (' '..='~').contains(&c)) {
        return Some("holds characters other than printable ASCII".into());
    }
    let (name, rest) = text.split_at(text.find(|c| !in_name(c)).unwrap_or(text.len()));
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(name.chars().next()) || !edge(name.chars().next_back()) {
        return Some("does not begin with a package's name".into());
    }
    let rest = match rest.trim_start().strip_prefix('[') {
        None => rest.trim(),
        Some(rest) => match rest.split_once(']') {
            Some((extras, rest)) if extras.chars().all(|c| in_name(c) || c == ',' || c == ' ') => rest.trim(),
            _ => return Some("has extras that are not a list of names in brackets".into()),
        },
    };
    match rest.strip_prefix('@') {
        Some(url) => fault_of_url(url.trim_start()),
        None => fault_of_versions(rest.split_once(';').map_or(rest, |(versions, _)| versions).trim()),
    }
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn fault_of_url(text: &str) -> Option<String> {
    // PEP 508 wants a space before a marker, since a URL may hold a semicolon.
    let url = text.split_once(" ;").map_or(text, |(url, _)| url);
    let Some(place) = url.strip_prefix("git+").unwrap_or(url).strip_prefix("https://") else {
        return Some("is neither from an index nor from an https URL".into());
    };
    if place.is_empty() || place.starts_with('/') || url.contains([' ', '"', '\\', '`', '<', '>']) {
        return Some("has no valid URL".into());
    }
    url.contains(['$', '{', '}']).then(|| "has a URL with a variable in it".into())
}

/// What is wrong with the versions of a package or of Python (PEP 440), as the end of a sentence that begins with their text.
pub(super) fn fault_of_versions(text: &str) -> Option<String> {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    let error = inner.parse::<VersionSpecifiers>().err()?.to_string();
    Some(format!(
        "has versions that PEP 440 does not allow: {}",
        error.lines().next().unwrap_or_default().trim_end_matches(':')
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_pep_508() {
        for text in [
            "numpy",
            "pocketsphinx==5.1.1",
            "numpy>=1.22,<3",
            "numpy >= 2 ; python_version < \"3.13\"",
            "requests[socks,security]~=2.31",
            "requests [socks] (>=2.31)",
            "torch==2.4.0+cu121",
            "ruamel.yaml",
            "x",
            "name @ https://example.com/name-1.0-py3-none-any.whl#sha256=00",
            "name[extra]@git+https://example.com/name.git@v1 ; sys_platform == 'linux'",
        ] {
            assert_eq!(requirement_fault(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_all_else() {
        for (text, why) in [
            ("--index-url=https://evil.example", "is an option"),
            ("-r", "is an option"),
            ("numpy\n--pre", "printable ASCII"),
            ("numpy\0", "printable ASCII"),
            ("nümpy", "printable ASCII"),
            ("", "package's name"),
            (" numpy", "package's name"),
            ("./plugin", "package's name"),
            ("../up.whl", "package's name"),
            ("/tmp/x.whl", "package's name"),
            ("dist/x.whl", "PEP 440"),
            ("name --pre", "PEP 440"),
            ("https://example.com/x.whl", "PEP 440"),
            ("numpy==", "PEP 440"),
            ("numpy 2", "PEP 440"),
            ("name[a", "extras"),
            ("name[a;b]", "extras"),
            ("name @ file:///etc", "https URL"),
            ("name @ http://example.com/x.whl", "https URL"),
            ("name @ git+ssh://git@example.com/x", "https URL"),
            ("name @ ../x", "https URL"),
            ("name @ https:///x", "no valid URL"),
            ("name @ https://e.example/x --pre", "no valid URL"),
            ("name @ https://e.example/${HOME}", "variable"),
            (&"x".repeat(LONGEST + 1), "longer"),
        ] {
            assert!(
                requirement_fault(text).is_some_and(|said| said.contains(why)),
                "{text:?}: {:?}",
                requirement_fault(text)
            );
        }
    }
}
