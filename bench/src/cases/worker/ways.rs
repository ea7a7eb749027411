//! One small call after another to a running worker, in each way in which a program can wait for a call, compared with a plain blocking
//! socket that sends the same bytes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, Payload, PluginManager, blocking};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::{ECHO, echo};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::raw::Raw;
use crate::floor::worker::{self, Bare, Worker};
use crate::site::Site;
use crate::timing::{each_blocking, us};

pub const NAME: &str = "worker call by each way";

const SIZE: usize = 20;
const WARM_UP: usize = 50;
const CALLS: usize = 300;

const ONE_THREAD: &str = "ours on one thread";

/// How the caller waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A runtime that runs on the caller's thread.
    OneThread,
    /// `block_on` of a multi-threaded runtime.
    BlockOn,
    /// A task of such a runtime.
    Spawned,
    /// The blocking manager.
    Blocking,
}

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (way, variant) in [
        (Way::OneThread, "a runtime on the caller's thread"),
        (Way::BlockOn, "block_on of a runtime with threads"),
        (Way::Blocking, "the blocking manager"),
        (Way::Spawned, "a task of a runtime with threads"),
    ] {
        let measure = Measure::lower("time", variant, "µs");
        let measure = match way {
            Way::OneThread => measure.goal(Against::Floor, 2.0),
            Way::BlockOn | Way::Blocking => measure.goal(Against::Peer(ONE_THREAD), 1.3),
            Way::Spawned => measure,
        };
        let mut contest = Contest::new(NAME, vec![measure])
            .side(Role::Ours, Caller::new(site, way))
            .side(Role::Floor, Floor::new(site));
        if way != Way::OneThread {
            contest = contest.side(Role::Peer(ONE_THREAD.to_owned()), Caller::new(site, Way::OneThread));
        }
        entries.extend(contest.run(site.rounds(30)).await?);
    }
    Ok(entries)
}

/// Runs it on a separate thread, outside of any runtime.
fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join()).map_err(|_| anyhow::anyhow!("the thread panicked"))?
}

enum Target {
    Async(Runtime, PluginManager),
    Blocking(blocking::PluginManager),
}

struct Caller {
    way: Way,
    target: Target,
    text: String,
}

impl Caller {
    fn new(site: &Site, way: Way) -> Result<Self> {
        let target = apart(|| {
            let builder = site.builder(&[echo(site)])?;
            let mut runtime = match way {
                Way::Blocking => {
                    let manager = blocking::PluginManager::build(builder)?;
                    manager.load(ECHO)?;
                    return Ok(Target::Blocking(manager));
                }
                Way::OneThread => Builder::new_current_thread(),
                Way::BlockOn | Way::Spawned => Builder::new_multi_thread(),
            };
            let runtime = runtime.enable_all().build()?;
            let manager = builder.build()?;
            runtime.block_on(manager.load(ECHO))?;
            Ok(Target::Async(runtime, manager))
        });
        Ok(Self { way, target: target?, text: "x".repeat(SIZE) })
    }

    fn times(&self) -> Result<Vec<Duration>> {
        let (way, text) = (self.way, &self.text);
        match &self.target {
            Target::Blocking(manager) => each_blocking(WARM_UP, CALLS, || {
                check(&manager.execute(ECHO, Call::new().named("text", text.as_str()))?, text)
            }),
            Target::Async(runtime, manager) => {
                let calls = timed(manager.clone(), text.clone());
                if way == Way::Spawned { runtime.block_on(runtime.spawn(calls))? } else { runtime.block_on(calls) }
            }
        }
    }
}

/// The time of each call. Does not use `each`, because the compiler does not accept an async closure in a task.
async fn timed(manager: PluginManager, text: String) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(WARM_UP + CALLS);
    for _ in 0..WARM_UP + CALLS {
        let begun = Instant::now();
        check(&manager.execute(ECHO, Call::new().named("text", text.as_str())).await?, &text)?;
        times.push(begun.elapsed());
    }
    Ok(times.split_off(WARM_UP))
}

fn check(result: &Payload, text: &str) -> Result<()> {
    ensure!(result.json.get("text").and_then(Value::as_str) == Some(text), "another answer came");
    Ok(())
}

#[async_trait(?Send)]
impl Side for Caller {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let times = apart(|| self.times())?;
        samples.entry("time".to_owned()).or_default().extend(times.into_iter().map(us));
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<()> {
        apart(|| match self.target {
            Target::Blocking(manager) => manager.unload(ECHO).map(drop).map_err(Into::into),
            Target::Async(runtime, manager) => {
                runtime.block_on(manager.unload(ECHO))?;
                Ok(())
            }
        })
    }
}

struct Floor {
    bare: Worker,
    raw: Raw,
}

impl Floor {
    fn new(site: &Site) -> Result<Self> {
        let bare = Bare::new(site)?.worker(1)?;
        let raw = Raw::connect(&bare, "/execute", &worker::constant(0, SIZE))?;
        Ok(Self { bare, raw })
    }
}

#[async_trait(?Send)]
impl Side for Floor {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let raw = &mut self.raw;
        let times = apart(|| each_blocking(WARM_UP, CALLS, || raw.call().map(drop)))?;
        samples.entry("time".to_owned()).or_default().extend(times.into_iter().map(us));
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<()> {
        drop(self.raw);
        self.bare.end()
    }
}
