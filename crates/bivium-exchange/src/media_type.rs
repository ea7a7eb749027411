//! Media types that plugins write, checked before they reach a header, a log or a file name.

use bivium_interface::{PluginError, Result};

use crate::errors::quoted;

const MOST_BYTES: usize = 127;

/// Refuses anything but `type/subtype` as in RFC 6838, with optional parameters (`; name=value`), in at most 127 bytes. A
/// quoted value may not contain `;`, `"` or `\`.
pub(crate) fn check(media_type: &str) -> Result<()> {
    if is_valid(media_type) {
        return Ok(());
    }
    Err(PluginError::invalid_input(format!("{} is not a media type", quoted(media_type))).with_help(format!(
        "write it as `type/subtype` (RFC 6838) in at most {MOST_BYTES} bytes, for example audio/wav"
    )))
}

fn is_valid(media_type: &str) -> bool {
    let mut parts = media_type.split(';');
    let essence = parts.next().unwrap_or_default();
    media_type.len() <= MOST_BYTES
        && essence.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
        && parts.all(is_parameter)
}

fn is_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
}

fn is_parameter(parameter: &str) -> bool {
    let Some((name, value)) = parameter.trim_matches(' ').split_once('=') else {
        return false;
    };
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let fits = |b: u8| match unquoted {
        Some(_) => (b == b' ' || b.is_ascii_graphic()) && !b"\"\\".contains(&b),
        None => b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b),
    };
    is_name(name) && !value.is_empty() && unquoted.unwrap_or(value).bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_in_use() {
        for good in [
            "audio/wav",
            "application/x-npy",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "image/svg+xml",
            "text/plain; charset=utf-8",
            "text/plain;charset=utf-8; format=\"flowed text\"",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn refuses_what_could_do_harm() {
        let long = format!("a/{}", "b".repeat(126));
        for bad in [
            "",
            "/",
            "wav",
            "audio/",
            "/wav",
            "a/b/c",
            " a/b",
            "a/b ",
            "a/b\r\nSet-Cookie: x",
            "a/b\0",
            "../../etc",
            "a/ü",
            ".a/b",
            "a/b;",
            "a/b; x",
            "a/b; x=",
            "a/b; x=\"",
            "a/b; x=\"a\nb\"",
            "a/b; x=a b",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
