//! Many callers of one worker, each with one call after another, for some time. The worker runs as many calls at once as there are callers,
//! as the peers' workers do. For comparison there is one with the default, one call at a time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, PluginManager};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{CJM, ECHO, FASTAPI, Peers, echo, fastapi};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::worker::{self, Bare, Worker};
use crate::peers::driver::Asked;
use crate::site::Site;
use crate::timing::load;

pub const NAME: &str = "concurrent callers";

const SIZE: usize = 20;
const ROUND: Duration = Duration::from_millis(500);

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for callers in [1, 8, 32] {
        let mut manifest = echo(site);
        manifest["concurrency"] = json!(callers);
        let manager = site.manager(&[manifest]).await?;
        let serial = site.manager(&[echo(site)]).await?;
        let mut calls = Measure::higher("calls", format!("worker, {callers} callers, calls"), "1/s");
        if callers > 1 {
            calls = calls.goal(Against::Floor, 0.8).goal(Against::BestOf("cjm-substrate"), 5.0);
        }
        let p99 = Measure::lower("p99", format!("worker, {callers} callers, p99"), "µs");
        let (peers, fastapi) = (Peers::start(site).await, fastapi(site).await);
        let mut contest = Contest::new(NAME, vec![calls, p99])
            .side(Role::Ours, Ok(Ours { manager: manager.clone(), callers }))
            .side(Role::Floor, Bare::new(site)?.worker(callers).map(|bare| Floor { bare, callers }));
        if callers > 1 {
            let floor = Bare::new(site)?.worker(1).map(|bare| Floor { bare, callers });
            contest = contest
                .side(Role::Also("ours, one call at a time".to_owned()), Ok(Ours { manager: serial.clone(), callers }))
                .side(Role::Also("floor, one call at a time".to_owned()), floor);
        }
        for (how, end) in [("sync", "threads"), ("async", "async")] {
            for through in ["proxy", "manager"] {
                contest = peers.both(contest, &format!(" {through}, {end}"), |name| {
                    // If a call takes a twentieth of a second, the round is longer, so that it has several calls.
                    let seconds = ROUND.as_secs_f64() * if name == CJM { 2.0 } else { 1.0 };
                    json!({"do": "concurrent", "through": through, "how": how, "size": SIZE, "callers": callers,
                        "seconds": seconds})
                });
            }
            let request = json!({"do": "concurrent", "how": how, "size": SIZE, "callers": callers,
                "seconds": ROUND.as_secs_f64()});
            contest = contest.side(Role::Peer(format!("{FASTAPI}, {end}")), Asked::new(&fastapi, request));
        }
        drop((peers, fastapi));
        entries.extend(contest.run(site.rounds(10)).await?);
        manager.unload_all().await;
        serial.unload_all().await;
    }
    Ok(entries)
}

/// Adds the calls of all callers of a round to the samples.
async fn finish(begun: Instant, callers: JoinSet<Result<Vec<Duration>>>, samples: &mut Samples) -> Result<()> {
    let times = callers.join_all().await.into_iter().collect::<Result<_>>()?;
    let load = load(begun.elapsed(), times);
    samples.entry("calls".to_owned()).or_default().push(load.per_second);
    samples.entry("p99".to_owned()).or_default().push(load.p99_us);
    Ok(())
}

struct Ours {
    manager: PluginManager,
    callers: usize,
}

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            let manager = self.manager.clone();
            callers.spawn(async move {
                let text = "x".repeat(SIZE);
                let mut times = Vec::new();
                while begun.elapsed() < ROUND {
                    let asked = Instant::now();
                    let result = manager.execute(ECHO, Call::new().named("text", text.as_str())).await?;
                    times.push(asked.elapsed());
                    ensure!(result.json.get("text").and_then(Value::as_str) == Some(&text), "another answer came");
                }
                Ok(times)
            });
        }
        finish(begun, callers, samples).await
    }
}

struct Floor {
    bare: Worker,
    callers: usize,
}

#[async_trait(?Send)]
impl Side for Floor {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let mut connections = Vec::new();
        for n in 0..self.callers {
            let (mut connection, body) = (self.bare.connect().await?, worker::constant(n, SIZE));
            connection.call("/execute", &body).await?;
            connections.push((connection, body));
        }
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        for (mut connection, body) in connections {
            callers.spawn(async move {
                let mut times = Vec::new();
                while begun.elapsed() < ROUND {
                    let asked = Instant::now();
                    connection.call("/execute", &body).await?;
                    times.push(asked.elapsed());
                }
                Ok(times)
            });
        }
        finish(begun, callers, samples).await
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.bare.end()
    }
}
