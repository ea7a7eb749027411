//! Turns serde's error messages into messages for people who know no Rust.

/// The message for `said`, an error of serde at `place`, which is empty for the whole value.
pub(crate) fn of(place: &str, said: &str) -> String {
    reworded(place, said).unwrap_or_else(|| if place.is_empty() { said.to_owned() } else { format!("{place}: {said}") })
}

fn reworded(place: &str, said: &str) -> Option<String> {
    let it = if place.is_empty() { "it" } else { place };
    let within = if place.is_empty() { String::new() } else { format!(" in {place}") };
    if let Some(name) = said.strip_prefix("missing field ") {
        return Some(format!("{name} is missing{within}"));
    }
    if let Some(name) = said.strip_prefix("duplicate field ") {
        return Some(format!("{name} is there twice{within}"));
    }
    // The found value may contain any text, so the expected type is looked for from the end.
    let (found, expected) = said.rsplit_once(", expected ")?;
    if let Some(name) = found.strip_prefix("unknown field ") {
        let within = place.strip_suffix(name.trim_matches('`')).unwrap_or(place).trim_end_matches('.');
        let within = if within.is_empty() { String::new() } else { format!(" in {within}") };
        let known = expected.trim_start_matches("one of ").replace("` or `", "`, `");
        return Some(format!("there is no {name}{within}; there is {known}"));
    }
    if let Some(name) = found.strip_prefix("unknown variant ") {
        return Some(format!("{it} must be {expected}, and is {name}"));
    }
    let expected = wanted(expected);
    if let Some(length) = found.strip_prefix("invalid length ") {
        return Some(format!("{it} must be {expected}, and has a length of {length}"));
    }
    let found = found.strip_prefix("invalid type: ").or_else(|| found.strip_prefix("invalid value: "))?;
    Some(format!("{it} must be {expected}, and is {}", given(found)))
}

/// The found value, in plain words.
fn given(found: &str) -> String {
    match found {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" | "null" | "Option value" => "null".to_owned(),
        _ => {
            let number = found.strip_prefix("integer ").or_else(|| found.strip_prefix("floating point "));
            if let Some(number) = number {
                return format!("the number {}", number.trim_matches('`'));
            }
            if let Some(text) = found.strip_prefix("string ") {
                return format!("the text {text}");
            }
            found.strip_prefix("boolean ").unwrap_or(found).trim_matches('`').to_owned()
        }
    }
}

/// The expected type, in plain words.
fn wanted(expected: &str) -> String {
    let whole =
        |least: &dyn std::fmt::Display, most: &dyn std::fmt::Display| format!("a whole number from {least} to {most}");
    match expected {
        "a string" | "string" | "a borrowed string" | "str" => "a text".to_owned(),
        "a character" => "a text of one character".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "u8" => whole(&u8::MIN, &u8::MAX),
        "u16" => whole(&u16::MIN, &u16::MAX),
        "u32" => whole(&u32::MIN, &u32::MAX),
        "u64" | "u128" | "usize" => "a whole number of at least 0".to_owned(),
        "i8" => whole(&i8::MIN, &i8::MAX),
        "i16" => whole(&i16::MIN, &i16::MAX),
        "i32" => whole(&i32::MIN, &i32::MAX),
        "i64" | "i128" | "isize" => "a whole number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        "unit" => "null".to_owned(),
        _ if is_of_a_name(expected, "struct ") => "an object".to_owned(),
        _ if is_of_a_name(expected, "enum ") => "one of its forms".to_owned(),
        _ => match expected.strip_prefix("a tuple of size ").or_else(|| expected.strip_prefix("an array of length ")) {
            Some(count) => format!("a list of {count}"),
            None => expected.to_owned(),
        },
    }
}

/// Whether `expected` is `kind` and one word.
fn is_of_a_name(expected: &str, kind: &str) -> bool {
    expected.strip_prefix(kind).is_some_and(|name| !name.contains(' '))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use crate::payload::fit;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only what does not fit matters")]
    struct Input {
        text: String,
        #[serde(default)]
        count: u8,
        #[serde(default)]
        mode: Option<Mode>,
        #[serde(default)]
        pair: Option<(f64, bool)>,
        #[serde(default)]
        inner: Vec<Input>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        Fast,
        Slow,
    }

    fn says<T: DeserializeOwned>(value: Value) -> String {
        fit::<T>(value).err().unwrap()
    }

    #[test]
    fn errors_of_serde_become_plain_words() {
        for (value, expected) in [
            (json!({"text": {}}), "text must be a text, and is an object"),
            (json!({"text": [1]}), "text must be a text, and is a list"),
            (json!({"text": null}), "text must be a text, and is null"),
            (json!({"text": true}), "text must be a text, and is true"),
            (json!({"text": 1.5}), "text must be a text, and is the number 1.5"),
            (json!({"text": "", "count": 300}), "count must be a whole number from 0 to 255, and is the number 300"),
            (json!({"text": "", "count": "3"}), "count must be a whole number from 0 to 255, and is the text \"3\""),
            (
                json!({"text": "", "count": "a, expected b"}),
                "count must be a whole number from 0 to 255, and is the text \"a, expected b\"",
            ),
            (json!({"text": "", "mode": "slwo"}), "mode must be `fast` or `slow`, and is `slwo`"),
            (json!({"text": "", "pair": [1, 2]}), "pair[1] must be true or false, and is the number 2"),
            (json!({"text": "", "pair": [1]}), "pair must be a list of 2, and has a length of 1"),
            (json!({"text": "", "pair": ["1", true]}), "pair[0] must be a number, and is the text \"1\""),
            (json!({"text": "", "inner": [{"count": 1}]}), "`text` is missing in inner[0]"),
            (json!({"text": "", "inner": {}}), "inner must be a list, and is an object"),
            (json!({"text": "", "inner": [3]}), "inner[0] must be an object, and is the number 3"),
            (json!("all"), "it must be an object, and is the text \"all\""),
            (json!({}), "`text` is missing"),
        ] {
            assert_eq!(says::<Input>(value), expected);
        }
        let unknown = says::<Input>(json!({"text": "", "coutn": 1}));
        assert_eq!(unknown, "there is no `coutn`; there is `text`, `count`, `mode`, `pair`, `inner`");
        assert_eq!(says::<BTreeMap<String, i64>>(json!([])), "it must be an object, and is a list");
        assert_eq!(super::of("a", "an author's own words"), "a: an author's own words");
    }
}
