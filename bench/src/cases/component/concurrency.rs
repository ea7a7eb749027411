//! Several callers at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use async_trait::async_trait;
use bivium::{Call, PluginInterface, PluginManager};
use serde_json::json;

use super::check;
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::component::{Bare, Instance};
use crate::peers::extism;
use crate::site::Site;
use crate::timing::load;

pub const NAME: &str = "concurrent callers";

const TEXT: &str = "twenty bytes of text";
const STRETCH: Duration = Duration::from_millis(200);

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for callers in [1, 8, 32] {
        let mut manifest = site.echo();
        manifest["instances"] = json!({"max": callers});
        let manager = site.manager(&[manifest]).await?;
        let bare = Bare::new(true)?;
        let pre = bare.pre(&bare.compile(&site.guest("echo"))?)?;
        let mut instances = Vec::new();
        for _ in 0..callers {
            instances.push(bare.instance(&pre).await?);
        }
        let plug_ins = extism::compile(&site.guest("echo-extism"))
            .and_then(|compiled| (0..callers).map(|_| ::extism::Plugin::new_from_compiled(&compiled)).collect());
        let mut per_second = Measure::higher("calls", format!("component, {callers} callers, calls"), "1/s");
        if callers > 1 {
            per_second = per_second.goal(Against::Floor, 0.8);
        }
        let p99 = Measure::lower("p99", format!("component, {callers} callers, p99"), "µs");
        let contest = Contest::new(NAME, vec![per_second, p99])
            .side(Role::Ours, Ok(Target::Ours(manager.get("echo")?, callers)))
            .side(Role::Floor, Ok(Target::Floor(instances)))
            .side(Role::Also("ours by name, scheduled".to_owned()), Ok(Target::ByName(manager.clone(), callers)))
            .side(Role::Peer(extism::NAME.to_owned()), plug_ins.map(Target::Extism));
        entries.extend(contest.run(site.rounds(20)).await?);
        manager.unload_all().await;
    }
    Ok(entries)
}

/// Each caller calls again as soon as it has its answer. Ours call one plugin of the manager; on the other sides each caller has its own
/// instance.
enum Target {
    Ours(Arc<dyn PluginInterface>, usize),
    ByName(PluginManager, usize),
    Floor(Vec<Instance>),
    Extism(Vec<::extism::Plugin>),
}

/// The times of all calls until `end`.
macro_rules! calls_until {
    ($end:expr, $call:expr) => {{
        let mut times = Vec::new();
        while Instant::now() < $end {
            let begun = Instant::now();
            check(&$call, TEXT)?;
            times.push(begun.elapsed());
        }
        times
    }};
}

#[async_trait(?Send)]
impl Side for Target {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let begun = Instant::now();
        let end = begun + STRETCH;
        let mut times = Vec::new();
        match self {
            Self::Ours(plugin, callers) => {
                let spawn = |_| {
                    let plugin = Arc::clone(plugin);
                    tokio::spawn(async move {
                        let call = || Call::new().named("text", TEXT);
                        anyhow::Ok(calls_until!(end, plugin.execute(call()).await?.json))
                    })
                };
                let running: Vec<_> = (0..*callers).map(spawn).collect();
                for caller in running {
                    times.push(caller.await??);
                }
            }
            Self::ByName(manager, callers) => {
                let spawn = |_| {
                    let manager = manager.clone();
                    tokio::spawn(async move {
                        let call = || Call::new().named("text", TEXT);
                        anyhow::Ok(calls_until!(end, manager.execute("echo", call()).await?.json))
                    })
                };
                let running: Vec<_> = (0..*callers).map(spawn).collect();
                for caller in running {
                    times.push(caller.await??);
                }
            }
            Self::Floor(instances) => {
                let spawn = |mut instance: Instance| {
                    tokio::spawn(async move {
                        let times = calls_until!(end, instance.execute(&json!({"text": TEXT})).await?);
                        anyhow::Ok((instance, times))
                    })
                };
                let running: Vec<_> = instances.drain(..).map(spawn).collect();
                for caller in running {
                    let (instance, caller) = caller.await??;
                    instances.push(instance);
                    times.push(caller);
                }
            }
            // Its calls block, so each caller has a thread.
            Self::Extism(plugins) => {
                std::thread::scope(|scope| {
                    let mut running = Vec::new();
                    for plugin in plugins {
                        running.push(scope.spawn(move || {
                            anyhow::Ok(calls_until!(end, extism::execute(plugin, &json!({"text": TEXT}))?))
                        }));
                    }
                    for caller in running {
                        match caller.join() {
                            Ok(caller) => times.push(caller?),
                            Err(_) => bail!("a caller panicked"),
                        }
                    }
                    Ok(())
                })?;
            }
        }
        let load = load(begun.elapsed(), times);
        samples.entry("calls".to_owned()).or_default().push(load.per_second);
        samples.entry("p99".to_owned()).or_default().push(load.p99_us);
        Ok(())
    }
}
