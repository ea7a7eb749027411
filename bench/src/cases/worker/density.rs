//! The memory of a worker that has run a call and waits for the next: of all its processes, including the guard. A page that several
//! processes share is counted in equal parts.
//!
//! There are ten of each at once, so that memory which all interpreters share counts little, as on a machine with many workers.

use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::Call;
use serde_json::{Value, json};

use super::{CJM, ECHO, SUBSTRATE, echo};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::worker::{self, Bare};
use crate::memory::{Memory, of_tree, parent};
use crate::peers::driver::Driver;
use crate::site::Site;

pub const NAME: &str = "density";

const WORKERS: usize = 10;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let manifests: Vec<Value> = (0..WORKERS)
        .map(|n| {
            let mut manifest = echo(site);
            manifest["name"] = json!(format!("{ECHO}-{n}"));
            manifest
        })
        .collect();
    let manager = site.manager(&manifests).await?;
    let bare = Bare::new(site)?;
    let interpreters: Vec<Child> = (0..WORKERS).map(|_| bare.nothing()).collect::<Result<_>>()?;
    let alone: Vec<u32> = interpreters.iter().map(Child::id).collect();
    let mut guards = Vec::new();
    for n in 0..WORKERS {
        let name = format!("{ECHO}-{n}");
        manager.execute(&name, Call::new().named("text", "x")).await?;
        guards.extend(manager.stats(&name).await?.pids().first().copied().map(parent).transpose()?);
    }
    ensure!(guards.len() == WORKERS, "not all workers run");
    let measures = vec![
        Measure::lower("memory", "worker, idle", "MiB"),
        Measure::lower("private", "worker, idle, private", "MiB"),
        Measure::lower("over", "worker, idle, over a bare interpreter", "MiB").goal(Against::Value, 12.0),
    ];
    let contest = Contest::new(NAME, measures)
        .side(Role::Ours, Ok(Trees { roots: guards, alone: alone.clone() }))
        .side(Role::Floor, Ok(Interpreters(interpreters)))
        .side(Role::Peer(CJM.to_owned()), Peer::start(site, site.cjm.as_ref(), alone.clone()).await)
        .side(Role::Peer(SUBSTRATE.to_owned()), Peer::start(site, site.substrate.as_ref(), alone).await);
    let entries = contest.run(site.rounds(5)).await?;
    manager.unload_all().await;
    Ok(entries)
}

/// Adds the memory of each process tree, and its difference to an interpreter that has done nothing.
fn enter(samples: &mut Samples, roots: &[u32], alone: &[u32]) -> Result<()> {
    let mut bare = 0.0;
    for pid in alone {
        bare += of_tree(*pid)?.share / alone.len() as f64;
    }
    for root in roots {
        let memory = enter_tree(samples, *root)?;
        samples.entry("over".to_owned()).or_default().push(memory.share - bare);
    }
    Ok(())
}

fn enter_tree(samples: &mut Samples, root: u32) -> Result<Memory> {
    let memory = of_tree(root)?;
    samples.entry("memory".to_owned()).or_default().push(memory.share);
    samples.entry("private".to_owned()).or_default().push(memory.private);
    Ok(memory)
}

struct Trees {
    roots: Vec<u32>,
    alone: Vec<u32>,
}

#[async_trait(?Send)]
impl Side for Trees {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        enter(samples, &self.roots, &self.alone)
    }
}

struct Interpreters(Vec<Child>);

#[async_trait(?Send)]
impl Side for Interpreters {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        for child in &self.0 {
            enter_tree(samples, child.id())?;
        }
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.0.into_iter().try_for_each(worker::end)
    }
}

struct Peer {
    driver: Driver,
    trees: Trees,
}

impl Peer {
    async fn start(site: &Site, python: Option<&PathBuf>, alone: Vec<u32>) -> Result<Self> {
        let directory: &Path = &site.directory()?;
        let mut driver = Driver::start(python, "cjm_driver.py", directory)?;
        let workers = driver.ask(&json!({"do": "workers", "count": WORKERS})).await?;
        let roots = workers.values().flatten().map(|pid| *pid as u32).collect();
        Ok(Self { driver, trees: Trees { roots, alone } })
    }
}

#[async_trait(?Send)]
impl Side for Peer {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        self.trees.round(samples).await
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.driver.end().await
    }
}
