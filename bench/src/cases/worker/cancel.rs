//! The time from the request to cancel a call until its code has ended: a loop of pure Python that never leaves the plugin's code. Our loop
//! does not check for a cancel. The peers' loops check in each iteration, because nothing else would stop them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, ErrorCode, PluginManager};
use serde_json::json;

use super::{ECHO, Peers, echo};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::site::Site;
use crate::timing::ms;

pub const NAME: &str = "cancel";

const CALLS: usize = 5;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let manager = site.manager(&[echo(site)]).await?;
    let measures = vec![
        Measure::lower("time", "worker, a loop of pure Python", "ms").goal(Against::Value, 10.0),
        Measure::lower("slowest", "worker, the slowest of five", "ms").goal(Against::Value, 10.0),
    ];
    let peers = Peers::start(site).await;
    let mark = site.directory()?.join("running");
    let contest =
        Contest::new(NAME, measures).side(Role::Ours, Ok(Ours { manager: manager.clone(), mark: mark.clone() }));
    let contest = peers.both(contest, "", |_| json!({"do": "cancel", "mark": mark, "calls": CALLS}));
    drop(peers);
    let entries = contest.run(site.rounds(40)).await?;
    manager.unload_all().await;
    Ok(entries)
}

struct Ours {
    manager: PluginManager,
    /// A file that the loop creates when it runs.
    mark: PathBuf,
}

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let call = Call::new().method("busy").named("mark", self.mark.display().to_string());
            let (manager, handle) = (self.manager.clone(), call.handle().clone());
            let running = tokio::spawn(async move { (manager.execute(ECHO, call).await, Instant::now()) });
            while !self.mark.exists() {
                ensure!(!running.is_finished(), "the call ended by itself");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let begun = Instant::now();
            handle.cancel();
            let (result, ended) = running.await?;
            ensure!(
                result.is_err_and(|error| error.code() == ErrorCode::Cancelled),
                "the call did not end as cancelled"
            );
            times.push(ms(ended.duration_since(begun)));
            std::fs::remove_file(&self.mark)?;
        }
        samples.entry("slowest".to_owned()).or_default().extend(times.iter().copied().reduce(f64::max));
        samples.entry("time".to_owned()).or_default().extend(times);
        Ok(())
    }
}
