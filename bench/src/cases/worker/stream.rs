//! A thousand small results, one after another.

use std::time::Instant;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, PluginManager};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::json;

use super::{ECHO, Peers, echo};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::worker::{Bare, Connection, Worker};
use crate::site::Site;
use crate::timing::us;

pub const NAME: &str = "stream";

const CHUNKS: usize = 1000;
const STREAMS: usize = 5;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let manager = site.manager(&[echo(site)]).await?;
    let bare = Bare::new(site)?.worker(1)?;
    let measures = vec![
        Measure::lower("first", "worker, first chunk", "µs"),
        Measure::higher("chunks", "worker, chunks", "1/s").goal(Against::Floor, 0.8),
    ];
    let peers = Peers::start(site).await;
    let contest = Contest::new(NAME, measures)
        .side(Role::Ours, Ok(Ours(manager.clone())))
        .side(Role::Floor, Ok(Floor { connection: bare.connect().await?, bare }));
    let contest = peers.both(contest, " manager", |_| json!({"do": "stream", "count": CHUNKS}));
    drop(peers);
    let entries = contest.run(site.rounds(30)).await?;
    manager.unload_all().await;
    Ok(entries)
}

/// Adds the times of a stream to the samples.
fn enter(samples: &mut Samples, begun: Instant, first: Option<Instant>) {
    let took = begun.elapsed();
    samples.entry("chunks".to_owned()).or_default().push(CHUNKS as f64 / took.as_secs_f64());
    let first = first.map(|first| us(first.duration_since(begun)));
    samples.entry("first".to_owned()).or_default().extend(first);
}

struct Ours(PluginManager);

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        for _ in 0..STREAMS {
            let begun = Instant::now();
            let (mut first, mut found) = (None, 0);
            let mut stream = self.0.execute_stream(ECHO, Call::new().named("count", CHUNKS)).await?;
            while let Some(chunk) = stream.next().await {
                ensure!(chunk?.json == json!({"n": found}), "another chunk came");
                first.get_or_insert_with(Instant::now);
                found += 1;
            }
            enter(samples, begun, first);
            ensure!(found == CHUNKS, "{found} chunks came");
        }
        Ok(())
    }
}

struct Floor {
    bare: Worker,
    connection: Connection,
}

#[async_trait(?Send)]
impl Side for Floor {
    /// Counts the lines of the chunked reply of the same worker.
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let body = Bytes::from(json!({"call": "1", "kwargs": {"count": CHUNKS}}).to_string());
        for _ in 0..STREAMS {
            let begun = Instant::now();
            let (mut first, mut lines) = (None, 0);
            let mut reply = self.connection.post("/execute_stream", &body).await?.into_body();
            while let Some(frame) = reply.frame().await {
                let Ok(data) = frame?.into_data() else { continue };
                first.get_or_insert_with(Instant::now);
                lines += data.iter().filter(|byte| **byte == b'\n').count();
            }
            enter(samples, begun, first);
            // The last line says that the stream has ended.
            ensure!(lines == CHUNKS + 1, "{lines} events came");
        }
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.bare.end()
    }
}
