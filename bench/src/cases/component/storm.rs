//! Many guests that compute without end are cancelled together. Measures from the first request until the last call has returned.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, ErrorCode, PluginManager};
use futures_util::future::join_all;
use serde_json::json;

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::site::Site;
use crate::timing::ms;

pub const NAME: &str = "cancel";

const GUESTS: usize = 64;

/// How long they compute before they are cancelled.
const BEFORE: Duration = Duration::from_millis(200);

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut manifest = site.echo();
    manifest["instances"] = json!({"max": GUESTS});
    let manager = site.manager(&[manifest]).await?;
    let measure = Measure::lower("time", "component, 64 busy loops at once", "ms").goal(Against::Value, 50.0);
    let entries =
        Contest::new(NAME, vec![measure]).side(Role::Ours, Ok(Storm(manager.clone()))).run(site.rounds(20)).await?;
    manager.unload_all().await;
    Ok(entries)
}

struct Storm(PluginManager);

#[async_trait(?Send)]
impl Side for Storm {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let plugin = self.0.get("echo")?;
        let mut handles = Vec::new();
        let running: Vec<_> = (0..GUESTS)
            .map(|_| {
                let call = Call::new().method("spin");
                handles.push(call.handle().clone());
                let plugin = plugin.clone();
                tokio::spawn(async move { plugin.execute(call).await })
            })
            .collect();
        tokio::time::sleep(BEFORE).await;
        ensure!(running.iter().all(|call| !call.is_finished()), "a call ended by itself");
        let begun = Instant::now();
        handles.iter().for_each(|handle| handle.cancel());
        let ended = join_all(running).await;
        samples.entry("time".to_owned()).or_default().push(ms(begun.elapsed()));
        for call in ended {
            ensure!(call?.is_err_and(|error| error.code() == ErrorCode::Cancelled), "a call ended otherwise");
        }
        Ok(())
    }
}
