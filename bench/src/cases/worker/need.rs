//! A call of a plugin that asks for memory, so that the scheduler checks it before the call, compared with a plugin that does not.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, PluginManager};
use serde_json::{Value, json};

use super::{ECHO, echo};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::site::Site;
use crate::timing::{each, us};

pub const NAME: &str = "worker call with a memory need";

const NEEDY: &str = "needy";
const WARM_UP: usize = 50;
const CALLS: usize = 300;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut needy = echo(site);
    needy["name"] = json!(NEEDY);
    needy["resources"] = json!({"min_system_ram_mb": 16});
    let manager = site.manager(&[echo(site), needy]).await?;
    let measure = Measure::lower("time", "16 MiB; floor: ours without a need", "µs").goal(Against::Floor, 1.2);
    let caller = |name| Ok(Caller { manager: manager.clone(), name });
    let contest = Contest::new(NAME, vec![measure]).side(Role::Ours, caller(NEEDY)).side(Role::Floor, caller(ECHO));
    let entries = contest.run(site.rounds(30)).await?;
    manager.unload_all().await;
    Ok(entries)
}

struct Caller {
    manager: PluginManager,
    name: &'static str,
}

#[async_trait(?Send)]
impl Side for Caller {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let times = each(WARM_UP, CALLS, async || {
            let result = self.manager.execute(self.name, Call::new().named("text", "twenty bytes of text")).await?;
            ensure!(result.json.get("text").and_then(Value::as_str).is_some(), "another answer came");
            Ok(())
        });
        samples.entry("time".to_owned()).or_default().extend(times.await?.into_iter().map(us));
        Ok(())
    }
}
