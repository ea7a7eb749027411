//! [`random_name`]: names that nobody can guess.

use std::io;

/// `digits` random hexadecimal digits, 16 at most.
pub(crate) fn random_name(digits: usize) -> io::Result<String> {
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = format!("{random:016x}");
    name.truncate(digits);
    Ok(name)
}
