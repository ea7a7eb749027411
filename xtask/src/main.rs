//! Tasks for this repository, as `cargo xtask TASK`. Each task has a module; this file only selects it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod bench;
mod book;
mod cjm;
mod command;
mod demo;
mod environment;
mod fuzz;
mod guests;
mod packages;
mod simulate;
mod soak;
mod test;

const USAGE: &str = "\
cargo xtask demo [audio@=FILE …]
    Makes subtitles from speech, with plugins of both runtimes.
cargo xtask test [--from-source]
    Prepares everything that the tests need (packages from PyPI, for example), runs the tests, and lists those that were skipped,
    with the reasons. With --from-source, components are built from source, or the task fails.
cargo xtask test --cjm
    Tests published plugins of cjm-plugin-system in environments that it makes (needs PyPI, Python 3.12 and ffmpeg).
cargo xtask soak [--seconds N] [--kills N] [--seed N]
    Calls Python plugins and components while it kills and stops processes and removes directories of the exchange at random:
    by default 500 times in 20 minutes.
cargo xtask simulate [MACHINES]
    Simulates the scheduler on this many machines with GPUs (3000 by default), and reports how long instances waited for their GPUs.
cargo xtask bench [--quick] [--only NAME] [--json FILE]
    Measures every case, its floor and its peers, and reports which goals are met. Installs the peers (PyPI, npm).
cargo xtask book
    Makes the book of docs/ with mdbook, which it installs the first time.
cargo xtask packages
    Makes the packages for crates.io and checks what they contain.
cargo xtask guests [--from-source] [--update-prebuilt]
    Puts the example components where their manifests expect them: built from source, or else the prebuilt copies.
cargo xtask guests --languages
    Builds the components of examples/plugins-other for which the language's tools are installed.
cargo xtask fuzz [TARGET [FILE]] [--seconds N] [--built-in | --python]
    Runs the fuzz targets for 60 seconds each, with libFuzzer if cargo-fuzz and a nightly toolchain are installed.
    With --python, runs those of the Python worker with atheris, which it installs in its own environment.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(arguments) = arguments.iter().map(|argument| argument.to_str()).collect::<Option<Vec<&str>>>() else {
        eprintln!("error: an argument is not UTF-8");
        return ExitCode::from(2);
    };
    if arguments.iter().any(|argument| ["--help", "-h", "help"].contains(argument)) {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let done = match arguments.as_slice() {
        ["demo", inputs @ ..] if !inputs.iter().any(|input| input.starts_with('-')) => Some(demo::run_demo(inputs)),
        ["test"] => Some(test::run_tests(false)),
        ["test", "--from-source"] => Some(test::run_tests(true)),
        ["soak", options @ ..] => Some(soak::run_soak(options)),
        ["simulate"] => Some(simulate::run_simulation("3000")),
        ["simulate", machines] => Some(simulate::run_simulation(machines)),
        ["bench", options @ ..] => Some(bench::run_bench(options)),
        ["book"] => Some(book::make()),
        ["packages"] => Some(packages::check()),
        ["fuzz", options @ ..] => fuzz::Options::parse(options).map(|options| fuzz::run_targets(&options)),
        ["test", "--cjm"] => Some(cjm::run_tests()),
        ["guests", options @ ..] => guests::Options::parse(options).map(guests::run),
        _ => None,
    };
    match done {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The repository's root.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The directory of cargo's build output.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}
