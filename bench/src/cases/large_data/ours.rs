//! Our side: the data becomes a blob, or is one already, and goes to the worker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bivium::{Blob, Call, PluginManager};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{WRITES, add, bytes, expected, repeats};
use crate::contest::{Samples, Side};
use crate::stats::Stats;
use crate::timing::ms;

/// How often a round passes data on. (As in `bench/python/large_data.py`.)
const PASSES: usize = 10;

/// Where the data comes from.
pub enum Source {
    Host(Bytes),
    Component,
    Files(BTreeMap<usize, PathBuf>),
}

pub struct Ours {
    pub manager: PluginManager,
    pub sizes: Vec<usize>,
    pub source: Source,
}

impl Ours {
    async fn blob(&self, mib: usize) -> Result<Blob> {
        match &self.source {
            Source::Host(data) => Ok(self.manager.exchange().write(bytes(data, mib)?, "application/octet-stream")?),
            Source::Component => {
                let call = Call::new().method("data").named("count", mib << 20);
                let made = self.manager.execute("echo", call).await?;
                made.json.get("data").and_then(|data| made.blob(data)).cloned().context("the component gave no blob")
            }
            Source::Files(files) => Ok(Blob::by_reference(files.get(&mib).context("no such file")?, None)?),
        }
    }

    async fn ask(&self, method: &'static str, blob: Blob) -> Result<Value> {
        Ok(self.manager.execute("sums", Call::new().method(method).blob("data", blob)).await?.json)
    }

    async fn sum(&self, mib: usize, samples: &mut Samples) -> Result<()> {
        let begun = Instant::now();
        let blob = self.blob(mib).await?;
        let result = self.ask("execute", blob.clone()).await?;
        add(samples, "summed", mib, ms(begun.elapsed()));
        // Dropped only now, because that deletes the file.
        drop(blob);
        ensure!(result == json!({"sum": expected(mib)}), "the sum came out as {result}");
        Ok(())
    }

    async fn write(&self, samples: &mut Samples) -> Result<()> {
        for mib in &self.sizes {
            for _ in 0..WRITES {
                let begun = Instant::now();
                let blob = self.blob(*mib).await?;
                add(samples, "written", *mib, *mib as f64 / begun.elapsed().as_secs_f64());
                drop(blob);
            }
        }
        Ok(())
    }

    /// Passes on a blob that a component has made, or a file by its path.
    async fn pass(&self, mib: usize, made: Option<&Blob>) -> Result<f64> {
        let begun = Instant::now();
        let blob = match made {
            Some(made) => made.clone(),
            None => self.blob(mib).await?,
        };
        let result = self.ask("take", blob).await?;
        let took = ms(begun.elapsed());
        ensure!(result == json!({"count": mib << 17}), "the worker got {result}");
        Ok(took)
    }
}

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        for mib in &self.sizes {
            for _ in 0..repeats(*mib) {
                self.sum(*mib, samples).await?;
            }
        }
        if matches!(self.source, Source::Host(_)) {
            return self.write(samples).await;
        }
        let mut made = BTreeMap::new();
        for mib in &self.sizes {
            let blob = matches!(self.source, Source::Component).then_some(self.blob(*mib));
            made.insert(
                *mib,
                (
                    match blob {
                        Some(blob) => Some(blob.await?),
                        None => None,
                    },
                    Vec::new(),
                ),
            );
        }
        for _ in 0..PASSES {
            for (mib, (blob, times)) in &mut made {
                times.push(self.pass(*mib, blob.as_ref()).await?);
            }
        }
        let medians: Vec<f64> = made.values().filter_map(|(_, times)| Some(Stats::of(times)?.median)).collect();
        if let [smallest, .., largest] = medians.as_slice() {
            samples.entry("growth".to_owned()).or_default().push(largest / smallest);
        }
        for (mib, (_, times)) in made {
            times.into_iter().for_each(|time| add(samples, "passed", mib, time));
        }
        Ok(())
    }
}
