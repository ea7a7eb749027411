//! `cargo xtask demo`: makes subtitles from speech, with plugins of both runtimes.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, run};
use crate::guests;

/// Builds the program and the components, and runs the sample pipeline with these arguments, for example `audio@=my.wav`.
pub(crate) fn run_demo(arguments: &[&str]) -> Result<()> {
    let root = crate::root();
    guests::run(guests::Options::default())?;
    run(&mut cargo(&["build", "--package", "bivium-cli"]))?;
    let pipeline = Path::new("examples/pipelines/transcribe");
    let out = pipeline.join("out");
    let mut bivium = Command::new(program());
    bivium.current_dir(root).arg("--manifests").arg("examples/plugins");
    bivium.args(["pipeline", "run"]).arg(pipeline.join("pipeline.json"));
    bivium.arg("--out").arg(&out).arg("--force").args(arguments);
    run(&mut bivium)?;
    eprintln!("The subtitles are in {}/srt.srt and {}/vtt.vtt.", out.display(), out.display());
    Ok(())
}

/// The program that cargo built.
fn program() -> std::path::PathBuf {
    crate::target().join("debug").join(format!("bivium{}", std::env::consts::EXE_SUFFIX))
}
