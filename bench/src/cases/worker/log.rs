//! The cost of a log record in a Python plugin that logs with the standard library, compared with a program that logs to a file.

use anyhow::{Context, Result};
use async_trait::async_trait;
use bivium::{Call, PluginManager};
use serde_json::{Value, json};

use super::{ECHO, echo};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::peers::driver::{Asked, Driver};
use crate::site::Site;

pub const NAME: &str = "a worker's log record";

const RECORDS: usize = 1000;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut manifest = echo(site);
    manifest["limits"] = json!({"log_records": 1_000_000});
    let manager = site.manager(&[manifest]).await?;
    let measure = Measure::lower("time", "floor: logging.FileHandler", "µs").goal(Against::Floor, 1.5);
    let driver = Driver::start(Some(&site.python), "log_floor.py", &site.directory()?);
    let driver = match driver {
        Ok(driver) => Asked::share(driver, json!({"do": "log", "count": 1})).await,
        Err(error) => Err(error),
    };
    let contest = Contest::new(NAME, vec![measure])
        .side(Role::Ours, Ok(Ours(manager.clone())))
        .side(Role::Floor, Asked::new(&driver, json!({"do": "log", "count": RECORDS})));
    drop(driver);
    let entries = contest.run(site.rounds(30)).await?;
    manager.unload_all().await;
    Ok(entries)
}

struct Ours(PluginManager);

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let call = Call::new().method("log").named("count", RECORDS);
        let told = self.0.execute(ECHO, call).await?.json;
        let time = told.get("us").and_then(Value::as_f64).context("no time was told")?;
        samples.entry("time".to_owned()).or_default().push(time);
        Ok(())
    }
}
