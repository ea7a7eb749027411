//! `cargo xtask fuzz`: runs the fuzz targets in `fuzz/`. It uses libFuzzer if cargo-fuzz and a nightly toolchain are installed. Otherwise
//! it uses the built-in runner, which runs the committed corpus and then random changes of it. With `--python` it runs the targets
//! in `fuzz/python/` with atheris.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, run};
use crate::environment;

const CORPUS: &str = "fuzz/corpus";
const PYTHON_CORPUS: &str = "fuzz/python/corpus";

/// The fuzzer of Python code.
const ATHERIS: &str = "atheris==3.0.0";

/// The message when the built-in runner is used instead of libFuzzer.
const NO_LIBFUZZER: &str = "libFuzzer, which knows the code that an input reaches, is not used: it needs a nightly \
toolchain and cargo-fuzz (`rustup toolchain install nightly --profile minimal && cargo install cargo-fuzz`)";

/// The options of the task.
#[derive(Debug, PartialEq)]
pub(crate) struct Options<'a> {
    /// The target; `None` for all targets.
    target: Option<&'a str>,
    /// Only this input file, relative to the repository's root.
    file: Option<&'a str>,
    /// Seconds for each target.
    seconds: u32,
    /// Do not use libFuzzer, even if it is installed.
    built_in: bool,
    /// Run the targets of the Python worker.
    python: bool,
}

impl<'a> Options<'a> {
    /// `None` if the arguments are wrong.
    pub(crate) fn parse(arguments: &[&'a str]) -> Option<Self> {
        let mut options = Self { target: None, file: None, seconds: 60, built_in: false, python: false };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "--seconds" => options.seconds = arguments.next()?.parse().ok()?,
                "--built-in" => options.built_in = true,
                "--python" => options.python = true,
                option if option.starts_with('-') => return None,
                target if options.target.is_none() => options.target = Some(target),
                file if options.file.is_none() => options.file = Some(file),
                _ => return None,
            }
        }
        // The Python targets have no other runner.
        (!(options.python && options.built_in)).then_some(options)
    }
}

pub(crate) fn run_targets(options: &Options<'_>) -> Result<()> {
    let all = targets(if options.python { PYTHON_CORPUS } else { CORPUS })?;
    let chosen = match options.target {
        Some(target) if all.iter().any(|known| known == target) => vec![target.to_owned()],
        Some(target) => bail!("there is no fuzz target {target:?}: there are {}", all.join(", ")),
        None => all,
    };
    if options.python {
        return python(&chosen, options);
    }
    lock()?;
    let by_libfuzzer = !options.built_in && options.file.is_none() && has_libfuzzer();
    if !by_libfuzzer && !options.built_in && options.file.is_none() {
        eprintln!("fuzz: {NO_LIBFUZZER}");
    }
    for target in &chosen {
        eprintln!("fuzz: {target}, by {}", if by_libfuzzer { "libFuzzer" } else { "the built-in runner" });
        if by_libfuzzer {
            libfuzzer(target, options.seconds)?;
        } else {
            built_in(target, options)?;
        }
    }
    Ok(())
}

