//! Calls of every kind, and how they may end.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bivium::{Call, ErrorCode, PluginManager};
use futures_util::StreamExt;
use serde_json::json;

use crate::{Dice, PLUGIN};

/// Far above what a call takes, a restart included.
const PATIENCE: Duration = Duration::from_secs(60);

/// One call. Gives how it ended; fails if it ended as none may.
pub(crate) async fn one(manager: &PluginManager, dice: &Dice, number: u64) -> Result<String> {
    let call = Call::new().named("number", number).timeout(Duration::from_secs(20));
    let ended = tokio::time::timeout(PATIENCE, async {
        match dice.roll(12) {
            // Seldom: they pile up until their worker ends.
            0 if dice.roll(20) == 0 => unary(manager, call.method("child"), number).await,
            1 | 2 => {
                let blob = manager.exchange().write(number.to_string().as_bytes(), "text/plain")?;
                unary(manager, call.method("blob").blob("data", blob), number).await
            }
            3 | 4 => stream(manager, call.method("stream"), number).await,
            5 => {
                let handle = call.handle().clone();
                let wait = Duration::from_millis(dice.roll(30));
                let (ended, ()) = tokio::join!(unary(manager, call.method("nap"), number), async {
                    tokio::time::sleep(wait).await;
                    handle.cancel();
                });
                ended
            }
            6..=8 => unary(manager, call.method("nap"), number).await,
            _ => unary(manager, call, number).await,
        }
    });
    match ended.await {
        Ok(ended) => ended,
        Err(_) => bail!("call {number} did not end"),
    }
}

fn typed(error: &bivium::PluginError, number: u64) -> Result<String> {
    match error.code() {
        ErrorCode::Crashed | ErrorCode::Unavailable | ErrorCode::Cancelled | ErrorCode::Timeout => {
            Ok(error.code().as_str().to_owned())
        }
        code => bail!("call {number} ended with {code}: {error}"),
    }
}

async fn unary(manager: &PluginManager, call: Call, number: u64) -> Result<String> {
    match manager.execute(PLUGIN, call).await {
        Ok(payload) => {
            ensure!(payload.json["number"] == json!(number), "call {number} has the answer {}", payload.json);
            Ok("done".to_owned())
        }
        Err(error) => typed(&error, number),
    }
}

async fn stream(manager: &PluginManager, call: Call, number: u64) -> Result<String> {
    let mut items = match manager.execute_stream(PLUGIN, call).await {
        Ok(items) => items,
        Err(error) => return typed(&error, number),
    };
    let mut part = 0;
    while let Some(item) = items.next().await {
        match item {
            Ok(payload) => {
                ensure!(
                    payload.json == json!({"number": number, "part": part}),
                    "call {number} gives {}",
                    payload.json
                );
                part += 1;
            }
            Err(error) => {
                ensure!(items.next().await.is_none(), "call {number} goes on after its error");
                return typed(&error, number);
            }
        }
    }
    ensure!(part == 5, "call {number} ended after {part} parts without an error");
    Ok("done".to_owned())
}

/// Once nobody is killed any more, calls are served again.
pub(crate) async fn recovers(manager: &PluginManager) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let call = Call::new().named("number", u32::MAX).timeout(PATIENCE);
        match manager.execute(PLUGIN, call).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => bail!("the plugin does not recover: {error}"),
            Err(error) if error.code() == ErrorCode::Unavailable => {
                tokio::time::sleep(Duration::from_millis(100)).await
            }
            Err(error) => bail!("the plugin does not recover: {error}"),
        }
    }
}

/// No call began twice, whatever was killed under it.
pub(crate) fn each_ran_once(marks: &Path) -> Result<()> {
    let text = std::fs::read_to_string(marks)?;
    let mut seen = HashSet::new();
    for line in text.lines().filter(|line| *line != u32::MAX.to_string()) {
        ensure!(seen.insert(line), "call {line} ran twice");
    }
    Ok(())
}
