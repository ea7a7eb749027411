//! How soon the host notices that a worker was killed, and how soon a call that does not obey a cancel is ended, together with its worker.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use bivium::{Call, ErrorCode, Payload, PluginManager};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{ECHO, echo};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::site::Site;
use crate::timing::ms;

pub const NAME: &str = "ends";

/// How long a cancelled call may go on before its worker is ended (`docs/workers.md`), in milliseconds.
const GRACE: f64 = 2000.0;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let manager = site.manager(&[echo(site)]).await?;
    let measures = vec![
        Measure::lower("noticed", "worker killed to its call's error", "ms").goal(Against::Value, 5.0),
        Measure::lower("forced", "cancel of a call that does not obey, over its 2 s of grace", "ms")
            .goal(Against::Value, 100.0),
    ];
    let ours = Ours { manager: manager.clone(), mark: site.directory()?.join("running") };
    let entries = Contest::new(NAME, measures).side(Role::Ours, Ok(ours)).run(site.rounds(10)).await?;
    manager.unload_all().await;
    Ok(entries)
}

struct Ours {
    manager: PluginManager,
    mark: PathBuf,
}

type Running = JoinHandle<(bivium::Result<Payload>, Instant)>;

impl Ours {
    /// A call that runs, and the process that runs it.
    async fn begin(&self, method: &'static str) -> Result<(Running, bivium::CallHandle, Pid)> {
        let call = Call::new().method(method).named("mark", self.mark.display().to_string());
        let (manager, handle) = (self.manager.clone(), call.handle().clone());
        let running = tokio::spawn(async move { (manager.execute(ECHO, call).await, Instant::now()) });
        let mut pid = None;
        while pid.is_none() {
            if running.is_finished() {
                let (result, _) = running.await?;
                bail!("the call ended by itself: {result:?}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            pid = read_pid(&self.mark);
        }
        std::fs::remove_file(&self.mark)?;
        Ok((running, handle, pid.context("no process")?))
    }
}

fn read_pid(mark: &Path) -> Option<Pid> {
    let number = serde_json::from_str::<Value>(&std::fs::read_to_string(mark).ok()?).ok()?.as_i64()?;
    Pid::from_raw(number.try_into().ok()?)
}

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        // After crashes in a row the plugin would not be started again.
        self.manager.execute(ECHO, Call::new().named("text", "x")).await?;
        let (running, _, pid) = self.begin("wait").await?;
        let begun = Instant::now();
        kill_process(pid, Signal::KILL)?;
        let (result, ended) = running.await?;
        ensure!(result.is_err_and(|error| error.code() == ErrorCode::Crashed), "the call ended otherwise");
        samples.entry("noticed".to_owned()).or_default().push(ms(ended.duration_since(begun)));

        let (running, handle, _) = self.begin("stubborn").await?;
        let begun = Instant::now();
        handle.cancel();
        let (result, ended) = running.await?;
        ensure!(result.is_err_and(|error| error.code() == ErrorCode::Cancelled), "the call ended otherwise");
        samples.entry("forced".to_owned()).or_default().push(ms(ended.duration_since(begun)) - GRACE);
        Ok(())
    }
}
