//! Load on a trusted Python plugin, a confined one and two components, while processes are killed and stopped, and
//! directories of the exchange removed, at random: `cargo xtask soak`.
//!
//!     soak [--seconds N] [--kills N] [--seed N]
//!
//! What is checked: every call ends once, with its own result or a typed error, within its deadline and grace, and runs at
//! most once, however its stream is read. Afterwards no process of a plugin, no zombie and no file in the exchange is left.
//! `harms.rs` has the kinds of kills. To kill a whole host, it is started as a process of its own (`soak host DIRECTORY MARK`).

mod calls;
mod cleaner;
mod harms;
mod hosts;
mod report;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bivium::PluginManager;
use bivium::scheduler::PermissiveScheduler;
use bivium_tests::{processes, root};
use serde_json::json;
use tokio::sync::Mutex;

use calls::Ground;
use cleaner::Cleaner;
use harms::Harm;
use report::Tally;

const TRUSTED: &str = "trusted";
const CONFINED: &str = "confined";
const COMPONENT: &str = "component";
/// A component that reads and writes files.
const BLOBS: &str = "component-with-files";
/// The environment variable that marks the processes of one plugin.
const MARK: &str = "BIVIUM_SOAK_MARK";
const CALLERS: u64 = 8;
/// How long it may take until everything is gone.
const GONE: Duration = Duration::from_secs(10);

/// Random numbers, the same for the same seed (splitmix64).
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn roll(&self, below: u64) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }
}

struct Options {
    seconds: u64,
    kills: u64,
    seed: u64,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { seconds: 1200, kills: 500, seed: u64::from(std::process::id()) };
        for pair in arguments.chunks(2) {
            let [key, value] = pair else { bail!("{} needs a number", pair.join(" ")) };
            let value = value.parse().with_context(|| format!("{key} needs a number"))?;
            match key.as_str() {
                "--seconds" => options.seconds = value,
                "--kills" => options.kills = value,
                "--seed" => options.seed = value,
                _ => bail!("usage: soak [--seconds N] [--kills N] [--seed N]"),
            }
        }
        Ok(options)
    }
}

/// The entry in the environment of every process with this mark.
pub(crate) fn entry(mark: &str) -> String {
    format!("{MARK}={mark}")
}

