//! `bivium completions` and `bivium man`: scripts that complete command lines in a shell, and manual pages.

use std::path::Path;

use bivium::PluginError;
use clap::CommandFactory as _;

use crate::args::{Cli, Completions};
use crate::command_line;
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn completions(output: &Output, args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    // With the global options, which every command takes.
    clap_complete::generate(args.shell, &mut Cli::command(), "bivium", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())
}

pub(super) fn man(output: &Output, dir: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot write manual pages to {}: {error}", dir.display());
        Failure::from(match error.kind() {
            std::io::ErrorKind::NotFound => PluginError::not_found(message),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                PluginError::denied(message)
            }
            _ => PluginError::internal(message),
        })
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(command_line::without_help(), dir).map_err(failed)?;
    output.hint(&format!(
        "Wrote the manual pages to {}; `man -l {}/bivium.1` shows the first one.",
        dir.display(),
        dir.display()
    ));
    Ok(())
}
