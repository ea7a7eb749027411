//! The cost of a pipeline in addition to its calls: two calls of a component, where the second gets the result of the first.

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bivium::pipeline::{Pipeline, RunOptions};
use bivium::{Call, PluginManager};
use serde_json::{Value, json};

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::site::Site;
use crate::timing::{each, us};

pub const NAME: &str = "pipeline step";

const WARM_UP: usize = 50;
const RUNS: usize = 500;
const TEXT: &str = "twenty bytes of text";

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let manager = site.manager(&[site.echo()]).await?;
    let file = site.directory()?.join("pipeline.json");
    let steps = json!({
        "name": "twice",
        "inputs": {"text": {"description": "a text"}},
        "steps": [
            {"id": "one", "plugin": "echo", "args": {"text": {"$from": "inputs/text"}}},
            {"id": "two", "plugin": "echo", "args": {"text": {"$from": "one/text"}}},
        ],
        "outputs": {"text": {"$from": "two/text"}},
    });
    std::fs::write(&file, steps.to_string())?;
    let measure =
        Measure::lower("time", "two steps; floor: two calls in a row, by name", "µs").goal(Against::Floor, 1.5);
    let entries = Contest::new(NAME, vec![measure])
        .side(Role::Ours, Ok(Runner::Pipeline(manager.clone(), Box::new(Pipeline::read(&file)?))))
        .side(Role::Floor, Ok(Runner::Calls(manager.clone())))
        .run(site.rounds(20))
        .await?;
    manager.unload_all().await;
    Ok(entries)
}

enum Runner {
    Pipeline(PluginManager, Box<Pipeline>),
    Calls(PluginManager),
}

impl Runner {
    async fn once(&self) -> Result<Value> {
        Ok(match self {
            Self::Pipeline(manager, pipeline) => {
                let input = json!({"text": TEXT}).into();
                pipeline.run(manager, input, &RunOptions::default(), &|_| ()).await?.payload.json
            }
            Self::Calls(manager) => {
                let first = manager.execute("echo", Call::new().named("text", TEXT)).await?;
                let text = first.json.get("text").and_then(Value::as_str).context("no text came")?;
                manager.execute("echo", Call::new().named("text", text)).await?.json
            }
        })
    }
}

#[async_trait(?Send)]
impl Side for Runner {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let times = each(WARM_UP, RUNS, async || {
            ensure!(self.once().await? == json!({"text": TEXT}), "another result came");
            Ok(())
        });
        samples.entry("time".to_owned()).or_default().extend(times.await?.into_iter().map(us));
        Ok(())
    }
}
