//! The `bivium` program: a command line for people and scripts, over the library of the same name. Results go to standard output as
//! JSON, everything else goes to standard error, and the exit status says how the run ended (`exit`).
//!
//! It decides nothing about plugins itself: every command is a few calls of the library, and code that shows the results.

mod advice;
mod args;
mod arguments;
mod assignment;
mod command_line;
mod commands;
mod exit;
mod failure;
mod host;
mod interrupt;
mod limits;
mod output;
mod property;
mod secrets;
mod settings;
mod wanted;

use std::process::ExitCode;
use std::time::Duration;

use output::{Output, start_logging};
use secrets::Secrets;
use tokio::runtime::Builder;

/// How long the program waits at its end for background work to stop.
const BACKGROUND_WORK: Duration = Duration::from_millis(200);

/// The status of a Rust program that has panicked.
const PANICKED: u8 = 101;

fn main() -> ExitCode {
    // Before anything else, because it may start the program again without the secrets in its environment.
    let secrets = Secrets::take();
    let program = std::thread::Builder::new().name("bivium".to_owned()).stack_size(limits::STACK);
    match program.spawn(move || run(secrets)) {
        // The panic has already printed its message.
        Ok(program) => program.join().unwrap_or(ExitCode::from(PANICKED)),
        Err(error) => {
            eprintln!("bivium: {}", limits::no_threads(&error));
            ExitCode::from(exit::status(bivium::ErrorCode::ResourceExhausted))
        }
    }
}

fn run(secrets: bivium::Result<Secrets>) -> ExitCode {
    // Internal: compiles one component for a host, which describes it on standard input.
    if std::env::args_os().nth(1).is_some_and(|command| command == host::COMPILER) {
        return bivium::compiler_main();
    }
    let mut cli = command_line::read();
    let output = Output::new(&cli.global);
    match secrets {
        Ok(secrets) => cli.global.secrets = secrets,
        Err(error) => return exit::end(Err(error.into()), &output),
    }
    start_logging(&cli.global, output.screen());
    let started = limits::check().and_then(|()| {
        let runtime = Builder::new_multi_thread().enable_all().build();
        runtime.map_err(|error| bivium::PluginError::internal(format!("cannot start a runtime: {error}")))
    });
    let runtime = match started {
        Ok(runtime) => runtime,
        Err(error) => return exit::end(Err(error.into()), &output),
    };
    let result = runtime.block_on(async {
        interrupt::keep_child_status();
        let _signals = interrupt::catch_size_signal();
        commands::run(cli, &output).await
    });
    runtime.shutdown_timeout(BACKGROUND_WORK);
    exit::end(result, &output)
}
