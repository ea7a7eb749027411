//! One call after another to a loaded component.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use bivium::{Call, PluginInterface, PluginManager};
use serde_json::{Value, json};

use super::check;
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::component::{Bare, Instance, SyncInstance};
use crate::peers::extism;
use crate::site::Site;
use crate::timing::{each, us};

pub const NAME: &str = "warm component call";

const WARM_UP: usize = 50;
const CALLS: usize = 500;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let manager = site.manager(&[site.echo()]).await?;
    let (with_epochs, without) = (Bare::new(true)?, Bare::new(false)?);
    let pre = with_epochs.pre(&with_epochs.compile(&site.guest("echo"))?)?;
    let sync_pre = without.sync_pre(&without.compile(&site.guest("echo"))?)?;
    let plug_in = || ::extism::Plugin::new_from_compiled(&extism::compile(&site.guest("echo-extism"))?);
    let mut entries = Vec::new();
    for (variant, size) in [("20 bytes", 20), ("64 KiB", 64 << 10)] {
        let text = "x".repeat(size);
        let caller = |target: Target| Ok(Caller { target, text: text.clone() });
        let measure = Measure::lower("time", variant, "µs");
        let contest =
            Contest::new(NAME, vec![measure.goal(Against::Floor, 1.5).goal(Against::Peer(extism::NAME), 1.0)])
                .side(Role::Ours, caller(Target::Ours(manager.get("echo")?)))
                .side(Role::Floor, caller(Target::Floor(Box::new(with_epochs.instance(&pre).await?))))
                .side(Role::Also("ours by name, scheduled".to_owned()), caller(Target::ByName(manager.clone())))
                .side(
                    Role::Also("bare wasmtime, synchronous, no epochs".to_owned()),
                    caller(Target::Sync(Box::new(without.sync_instance(&sync_pre)?))),
                )
                .side(
                    Role::Peer(extism::NAME.to_owned()),
                    plug_in().and_then(|plugin| caller(Target::Extism(Box::new(plugin)))),
                );
        entries.extend(contest.run(site.rounds(40)).await?);
    }
    manager.unload_all().await;
    Ok(entries)
}

enum Target {
    Ours(Arc<dyn PluginInterface>),
    ByName(PluginManager),
    Floor(Box<Instance>),
    Sync(Box<SyncInstance>),
    Extism(Box<::extism::Plugin>),
}

impl Target {
    async fn call(&mut self, text: &str) -> Result<Value> {
        match self {
            Self::Ours(plugin) => Ok(plugin.execute(Call::new().named("text", text)).await?.json),
            Self::ByName(manager) => Ok(manager.execute("echo", Call::new().named("text", text)).await?.json),
            Self::Floor(instance) => instance.execute(&json!({"text": text})).await,
            Self::Sync(instance) => instance.execute(&json!({"text": text})),
            Self::Extism(plugin) => extism::execute(plugin, &json!({"text": text})),
        }
    }
}

struct Caller {
    target: Target,
    text: String,
}

#[async_trait(?Send)]
impl Side for Caller {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let Self { target, text } = self;
        let times = each(WARM_UP, CALLS, async || check(&target.call(text).await?, text)).await?;
        samples.entry("time".to_owned()).or_default().extend(times.into_iter().map(us));
        Ok(())
    }
}
