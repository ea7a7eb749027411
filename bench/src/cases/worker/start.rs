//! The time from nothing to a worker that is ready for calls.

use std::time::Instant;

use anyhow::Result;
use async_trait::async_trait;
use bivium::PluginManager;
use serde_json::json;

use super::{ECHO, Peers, echo};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::worker::{self, Bare};
use crate::site::Site;
use crate::timing::ms;

pub const NAME: &str = "worker start to ready";

const STARTS: usize = 3;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let manager = site.manager(&[echo(site)]).await?;
    // A host inspects an interpreter only once, so a first start is not measured.
    manager.unload(ECHO).await?;
    let bare = Bare::new(site)?;
    let measure = Measure::lower("time", "manager's load", "ms").goal(Against::Floor, 1.3);
    let peers = Peers::start(site).await;
    let mut contest = Contest::new(NAME, vec![measure])
        .side(Role::Ours, Ok(Starter::Manager(manager)))
        .side(Role::Floor, Ok(Starter::Server(bare.clone())))
        .side(Role::Also("our worker without a host".to_owned()), Ok(Starter::Worker(bare.clone())))
        .side(Role::Also("the interpreter alone".to_owned()), Ok(Starter::Nothing(bare)));
    for through in ["proxy", "manager"] {
        contest = peers.both(contest, &format!(" {through}"), |_| json!({"do": "start", "through": through}));
    }
    drop(peers);
    let mut entries = contest.run(site.rounds(20)).await?;
    entries.extend(confined(site).await?);
    Ok(entries)
}

/// Starting a confined worker forks the host, which takes longer the more memory the host uses.
async fn confined(site: &Site) -> Result<Vec<Entry>> {
    let mut held = echo(site);
    held["permissions"] = json!({"filesystem": [{"path": site.repository("bench/python"), "guest": "/plugin"}]});
    let starter = async |manifest| -> Result<Starter> {
        let manager = site.manager(&[manifest]).await?;
        manager.unload(ECHO).await?;
        Ok(Starter::Manager(manager))
    };
    let (ours, floor) = (starter(held).await, starter(echo(site)).await);
    let in_use = std::hint::black_box(vec![1_u8; 1 << 30]);
    let variant = "confined, in a host that uses 1 GiB; floor: not confined";
    let measure = Measure::lower("time", variant, "ms").goal(Against::Floor, 1.5);
    let contest = Contest::new(NAME, vec![measure]).side(Role::Ours, ours).side(Role::Floor, floor);
    let entries = contest.run(site.rounds(10)).await;
    drop(in_use);
    entries
}

enum Starter {
    Manager(PluginManager),
    Server(Bare),
    Worker(Bare),
    Nothing(Bare),
}

#[async_trait(?Send)]
impl Side for Starter {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let times = samples.entry("time".to_owned()).or_default();
        for _ in 0..STARTS {
            let begun = Instant::now();
            let mut note = || times.push(ms(begun.elapsed()));
            match self {
                Self::Manager(manager) => {
                    manager.load(ECHO).await?;
                    note();
                    manager.unload(ECHO).await?;
                }
                Self::Server(bare) => {
                    let child = bare.server()?;
                    note();
                    worker::end(child)?;
                }
                Self::Worker(bare) => {
                    let worker = bare.worker(1)?;
                    note();
                    worker.end()?;
                }
                Self::Nothing(bare) => {
                    let child = bare.nothing()?;
                    note();
                    worker::end(child)?;
                }
            }
        }
        Ok(())
    }
}
