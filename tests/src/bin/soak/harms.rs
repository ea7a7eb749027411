//! The harms that are done to a running host.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bivium::PluginManager;
use bivium_tests::processes;

use crate::calls::Ground;
use crate::cleaner::Part;
use crate::{CONFINED, Dice, TRUSTED, entry, hosts};

/// How long to look for a process or a directory to harm.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    KillWorker(&'static str),
    /// It is not noticed that the worker is stopped: its calls end at their deadlines.
    StopWorker(&'static str),
    KillGuard(&'static str),
    /// A stopped guard is noticed when its worker ends: here the worker is killed,
    StopGuardKillWorker(&'static str),
    /// here it ends for any other reason, such as a deadline.
    StopGuard(&'static str),
    KillAny,
    KillHost,
    Remove(Part),
}

/// The harms in each round of 25, in random order.
const ROUND: [Harm; 25] = [
    Harm::KillWorker(TRUSTED),
    Harm::KillWorker(TRUSTED),
    Harm::KillWorker(TRUSTED),
    Harm::KillWorker(CONFINED),
    Harm::KillWorker(CONFINED),
    Harm::StopWorker(TRUSTED),
    Harm::StopWorker(CONFINED),
    Harm::KillGuard(TRUSTED),
    Harm::KillGuard(TRUSTED),
    Harm::KillGuard(CONFINED),
    Harm::StopGuardKillWorker(TRUSTED),
    Harm::StopGuardKillWorker(CONFINED),
    Harm::StopGuard(TRUSTED),
    Harm::StopGuard(TRUSTED),
    Harm::StopGuard(CONFINED),
    Harm::KillAny,
    Harm::KillAny,
    Harm::KillAny,
    Harm::KillHost,
    Harm::KillHost,
    Harm::Remove(Part::Session),
    Harm::Remove(Part::Areas),
    Harm::Remove(Part::Blobs),
    Harm::Remove(Part::OneArea),
    Harm::Remove(Part::OneBlob),
];

impl Harm {
    /// This many harms, in full rounds except for the last.
    pub(crate) fn all(count: u64, dice: &Dice) -> Vec<Self> {
        let mut harms = Vec::new();
        while (harms.len() as u64) < count {
            let mut round = ROUND.to_vec();
            while !round.is_empty() {
                harms.push(round.swap_remove(dice.roll(round.len() as u64) as usize));
            }
        }
        harms.truncate(count as usize);
        harms
    }

    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillWorker(_) => "a worker, killed",
            Self::StopWorker(_) => "a worker, stopped",
            Self::KillGuard(_) => "a guard, killed",
            Self::StopGuardKillWorker(_) => "a guard, stopped, and its worker killed",
            Self::StopGuard(_) => "a guard, stopped",
            Self::KillAny => "any process, killed",
            Self::KillHost => "a whole host, killed",
            Self::Remove(Part::Session) => "the exchange's directory, removed",
            Self::Remove(Part::Areas) => "the directory of all areas, removed",
            Self::Remove(Part::Blobs) => "the directory of all blobs, removed",
            Self::Remove(Part::OneArea) => "the directory of one worker, removed",
            Self::Remove(Part::OneBlob) => "one blob, removed",
        }
    }

    /// The plugin whose processes are harmed; empty if it can be any plugin.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Self::KillWorker(plugin)
            | Self::StopWorker(plugin)
            | Self::KillGuard(plugin)
            | Self::StopGuardKillWorker(plugin)
            | Self::StopGuard(plugin) => plugin,
            Self::KillAny | Self::KillHost | Self::Remove(_) => "",
        }
    }

    /// Does the harm, as soon as there is something to harm.
    pub(crate) async fn inflict(self, ground: &Ground, mark: &str, number: usize) -> Result<()> {
        if self == Self::KillHost {
            return hosts::kill_one(&format!("{mark}-host-{number}"), &ground.dice).await;
        }
        let until = Instant::now() + PATIENCE;
        while !self.attempt(ground, mark).await? {
            if Instant::now() > until {
                bail!("there was nothing for {} s to which this harm could be done: {self:?}", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// False if there is nothing to harm.
    async fn attempt(self, Ground { manager, dice, cleaner }: &Ground, mark: &str) -> Result<bool> {
        let pick = |pids: &[u32]| pids.get(dice.roll(pids.len() as u64) as usize).copied();
        // A worker whose guard has just ended has another parent, which is not a guard.
        let is_marked = |pid: &u32| *pid != std::process::id() && processes::with(&entry(mark)).contains(pid);
        let worker = pick(&workers(manager, self.plugin()).await?).filter(is_marked);
        let guard = worker.and_then(processes::parent).filter(is_marked);
        Ok(match self {
            Self::KillWorker(_) => worker.is_some_and(processes::kill),
            Self::StopWorker(_) => worker.is_some_and(processes::stop),
            Self::KillGuard(_) => guard.is_some_and(processes::kill),
            Self::StopGuard(_) => guard.is_some_and(processes::stop),
            Self::StopGuardKillWorker(_) => guard.is_some_and(processes::stop) && worker.is_some_and(processes::kill),
            Self::KillAny => pick(&processes::with(&entry(mark))).is_some_and(processes::kill),
            Self::Remove(part) => cleaner.remove(manager, part, dice),
            Self::KillHost => true,
        })
    }
}

async fn workers(manager: &PluginManager, plugin: &str) -> Result<Vec<u32>> {
    if plugin.is_empty() {
        return Ok(Vec::new());
    }
    let stats = manager.stats(plugin).await?;
    Ok(stats.instances.iter().filter_map(|worker| u32::try_from(worker.id).ok()).collect())
}
