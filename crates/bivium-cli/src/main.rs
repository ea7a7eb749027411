//! The `bivium` program: what a person, a script or a shell pipeline does with plugins, over the library of the
//! same name. Results go to standard output as JSON, everything else to standard error, and the exit status says
//! how it ended (`exit`).
//!
//! It decides nothing about plugins itself: every command is a few calls of the library and a way to show what
//! came back.

mod args;
mod arguments;
mod commands;
mod exit;
mod host;
mod interrupt;
mod output;
mod secrets;
mod settings;

use std::process::ExitCode;
use std::time::Duration;

use args::{Cli, Command};
use clap::Parser as _;
use output::{Output, start_logging};
use secrets::Secrets;
use tokio::runtime::Builder;

/// How long work that was left behind may take to notice before the program ends without it.
const LEFT_BEHIND: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    // First of all: it may start the program again, without them.
    let secrets = Secrets::take();
    let mut cli = Cli::parse();
    if matches!(cli.command, Command::Compiler) {
        return bivium::compiler_main();
    }
    let output = Output::new(&cli.global);
    match secrets {
        Ok(secrets) => cli.global.secrets = secrets,
        Err(error) => return exit::end(Err(error.into()), &output),
    }
    start_logging(&cli.global, output.screen());
    let runtime = match Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = bivium::PluginError::internal(format!("cannot start a runtime: {error}"));
            return exit::end(Err(error.into()), &output);
        }
    };
    let result = runtime.block_on(async {
        interrupt::heed_children();
        commands::run(cli, &output).await
    });
    runtime.shutdown_timeout(LEFT_BEHIND);
    exit::end(result, &output)
}
