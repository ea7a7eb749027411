//! Lists of values passed to a typed function and back.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bivium::{Blob, Call, PluginInterface};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::component::Bare;
use crate::floor::component_typed::Typed;
use crate::site::Site;
use crate::timing::ms;

pub const NAME: &str = "typed values";

const WARM_UP: usize = 2;
const CALLS: usize = 8;
const ITEMS: u32 = 100_000;
const BYTES: usize = 1 << 20;

/// An item of `places`.
#[derive(Debug, Clone, PartialEq, ComponentType, Lift, Lower, Serialize, serde::Deserialize)]
#[component(record)]
struct Place {
    name: String,
    x: f64,
    y: f64,
    visits: u32,
}

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let guest = site.directory()?.join("typed.wasm");
    std::fs::write(&guest, wat::parse_file(site.repository("bench/guests/typed.wat"))?)?;
    let manifest = json!({"name": "typed", "version": "1.0.0", "component": guest});
    let manager = site.manager(&[manifest]).await?;
    let bare = Bare::new(true)?;
    let component = bare.compile(&guest)?;
    let plugin = manager.get("typed")?;
    let floats = |n: u32| f64::from(n) * 0.37;
    let bytes: Vec<u8> = (0..BYTES).map(|n| n.to_le_bytes()[0]).collect();
    let mut writer = manager.exchange().writer("application/octet-stream")?;
    writer.append(&bytes)?;
    let blob = writer.finish()?;
    let case = Case { site, bare: &bare, component: &component, plugin };
    let mut entries = case.bytes(&bytes, blob).await?;
    entries.extend(case.list("counts", 5.0, (0..ITEMS).collect::<Vec<u32>>()).await?);
    entries.extend(case.list("floats", 5.0, (0..ITEMS).map(floats).collect::<Vec<f64>>()).await?);
    entries.extend(case.list("texts", 3.0, (0..ITEMS).map(|n| format!("text number {n}")).collect::<Vec<_>>()).await?);
    let place = |n: u32| Place { name: format!("place {n}"), x: floats(n), y: floats(n + 1), visits: n };
    entries.extend(case.list("places", 3.0, (0..ITEMS).map(place).collect::<Vec<_>>()).await?);
    manager.unload_all().await;
    Ok(entries)
}

struct Case<'a> {
    site: &'a Site,
    bare: &'a Bare,
    component: &'a wasmtime::component::Component,
    plugin: Arc<dyn PluginInterface>,
}

impl Case<'_> {
    fn contest(&self, variant: &str, goal: f64) -> Contest {
        let measure = Measure::lower("time", variant, "ms").goal(Against::Floor, goal);
        Contest::new(NAME, vec![measure])
    }

    fn ours(&self, method: &'static str, value: Value, blobs: Vec<Blob>) -> Ours {
        Ours { plugin: Arc::clone(&self.plugin), method, value, blobs }
    }

    async fn bytes(&self, bytes: &[u8], blob: Blob) -> Result<Vec<Entry>> {
        let floor = Floor::new(self, "bytes", bytes.to_vec(), false).await?;
        let numbers = self.ours("bytes", json!(bytes), Vec::new());
        self.contest("list<u8>, 1 MiB", 5.0)
            .side(Role::Ours, Ok(self.ours("bytes", json!({"$blob": 0}), vec![blob])))
            .side(Role::Floor, Ok(floor))
            .side(Role::Also("ours from an array of numbers".to_owned()), Ok(numbers))
            .run(self.site.rounds(20))
            .await
    }

    async fn list<T>(&self, method: &'static str, goal: f64, list: Vec<T>) -> Result<Vec<Entry>>
    where
        T: Lift + Lower + Clone + Send + Sync + Serialize + DeserializeOwned + 'static,
    {
        let value = serde_json::to_value(&list)?;
        let floor = Floor::new(self, method, list.clone(), false).await?;
        let by_serde = Floor::new(self, method, list, true).await?;
        self.contest(&format!("{method}, {ITEMS} items"), goal)
            .side(Role::Ours, Ok(self.ours(method, value, Vec::new())))
            .side(Role::Floor, Ok(floor))
            .side(Role::Also("bindings with serde_json".to_owned()), Ok(by_serde))
            .run(self.site.rounds(20))
            .await
    }
}

struct Ours {
    plugin: Arc<dyn PluginInterface>,
    method: &'static str,
    value: Value,
    blobs: Vec<Blob>,
}

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        for n in 0..WARM_UP + CALLS {
            let mut call = Call::new().method(self.method).named("list", self.value.clone());
            call.blobs.clone_from(&self.blobs);
            let begun = Instant::now();
            let result = self.plugin.execute(call).await?;
            if n >= WARM_UP {
                samples.entry("time".to_owned()).or_default().push(ms(begun.elapsed()));
            }
            ensure!(result.json.is_array() || !result.blobs.is_empty(), "no list came back");
        }
        Ok(())
    }
}

struct Floor<T: Lift + Lower + Send + Sync + 'static> {
    function: Typed<T>,
    list: Vec<T>,
    /// The list as JSON; `None` if the list is not converted from and to JSON.
    json: Option<Value>,
}

impl<T: Lift + Lower + Clone + Send + Sync + Serialize + 'static> Floor<T> {
    async fn new(case: &Case<'_>, method: &str, list: Vec<T>, has_json: bool) -> Result<Self> {
        let function = Typed::new(case.bare, case.component, method).await?;
        let json = has_json.then(|| serde_json::to_value(&list)).transpose()?;
        Ok(Self { function, list, json })
    }
}

#[async_trait(?Send)]
impl<T: Lift + Lower + Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Side for Floor<T> {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        for n in 0..WARM_UP + CALLS {
            let (list, json) = (self.list.clone(), self.json.clone());
            let begun = Instant::now();
            let took = match json {
                Some(json) => {
                    let back = self.function.call(serde_json::from_value(json)?).await?;
                    let json = serde_json::to_value(back)?;
                    let took = begun.elapsed();
                    json.get(0).context("no list came back")?;
                    took
                }
                None => {
                    let back = self.function.call(list).await?;
                    let took = begun.elapsed();
                    ensure!(back.len() == self.list.len(), "another list came back");
                    took
                }
            };
            if n >= WARM_UP {
                samples.entry("time".to_owned()).or_default().push(ms(took));
            }
        }
        Ok(())
    }
}
