//! The repository's own tasks, as `cargo xtask TASK`. This file only finds the task; each has a module.

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
mod soak;
mod test;

const USAGE: &str = "\
cargo xtask demo [audio@=FILE …]
    Turns speech into subtitles, over both roads.
cargo xtask test [--from-source]
    Does everything that the tests need (packages from PyPI among it), then runs them, and says at its end which were skipped
    and why. --from-source builds the components or fails.
cargo xtask test --cjm
    Runs published plugins of cjm-plugin-system in environments made for them (needs PyPI, Python 3.12, ffmpeg).
cargo xtask soak [--seconds N] [--kills N] [--seed N]
    Calls Python plugins and components while processes are killed and stopped, and directories of the exchange removed, at
    random: 500 times in 20 minutes unless told otherwise.
cargo xtask bench [--quick] [--only NAME] [--json FILE]
    Measures every case beside its floor and its peers, which it installs (PyPI, npm), and says which goals are met.
cargo xtask book
    Makes the book of docs/, by mdbook, which it installs the first time.
cargo xtask packages
    Packages the crates as for crates.io, and checks what is in the packages.
cargo xtask guests [--from-source] [--update-prebuilt]
    Puts the example components where their manifests expect them: built, or else the prebuilt copies.
cargo xtask guests --languages
    Builds the components of examples/plugins-other, as far as the tools of their languages are there.
cargo xtask fuzz [TARGET [FILE]] [--seconds N] [--built-in | --python]
    Runs the fuzz targets, 60 seconds each, by libFuzzer where cargo-fuzz and a nightly toolchain are installed.
    With --python those of the Python worker, by atheris, which is installed in an environment of its own.";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let Some(arguments) = arguments.iter().map(|argument| argument.to_str()).collect::<Option<Vec<&str>>>() else {
        eprintln!("error: an argument is not UTF-8");
        return ExitCode::from(2);
    };
    let done = match arguments.as_slice() {
        ["demo", inputs @ ..] => Some(demo::run_demo(inputs)),
        ["test"] => Some(test::run_tests(false)),
        ["test", "--from-source"] => Some(test::run_tests(true)),
        ["soak", options @ ..] => Some(soak::run_soak(options)),
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

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}
