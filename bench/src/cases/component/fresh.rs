//! A new instance for each call, so that no call sees what an earlier call left behind.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use bivium::{Call, PluginInterface};
use serde_json::{Value, json};

use super::check;
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::component::{AsyncPre, Bare};
use crate::peers::extism;
use crate::site::Site;
use crate::timing::{each, us};

pub const NAME: &str = "fresh instance per call";

const WARM_UP: usize = 20;
const CALLS: usize = 100;
const TEXT: &str = "twenty bytes of text";

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut manifest = site.echo();
    manifest["isolation"] = "call".into();
    let manager = site.manager(&[manifest]).await?;
    let bare = Bare::new(true)?;
    let pre = bare.pre(&bare.compile(&site.guest("echo"))?)?;
    let measure = Measure::lower("time", "20 bytes", "µs").goal(Against::Floor, 1.5);
    let compiled = extism::compile(&site.guest("echo-extism"));
    let entries = Contest::new(NAME, vec![measure])
        .side(Role::Ours, Ok(Target::Ours(manager.get("echo")?)))
        .side(Role::Floor, Ok(Target::Floor(bare, pre)))
        .side(Role::Peer(extism::NAME.to_owned()), compiled.map(|compiled| Target::Extism(Box::new(compiled))))
        .run(site.rounds(40))
        .await?;
    manager.unload_all().await;
    Ok(entries)
}

enum Target {
    Ours(Arc<dyn PluginInterface>),
    Floor(Bare, AsyncPre),
    Extism(Box<::extism::CompiledPlugin>),
}

impl Target {
    async fn call(&self) -> Result<Value> {
        match self {
            Self::Ours(plugin) => Ok(plugin.execute(Call::new().named("text", TEXT)).await?.json),
            Self::Floor(bare, pre) => bare.instance(pre).await?.execute(&json!({"text": TEXT})).await,
            Self::Extism(compiled) => {
                let mut plugin = ::extism::Plugin::new_from_compiled(compiled)?;
                extism::execute(&mut plugin, &json!({"text": TEXT}))
            }
        }
    }
}

#[async_trait(?Send)]
impl Side for Target {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let times = each(WARM_UP, CALLS, async || check(&self.call().await?, TEXT)).await?;
        samples.entry("time".to_owned()).or_default().extend(times.into_iter().map(us));
        Ok(())
    }
}
