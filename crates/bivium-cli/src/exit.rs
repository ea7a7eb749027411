//! How a run ends. Only this module turns a failure into an exit status and a message.

use std::process::ExitCode;

use bivium::ErrorCode;

use crate::failure::Failure;
use crate::limits;
use crate::output::Output;

/// Success.
pub(crate) const DONE: u8 = 0;
/// A check failed (`doctor`).
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong. Clap uses the same status.
pub(crate) const USAGE: u8 = 2;

/// The exit status of an error, as the documentation promises it.
pub(crate) fn status(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::NotFound => 3,
        ErrorCode::InvalidManifest | ErrorCode::InvalidConfig | ErrorCode::InvalidInput => 4,
        ErrorCode::Denied => 5,
        ErrorCode::ResourceExhausted => 6,
        ErrorCode::Unavailable | ErrorCode::Crashed | ErrorCode::Interrupted => 7,
        ErrorCode::Timeout => 124,
        ErrorCode::Cancelled => 130,
        // Errors of the plugin itself, internal errors, and codes that are added later.
        _ => FAILED,
    }
}

/// Reports the failure, if there is one, and gives the exit status.
pub(crate) fn end(result: Result<u8, Failure>, output: &Output) -> ExitCode {
    ExitCode::from(match result {
        Ok(status) => status,
        Err(Failure::ReaderGone) => DONE,
        Err(Failure::Usage(message)) => {
            output.usage_error(&message);
            USAGE
        }
        Err(Failure::Plugin(error)) => {
            let error = limits::advise(error);
            output.error(&error);
            status(error.code())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_documented_status() {
        let statuses = ErrorCode::ALL.map(|code| format!("{code} {}", status(code))).join("\n");
        insta::assert_snapshot!(statuses, @r"
        not-found 3
        invalid-manifest 4
        invalid-config 4
        invalid-input 4
        denied 5
        resource-exhausted 6
        timeout 124
        cancelled 130
        plugin-failed 1
        crashed 7
        interrupted 7
        unavailable 7
        protocol 1
        internal 1
        ");
    }
}
