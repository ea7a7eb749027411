//! A call with a thousand small results.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, PluginManager};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::component::{Bare, Instance};
use crate::site::Site;
use crate::timing::us;

pub const NAME: &str = "stream";

/// Results of a stream before the measured one, which is not measured: it refills caches after another side has run.
const WARM_UP: u64 = 50;
const CHUNKS: u64 = 1_000;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let manager = site.manager(&[site.echo()]).await?;
    let bare = Bare::new(true)?;
    let pre = bare.pre(&bare.compile(&site.guest("echo"))?)?;
    let mut entries = Contest::new(
        NAME,
        vec![
            Measure::lower("first", "component, first chunk", "µs"),
            Measure::higher("chunks", "component, chunks", "1/s").goal(Against::Floor, 0.8),
        ],
    )
    .side(Role::Ours, Ok(Target::Ours(manager.clone())))
    .side(Role::Floor, Ok(Target::Floor(Box::new(bare.instance(&pre).await?))))
    .run(site.rounds(100))
    .await?;
    // A separate contest: tasks that wake each other change the state of caches and processors for the side that comes next.
    entries.extend(
        Contest::new(
            NAME,
            vec![
                Measure::higher("chunks", "component, chunks, beside a bare channel", "1/s").goal(Against::Floor, 0.8),
            ],
        )
        .side(Role::Ours, Ok(Target::Ours(manager.clone())))
        .side(Role::Floor, Ok(Target::Channel))
        .run(site.rounds(100))
        .await?,
    );
    manager.unload_all().await;
    Ok(entries)
}

enum Target {
    Ours(PluginManager),
    /// The guest's results, from bare wasmtime and read as JSON in the caller's own task. Nothing can be faster.
    Floor(Box<Instance>),
    /// Ready values that one task sends to another through a channel for one value, as they are asked for.
    Channel,
}

/// The times of a stream.
struct Took {
    first: Option<Duration>,
    all: Duration,
}

impl Target {
    async fn read(&mut self, chunks: u64) -> Result<Took> {
        let begun = Instant::now();
        let mut first = None;
        let mut next = 0;
        let mut chunk = |value: &Value| {
            first.get_or_insert_with(|| begun.elapsed());
            ensure!(value.get("n").and_then(Value::as_u64) == Some(next), "another chunk came");
            next += 1;
            Ok(())
        };
        match self {
            Self::Ours(manager) => {
                let call = Call::new().method("count").named("count", chunks);
                let mut stream = manager.execute_stream("echo", call).await?;
                while let Some(result) = stream.next().await {
                    chunk(&result?.json)?;
                }
            }
            Self::Floor(instance) => {
                let stream = instance.stream("count", &json!({"count": chunks})).await?;
                while let Some(result) = instance.next(stream).await? {
                    chunk(&result)?;
                }
                instance.drop_stream(stream).await?;
            }
            Self::Channel => {
                let (sender, mut receiver) = mpsc::channel(1);
                tokio::spawn(async move {
                    for n in 0..chunks {
                        // The reader has gone, so this task ends too.
                        if sender.send(json!({"n": n})).await.is_err() {
                            return;
                        }
                    }
                });
                while let Some(value) = receiver.recv().await {
                    chunk(&value)?;
                }
            }
        }
        let all = begun.elapsed();
        ensure!(next == chunks, "{next} chunks came");
        Ok(Took { first, all })
    }
}

#[async_trait(?Send)]
impl Side for Target {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        self.read(WARM_UP).await?;
        let Took { first, all } = self.read(CHUNKS).await?;
        samples.entry("first".to_owned()).or_default().extend(first.map(us));
        samples.entry("chunks".to_owned()).or_default().push(CHUNKS as f64 / all.as_secs_f64());
        Ok(())
    }
}
