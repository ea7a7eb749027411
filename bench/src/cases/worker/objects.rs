//! Ten megabytes of objects as JSON, to the worker and back.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bivium::{Call, PluginManager};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{ECHO, echo};
use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::worker::{Bare, Connection, Worker};
use crate::site::Site;
use crate::timing::ms;

pub const NAME: &str = "many objects to a worker";

const BYTES: usize = 10_000_000;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let object =
        |n: usize| json!({"id": n, "name": format!("object {n}"), "score": n as f64 / 7.0, "tags": ["a", "b"]});
    let each = object(100_000).to_string().len() + 1;
    let objects: Value = (0..BYTES / each).map(object).collect();
    let manager = site.manager(&[echo(site)]).await?;
    let interpreter = Bare::new(site)?;
    let (exchange, bare) = (interpreter.exchange().to_owned(), interpreter.worker(1)?);
    let measure = Measure::lower("time", "10 MB of JSON there and back", "ms").goal(Against::Floor, 1.2);
    let floor = Floor { connection: bare.connect().await?, bare, exchange, objects: objects.clone() };
    let contest = Contest::new(NAME, vec![measure])
        .side(Role::Ours, Ok(Ours { manager: manager.clone(), objects }))
        .side(Role::Floor, Ok(floor));
    let entries = contest.run(site.rounds(20)).await?;
    manager.unload_all().await;
    Ok(entries)
}

struct Ours {
    manager: PluginManager,
    objects: Value,
}

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let call = Call::new().named("text", self.objects.clone());
        let begun = Instant::now();
        let result = self.manager.execute(ECHO, call).await?;
        samples.entry("time".to_owned()).or_default().push(ms(begun.elapsed()));
        ensure!(result.json.get("text") == Some(&self.objects), "other objects came");
        Ok(())
    }
}

/// A bare client that writes and reads the JSON.
struct Floor {
    bare: Worker,
    connection: Connection,
    exchange: PathBuf,
    objects: Value,
}

#[async_trait(?Send)]
impl Side for Floor {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let body = json!({"call": "0", "method": "execute", "kwargs": {"text": self.objects}});
        let begun = Instant::now();
        let answer = self.connection.call("/execute", &Bytes::from(serde_json::to_vec(&body)?)).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        // A result of this length is a file.
        let file = answer.pointer("/spilled/path").and_then(Value::as_str).context("no file came")?;
        let file = self.exchange.join(file);
        let result: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        std::fs::remove_file(file)?;
        samples.entry("time".to_owned()).or_default().push(ms(begun.elapsed()));
        ensure!(result.get("text") == Some(&self.objects), "other objects came");
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.bare.end()
    }
}
