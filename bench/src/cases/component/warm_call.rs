//! One call after another into a component that is there.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, PluginInterface};
use serde_json::Value;

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::component::{Bare, Instance, SyncInstance};
use crate::peers::extism;
use crate::site::Site;

pub const NAME: &str = "warm component call";

const WARM_UP: usize = 50;
const CALLS: usize = 500;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (variant, size) in [("20 bytes", 20), ("64 KiB", 64 << 10)] {
        let text = "x".repeat(size);
        let manager = site.manager(&[site.echo()]).await?;
        let (with_epochs, without) = (Bare::new(true)?, Bare::new(false)?);
        let pre = with_epochs.pre(&with_epochs.compile(&site.guest("echo"))?)?;
        let sync_pre = without.sync_pre(&without.compile(&site.guest("echo"))?)?;
        let ours = Target::Ours(manager.get("echo")?);
        let floor = Target::Floor(Box::new(with_epochs.instance(&pre).await?));
        let sync = Target::Sync(Box::new(without.sync_instance(&sync_pre)?));
        let extism = extism::compile(&site.guest("echo-extism"))
            .and_then(|compiled| ::extism::Plugin::new_from_compiled(&compiled))
            .map(|plugin| Target::Extism(Box::new(plugin)));
        let measure =
            Measure::lower("time", variant, "µs").goal(Against::Floor, 1.5).goal(Against::Peer(extism::NAME), 1.0);
        let side = |target: Target| Ok(Caller { target, text: text.clone() });
        let contest = Contest::new(NAME, vec![measure])
            .side(Role::Ours, side(ours))
            .side(Role::Floor, side(floor))
            .side(Role::Also("bare wasmtime, synchronous, no epochs".to_owned()), side(sync))
            .side(Role::Peer(extism::NAME.to_owned()), extism.and_then(side));
        entries.extend(contest.run(site.rounds(40)).await?);
        manager.unload_all().await;
    }
    Ok(entries)
}

enum Target {
    Ours(Arc<dyn PluginInterface>),
    Floor(Box<Instance>),
    Sync(Box<SyncInstance>),
    Extism(Box<::extism::Plugin>),
}

struct Caller {
    target: Target,
    text: String,
}

impl Caller {
    async fn call(&mut self) -> Result<Value> {
        match &mut self.target {
            Target::Ours(plugin) => Ok(plugin.execute(Call::new().named("text", self.text.as_str())).await?.json),
            Target::Floor(instance) => instance.execute(&self.text).await,
            Target::Sync(instance) => instance.execute(&self.text),
            Target::Extism(plugin) => extism::execute(plugin, &self.text),
        }
    }
}

#[async_trait(?Send)]
impl Side for Caller {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let times = samples.entry("time".to_owned()).or_default();
        for n in 0..WARM_UP + CALLS {
            let begun = Instant::now();
            let result = self.call().await?;
            let took = begun.elapsed();
            ensure!(result.get("text").and_then(Value::as_str) == Some(&self.text), "another answer came");
            if n >= WARM_UP {
                times.push(took.as_secs_f64() * 1e6);
            }
        }
        Ok(())
    }
}