/// The names of the targets. Each target has a directory in the corpus.
fn targets(corpus: &str) -> Result<Vec<String>> {
    let dir = crate::root().join(corpus);
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Runs targets of the Python worker in an environment with atheris, which is made once.
fn python(targets: &[String], options: &Options<'_>) -> Result<()> {
    let root = crate::root();
    let interpreter = environment::make(&root.join("target/fuzz-python"), &environment::find_python()?, &[ATHERIS])?;
    for target in targets {
        eprintln!("fuzz: {target} of the Python worker, by atheris");
        let mut command = Command::new(&interpreter);
        command.arg(root.join("fuzz/python/fuzz.py")).arg(target);
        match options.file {
            Some(file) => command.arg(root.join(file)),
            None => command
                .arg("--found")
                .arg(root.join("target/fuzz-corpus").join(format!("python-{target}")))
                .arg(format!("--seconds={}", options.seconds)),
        };
        run(&mut command)?;
    }
    Ok(())
}

/// Copies the repository's Cargo.lock for the targets, so that they test the versions that are shipped and nothing is built twice. Cargo
/// adds packages that only the targets need.
fn lock() -> Result<()> {
    let (own, copy) = (crate::root().join("Cargo.lock"), crate::root().join("fuzz/Cargo.lock"));
    let changed = |path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let is_newer = match (changed(&own), changed(&copy)) {
        (Ok(own), Ok(copy)) => own > copy,
        _ => true,
    };
    if is_newer {
        fs::copy(&own, &copy).with_context(|| format!("cannot copy {}", own.display()))?;
    }
    Ok(())
}

fn has_libfuzzer() -> bool {
    let mut command = nightly();
    command.args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The cargo of the nightly toolchain, found by rustup.
fn nightly() -> Command {
    let mut command = Command::new("cargo");
    // These variables of the current toolchain would take precedence over the nightly toolchain.
    command.arg("+nightly").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").current_dir(crate::root());
    command
}

fn libfuzzer(target: &str, seconds: u32) -> Result<()> {
    // New inputs that it finds are stored in the target directory, not in the committed corpus.
    let found = crate::root().join("target/fuzz-corpus").join(target);
    fs::create_dir_all(&found)?;
    let mut command = nightly();
    command.args(["fuzz", "run", "--features", "libfuzzer", target]);
    command.arg(found).arg(format!("fuzz/corpus/{target}"));
    command.args(["--", &format!("-max_total_time={seconds}"), "-timeout=20", "-rss_limit_mb=4096"]);
    if target == "component" {
        // Its threads start and end: data of the C library for a thread that is just ending would be reported as a leak.
        command.arg("-detect_leaks=0");
    }
    run(&mut command)
}

fn built_in(target: &str, options: &Options<'_>) -> Result<()> {
    let root = crate::root();
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    // The workspace's own target directory, so that the engine is not built twice.
    let mut command = cargo(&["run", "--quiet", "--bin", "bivium-fuzz", "--", target]);
    command.current_dir(root.join("fuzz")).env("CARGO_TARGET_DIR", built);
    match options.file {
        Some(file) => command.arg(root.join(file)),
        None => command.arg("--seconds").arg(options.seconds.to_string()),
    };
    run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_or_refused() {
        let parse = |arguments: &[&'static str]| Options::parse(arguments);
        let all = parse(&[]).unwrap();
        assert_eq!((all.target, all.seconds, all.built_in), (None, 60, false));
        let one = parse(&["value", "--seconds", "5", "--built-in"]).unwrap();
        assert_eq!((one.target, one.seconds, one.built_in), (Some("value"), 5, true));
        assert_eq!(parse(&["value", "fuzz/artifacts/x"]).unwrap().file, Some("fuzz/artifacts/x"));
        assert!(parse(&["--python", "http"]).unwrap().python);
        let wrongs: [&[&str]; 5] =
            [&["--seconds"], &["--seconds", "x"], &["--fast"], &["a", "b", "c"], &["--python", "--built-in"]];
        for wrong in wrongs {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_target_has_a_corpus_and_a_program_for_libfuzzer() {
        assert_eq!(targets(PYTHON_CORPUS).unwrap(), ["http", "json"]);
        let targets = targets(CORPUS).unwrap();
        assert_eq!(targets, ["component", "manifest", "value", "wire"]);
        for target in targets {
            assert!(crate::root().join(format!("fuzz/fuzz_targets/{target}.rs")).is_file(), "{target}");
            let corpus = fs::read_dir(crate::root().join("fuzz/corpus").join(&target)).unwrap();
            assert!(corpus.count() >= 5, "{target}");
        }
    }
}
