//! One call after another to a running worker.

use std::sync::Arc;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, PluginInterface, PluginManager};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{CJM, ECHO, FASTAPI, Peers, SUBSTRATE, echo, fastapi};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::worker::{self, Bare, Connection, Worker};
use crate::peers::driver::Asked;
use crate::site::Site;
use crate::timing::{each, us};

pub const NAME: &str = "unary worker call";

const WARM_UP: usize = 50;
const CALLS: usize = 300;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (variant, size) in [("20 bytes", 20), ("64 KiB", 64 << 10)] {
        let manager = site.manager(&[echo(site)]).await?;
        let bare = Bare::new(site)?.worker(1)?;
        let measure = Measure::lower("time", variant, "µs")
            .goal(Against::Floor, 1.25)
            .goal(Against::Peer("cjm-substrate manager"), 0.1);
        let ours = |target| Ok(Caller { target, text: "x".repeat(size) });
        let floor = Floor { connection: bare.connect().await?, bare, body: worker::constant(0, size) };
        let (peers, fastapi) = (Peers::start(site).await, fastapi(site).await);
        let mut contest = Contest::new(NAME, vec![measure])
            .side(Role::Ours, ours(Target::Manager(manager.clone())))
            .side(Role::Floor, Ok(floor))
            .side(
                Role::Also("the plugin itself, past the manager".to_owned()),
                ours(Target::Plugin(manager.get(ECHO)?)),
            );
        for through in ["proxy", "manager"] {
            contest = peers.both(contest, &format!(" {through}"), |name| {
                // Fewer calls for slow sides, so that the others do not wait.
                let calls = if name == CJM { 5 } else { 50 };
                json!({"do": "execute", "through": through, "how": "sync", "size": size, "calls": calls})
            });
        }
        // The successor is faster in some of these ways.
        let request = json!({"do": "execute", "through": "proxy", "how": "async", "size": size, "calls": 50});
        contest = contest.side(Role::Also(format!("{SUBSTRATE} proxy, async")), Asked::new(&peers.substrate, request));
        for (how, name) in [("sync", FASTAPI.to_owned()), ("async", format!("{FASTAPI}, async"))] {
            let request = json!({"do": "execute", "how": how, "size": size, "calls": 100});
            contest = contest.side(Role::Peer(name), Asked::new(&fastapi, request));
        }
        drop((peers, fastapi));
        entries.extend(contest.run(site.rounds(30)).await?);
        manager.unload_all().await;
    }
    Ok(entries)
}

enum Target {
    Manager(PluginManager),
    Plugin(Arc<dyn PluginInterface>),
}

struct Caller {
    target: Target,
    text: String,
}

#[async_trait(?Send)]
impl Side for Caller {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let times = each(WARM_UP, CALLS, async || {
            let call = Call::new().named("text", self.text.as_str());
            let result = match &self.target {
                Target::Manager(manager) => manager.execute(ECHO, call).await?,
                Target::Plugin(plugin) => plugin.execute(call).await?,
            };
            ensure!(result.json.get("text").and_then(Value::as_str) == Some(&self.text), "another answer came");
            Ok(())
        });
        samples.entry("time".to_owned()).or_default().extend(times.await?.into_iter().map(us));
        Ok(())
    }
}

struct Floor {
    bare: Worker,
    connection: Connection,
    body: Bytes,
}

#[async_trait(?Send)]
impl Side for Floor {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let Self { connection, body, .. } = self;
        let times = each(WARM_UP, CALLS, async || connection.call("/execute", body).await.map(drop)).await?;
        samples.entry("time".to_owned()).or_default().extend(times.into_iter().map(us));
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.bare.end()
    }
}
