//! Runs one target without libFuzzer: first its corpus, then random changes of it for some time.
//!
//! `bivium-fuzz TARGET [--seconds N] [--seed N]`, in this directory. An input that fails is stored in `artifacts/TARGET/`;
//! `bivium-fuzz TARGET FILE` runs only this file.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bivium_fuzz::mutate::{Random, mutated};
use bivium_fuzz::{TARGETS, Target};

/// The longest time for one input.
const SLOW: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Result<Vec<String>, _> = std::env::args_os().skip(1).map(OsString::into_string).collect();
    let done = arguments.map_err(|_| "an argument is not UTF-8".to_owned()).and_then(|arguments| run(&arguments));
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, String> {
    let mut arguments = arguments.iter().map(String::as_str);
    let name = arguments.next().ok_or("usage: bivium-fuzz TARGET [FILE | --seconds N] [--seed N]")?;
    let target = TARGETS.iter().find(|target| target.name == name).ok_or_else(|| {
        let known: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        format!("there is no target {name:?}: there are {}", known.join(", "))
    })?;
    let (mut seconds, mut seed) = (10, 1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().unwrap_or_default();
            text.parse::<u64>().map_err(|_| format!("{argument} takes a number, not {text:?}"))
        };
        match argument {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            file => {
                let input = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
                attempt(target, &input)?;
                return Ok(format!("{name}: {file} does no harm"));
            }
        }
    }
    let corpus = corpus(target)?;
    for input in &corpus {
        attempt(target, input)?;
    }
    let (mut random, start, mut tried) = (Random(seed), Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        attempt(target, &mutated(&corpus, &mut random))?;
        tried += 1;
    }
    Ok(format!("{name}: {} of the corpus and {tried} made at random in {seconds} s (seed {seed})", corpus.len()))
}

fn corpus(target: &Target) -> Result<Vec<Vec<u8>>, String> {
    let dir = PathBuf::from("corpus").join(target.name);
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut files: Vec<PathBuf> =
        fs::read_dir(&dir).map_err(failed)?.map(|entry| Ok(entry?.path())).collect::<Result<_, _>>().map_err(failed)?;
    // Sorted, so that the order is the same on every machine.
    files.sort();
    files.extend(target.more.iter().map(PathBuf::from));
    files.iter().map(|file| fs::read(file).map_err(|error| format!("{}: {error}", file.display()))).collect()
}

/// Runs one input, and stores it if it fails.
fn attempt(target: &Target, input: &[u8]) -> Result<(), String> {
    let start = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let what = match (ended, start.elapsed()) {
        (Ok(()), took) if took <= SLOW => return Ok(()),
        (Ok(()), took) => format!("took {} s", took.as_secs()),
        (Err(_), _) => "panicked".to_owned(),
    };
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let file = Path::new("artifacts").join(target.name).join(format!("crash-{:016x}", hasher.finish()));
    let kept = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, input));
    kept.map_err(|error| format!("{}: {error}", file.display()))?;
    Err(format!("{} {what}; try it again with: cargo xtask fuzz {0} fuzz/{}", target.name, file.display()))
}
