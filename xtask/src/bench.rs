//! `cargo xtask bench`: prepares, builds and runs the benchmark in `bench/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{cargo, run};
use crate::{environment, guests};

/// The packages of the environment for this project's own plugins.
const OURS: &[&str] = &["numpy==2.2.6"];

/// The peers: for each, the option of the benchmark that names its interpreter, and its packages.
const PEERS: &[(&str, &[&str])] = &[
    ("cjm", &["cjm-plugin-system==0.0.46", "numpy==2.2.6", "pocketsphinx==5.1.1"]),
    ("substrate", &["cjm-substrate==0.0.74", "numpy==2.2.6"]),
    ("fastapi", &["fastapi==0.165.0", "uvicorn[standard]==0.54.0", "httpx==0.28.1", "numpy==2.2.6"]),
];

/// Runs the benchmark with these options: see `bench/src/main.rs`.
pub(crate) fn run_bench(options: &[&str]) -> Result<()> {
    let root = crate::root();
    guests::run(guests::Options::default())?;
    guests::prepare_languages();
    guests::run(guests::Options { languages: true, ..guests::Options::default() })?;

    // If the user has chosen a target directory, in a subdirectory of it.
    let given = std::env::var_os("CARGO_TARGET_DIR").and_then(|dir| std::path::absolute(dir).ok());
    let target = given.as_ref().map_or_else(|| root.join("bench/target"), |dir| dir.join("bench"));
    let place = target.join("environments");
    std::fs::create_dir_all(&place)?;
    let mut prepared: Vec<(&str, PathBuf)> = Vec::new();
    match environment::find_python() {
        Ok(python) => {
            let make = |name: &str, packages| environment::make(&place.join(name), &python, packages);
            prepared.push(("python", make("ours", OURS).context("cannot make our plugins' environment")?));
            for (peer, packages) in PEERS {
                match make(peer, packages) {
                    Ok(python) => prepared.push((peer, python)),
                    Err(error) => eprintln!("bench: {peer} is left out: {error:#}"),
                }
            }
        }
        Err(error) => {
            eprintln!("bench: the Python peers are left out: {error:#}");
            let python = environment::make(&place.join("ours"), Path::new("python3"), OURS)?;
            prepared.push(("python", python));
        }
    }

    // Building the program takes minutes, so a quick run leaves it out.
    let program = if options.contains(&"--quick") {
        None
    } else {
        run(&mut cargo(&["build", "--release", "--package", "bivium-cli"]))?;
        Some(given.unwrap_or_else(|| root.join("target")).join("release/bivium"))
    };

    // Runs in the benchmark's own workspace, so that cargo reads its configuration.
    let mut build = cargo(&["build", "--release", "--locked", "--target-dir"]);
    run(build.arg(&target).current_dir(root.join("bench")))?;
    let mut bench = Command::new(target.join("release/bivium-bench"));
    for (option, python) in &prepared {
        bench.arg(format!("--{option}")).arg(python);
    }
    if let Some(program) = program {
        bench.arg("--program").arg(program);
    }
    bench.arg("--languages").arg(root.join("examples/plugins-other/target/guests"));
    run(bench.args(options))
}
