//! The benchmark. It compares every case of ours with its floor (the least that the same work can cost) and with peers (what users would
//! choose instead), in turn, in one run on one machine. `cargo xtask bench` prepares what it needs and runs it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;

mod cases;
mod contest;
mod entry;
mod floor;
mod machine;
mod memory;
mod peers;
mod report;
mod site;
mod stats;
mod timing;

use cases::component::density;
use site::Site;

/// The options of `cargo xtask bench`, and what it has prepared.
#[derive(Debug, Parser)]
struct Arguments {
    /// Fewer and shorter rounds, to check that everything runs.
    #[arg(long)]
    quick: bool,
    /// Run only the cases whose names contain this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// The file for the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The interpreter of our Python plugins, which has numpy.
    #[arg(long, value_name = "FILE")]
    python: PathBuf,
    /// The interpreter of an environment with cjm-plugin-system.
    #[arg(long, value_name = "FILE")]
    cjm: Option<PathBuf>,
    /// The interpreter of an environment with cjm-substrate.
    #[arg(long, value_name = "FILE")]
    substrate: Option<PathBuf>,
    /// The interpreter of an environment with FastAPI, uvicorn and httpx.
    #[arg(long, value_name = "FILE")]
    fastapi: Option<PathBuf>,
    /// A directory with components in other languages, for the cases that use them.
    #[arg(long, value_name = "DIR")]
    languages: Option<PathBuf>,
    /// The program `bivium`, for the case that measures it.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match arguments.split_first() {
        Some((first, sample)) if first == density::SAMPLE => run_sample(sample),
        _ => run(Arguments::parse()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Takes one sample of a case whose samples need separate processes.
fn run_sample(arguments: &[OsString]) -> Result<()> {
    let arguments: Vec<String> = arguments.iter().map(|argument| argument.display().to_string()).collect();
    runtime()?.block_on(density::sample(&arguments))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn run(arguments: Arguments) -> Result<()> {
    let site = Site::new(&arguments)?;
    let results = runtime()?.block_on(cases::run(&site, arguments.only.as_deref()))?;
    report::print(&results.entries);
    if let Some(path) = &arguments.json {
        report::write(path, &site, &results)?;
        eprintln!("The results lie in {}.", path.display());
    }
    let failed: Vec<&str> = results.failures.iter().map(|failure| failure.case).collect();
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}
