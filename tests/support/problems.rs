//! The problems of a manifest, as tests compare them. The module above has `ErrorCode` and `PluginError`.

use super::{ErrorCode, PluginError};

/// Each as `LINE: MESSAGE`. The error must be that of an invalid manifest.
pub(super) fn shown(error: &PluginError) -> Vec<String> {
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    let problems = error.problems();
    assert!(!problems.is_empty());
    problems
        .iter()
        .map(|problem| format!("{}: {}", problem.location.trim_start_matches("line "), problem.message))
        .collect()
}
