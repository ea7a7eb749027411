//! How an error of the operating system becomes a [`PluginError`]: one sentence that names the action, the path and the
//! cure.

use std::io;
use std::path::Path;

use bivium_interface::PluginError;

/// The help where somebody has removed a directory or a file.
pub(crate) const REMOVED_HELP: &str =
    "set TMPDIR to a directory that exists, and exclude it from cleaners of temporary files";

/// `doing` completes "cannot …", for example "write a blob in".
pub(crate) fn failed(doing: &str, path: &Path, error: impl Into<io::Error>) -> PluginError {
    let error = error.into();
    let message = format!("cannot {doing} {}: {error}", path.display());
    if is_full(&error) {
        use rustix::io::Errno;
        return PluginError::resource_exhausted(message).with_help(match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE) => "raise the limit of open files (`ulimit -n`)",
            Some(Errno::FBIG) => "raise the limit of file size (`ulimit -f`)",
            _ => "free some space, or set TMPDIR to a directory that has room",
        });
    }
    match error.kind() {
        io::ErrorKind::NotFound => PluginError::not_found(message).with_help(REMOVED_HELP),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            PluginError::denied(message).with_help("set TMPDIR to a directory that you may write to")
        }
        _ => PluginError::internal(message),
    }
}

/// Whether a limit of the system was reached: space, quota, file size, open files, memory.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
        || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Text that a plugin chose, made safe for a message: escaped, quoted and cut.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::ErrorCode;

    #[test]
    fn each_kind_has_its_code() {
        for (errno, code) in [
            (rustix::io::Errno::NOSPC, ErrorCode::ResourceExhausted),
            (rustix::io::Errno::DQUOT, ErrorCode::ResourceExhausted),
            (rustix::io::Errno::FBIG, ErrorCode::ResourceExhausted),
            (rustix::io::Errno::MFILE, ErrorCode::ResourceExhausted),
            (rustix::io::Errno::NOENT, ErrorCode::NotFound),
            (rustix::io::Errno::ACCESS, ErrorCode::Denied),
            (rustix::io::Errno::ROFS, ErrorCode::Denied),
            (rustix::io::Errno::IO, ErrorCode::Internal),
        ] {
            assert_eq!(failed("write a blob in", Path::new("/tmp"), errno).code(), code, "{errno}");
        }
    }

    #[test]
    fn a_plugins_text_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[2J\n"), r#""a\u{1b}[2J\n""#);
        assert!(quoted(&"é".repeat(100_000)).len() < 500);
    }
}