/// A manager of the plugins, with their manifests and its exchange below `directory`.
pub(crate) async fn host(directory: &Path, mark: &str) -> Result<PluginManager> {
    let marks = directory.join("marks");
    std::fs::create_dir_all(&marks)?;
    // Plugins write elsewhere than to the directory of the manifests.
    let manifests = directory.join("manifests");
    // Beside the manifests: a confined worker may read nothing else.
    let source = manifests.join("source");
    std::fs::create_dir_all(&source)?;
    std::fs::copy(root().join("tests/plugins/soak/soak.py"), source.join("soak.py"))?;
    let trusted = json!({
        "name": TRUSTED, "version": "1.0.0", "module": "soak", "class": "Soak", "source": source,
        "replicas": 2, "concurrency": 2, "env_vars": {MARK: mark, "PYTHONDONTWRITEBYTECODE": "1"},
    });
    let mut confined = trusted.clone();
    confined["name"] = json!(CONFINED);
    confined["concurrency"] = json!(1);
    confined["permissions"] = json!({"filesystem": [{"path": marks, "guest": "/marks", "mode": "write"}]});
    let component = |name: &str, guest: &str| {
        let path = root().join("tests/guests/target/guests").join(format!("{guest}.wasm"));
        json!({"name": name, "version": "1.0.0", "component": path})
    };
    let (component, blobs) = (component(COMPONENT, "misbehave"), component(BLOBS, "twin"));
    for (name, manifest) in [(TRUSTED, trusted), (CONFINED, confined), (COMPONENT, component), (BLOBS, blobs)] {
        std::fs::write(manifests.join(format!("{name}.json")), manifest.to_string())?;
    }
    let exchange = directory.join("exchange");
    std::fs::create_dir_all(&exchange)?;
    let manager = PluginManager::builder()
        .manifests(&manifests)
        .data_dir(directory.join("data"))
        .scheduler(Arc::new(PermissiveScheduler))
        .exchange(bivium::Exchange::builder().root(&exchange).open()?)
        .build()?;
    for name in [TRUSTED, CONFINED] {
        manager.load_with(name, json!({"marks": marks.join(name)})).await?;
    }
    for name in [COMPONENT, BLOBS] {
        manager.load(name).await?;
    }
    Ok(manager)
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments: Result<Vec<String>, _> = std::env::args_os().skip(1).map(OsString::into_string).collect();
    let arguments = arguments.map_err(|_| anyhow::anyhow!("an argument is not UTF-8"))?;
    if let [command, directory, mark] = arguments.as_slice()
        && command == "host"
    {
        hosts::serve(Path::new(directory), mark).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse(&arguments)?;
    eprintln!("soak: {} kills in {} s, seed {}", options.kills, options.seconds, options.seed);
    let directory = tempfile::tempdir()?;
    let mark = format!("soak-{}", std::process::id());
    let tally = soak(directory.path(), &mark, &options).await?;
    processes::all_gone(&entry(&mark), GONE).await?;
    let left = processes::zombies();
    ensure!(left.is_empty(), "zombies are left: {left:?}");
    let exchange = directory.path().join("exchange");
    let files: Vec<_> = std::fs::read_dir(&exchange)?.flatten().map(|entry| entry.path()).collect();
    ensure!(files.is_empty(), "files are left: {files:?}");
    println!("{}", json!({"seconds": options.seconds, "seed": options.seed, "done": tally.json()}));
    eprint!("{} calls\n\n{}", tally.count(), tally.table());
    tally.is_complete()?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the load and the kills; returns what was done and how the calls ended.
async fn soak(directory: &Path, mark: &str, options: &Options) -> Result<Tally> {
    let manager = host(directory, mark).await?;
    let dice = Arc::new(Dice(AtomicU64::new(options.seed)));
    let ground = Ground { manager: manager.clone(), dice: dice.clone(), cleaner: Arc::new(Cleaner::default()) };
    let tally = Arc::new(Mutex::new(Tally::default()));
    let over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (ground, tally, over) = (ground.clone(), tally.clone(), over.clone());
            tokio::spawn(async move {
                let mut number = caller;
                while !over.load(Ordering::Relaxed) {
                    let ended = calls::one(&ground, number).await?;
                    tally.lock().await.ended(ended);
                    number += CALLERS;
                }
                anyhow::Ok(())
            })
        })
        .collect();

    let begun = Instant::now();
    for (number, harm) in Harm::all(options.kills, &dice).into_iter().enumerate() {
        let at = Duration::from_secs(options.seconds).mul_f64((number + 1) as f64 / (options.kills + 1) as f64);
        let jitter = Duration::from_millis(dice.roll(200));
        tokio::time::sleep((at + jitter).saturating_sub(begun.elapsed())).await;
        harm.inflict(&ground, mark, number).await?;
        tally.lock().await.done(harm);
        if callers.iter().any(tokio::task::JoinHandle::is_finished) {
            break;
        }
    }
    tokio::time::sleep(Duration::from_secs(options.seconds).saturating_sub(begun.elapsed())).await;
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await??;
    }
    // At the end everything must work again.
    calls::recovers(&manager).await?;
    for report in manager.unload_all().await {
        report.result?;
    }
    ensure!(manager.exchange().usage().blobs == 0, "blobs are left");
    for name in [TRUSTED, CONFINED] {
        calls::each_ran_once(&directory.join("marks").join(name))?;
    }
    Ok(Arc::try_unwrap(tally).map_err(|_| anyhow::anyhow!("a caller is left"))?.into_inner())
}
