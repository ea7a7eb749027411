//! Calls of every kind, and how they may end.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bivium::{Call, ErrorCode, PluginManager};
use futures_util::StreamExt;
use serde_json::json;

use crate::{COMPONENT, CONFINED, Dice, TRUSTED};

/// What a call may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a stream without an end may take.
const SHORT: Duration = Duration::from_millis(300);

/// What a call may take beyond its deadline: 2 s until its worker is ended, 1.5 s until its guard is, and the search for all
/// that they started, on a machine that is busy.
const GRACE: Duration = Duration::from_secs(10);

/// For what comes back after the kills.
const PATIENCE: Duration = Duration::from_secs(60);

/// One call. Gives its kind and how it ended; fails if it ended as none may, or too late.
pub(crate) async fn one(manager: &PluginManager, dice: &Dice, number: u64) -> Result<(&'static str, String)> {
    let kind = dice.roll(16);
    if kind < 4 {
        let (name, method) = [(TRUSTED, "for_ever"), (CONFINED, "for_ever"), (COMPONENT, "for-ever")]
            .get(dice.roll(3) as usize)
            .copied()
            .unwrap_or((TRUSTED, "for_ever"));
        let call = Call::new().method(method).timeout(SHORT);
        let call = if name == COMPONENT { call } else { call.named("number", number) };
        let reader = if kind < 2 { Reader::Slow } else { Reader::Stopped };
        let ended = tokio::time::timeout(SHORT + GRACE, read(manager, name, call, reader, number));
        let Ok(ended) = ended.await else { bail!("call {number}, a stream of {name}'s, did not end") };
        return Ok((if kind < 2 { "slow reader" } else { "reader that stops" }, ended?));
    }
    if kind == 4 {
        let call = Call::new().method("echo").named("number", number).timeout(DEADLINE);
        let ended = tokio::time::timeout(DEADLINE + GRACE, unary(manager, COMPONENT, call, number));
        let Ok(ended) = ended.await else { bail!("call {number} of {COMPONENT} did not end") };
        return Ok(("component", ended?));
    }
    let name = if dice.roll(3) == 0 { CONFINED } else { TRUSTED };
    let seldom = dice.roll(20) == 0;
    let deadline = if kind == 7 && seldom { SHORT } else { DEADLINE };
    let call = Call::new().named("number", number).timeout(deadline);
    let ended = tokio::time::timeout(deadline + GRACE, async {
        let (what, ended) = match kind {
            // Seldom: they pile up until their worker ends.
            5 if seldom => ("child", unary(manager, name, call.method("child"), number).await),
            6 if seldom => ("hopping child", unary(manager, name, call.method("hop"), number).await),
            // Its worker is killed for it.
            7 if seldom => ("call that hangs", unary(manager, name, call.method("hang"), number).await),
            8 => {
                let blob = manager.exchange().write(number.to_string().as_bytes(), "text/plain")?;
                ("blob", unary(manager, name, call.method("blob").blob("data", blob), number).await)
            }
            9 => ("stream", stream(manager, name, call.method("stream"), number).await),
            10 => {
                let handle = call.handle().clone();
                let wait = Duration::from_millis(dice.roll(30));
                let (ended, ()) = tokio::join!(unary(manager, name, call.method("nap"), number), async {
                    tokio::time::sleep(wait).await;
                    handle.cancel();
                });
                ("cancelled", ended)
            }
            11..=12 => ("nap", unary(manager, name, call.method("nap"), number).await),
            _ => ("plain", unary(manager, name, call, number).await),
        };
        anyhow::Ok((what, ended?))
    });
    match ended.await {
        Ok(ended) => ended,
        Err(_) => bail!("call {number} of {name} did not end within its deadline and grace"),
    }
}

/// How a stream without an end is read.
#[derive(Clone, Copy)]
enum Reader {
    /// There is always more to read.
    Slow,
    /// Reads one result, and the end when it has come.
    Stopped,
}

async fn read(manager: &PluginManager, name: &str, call: Call, reader: Reader, number: u64) -> Result<String> {
    let mut items = match manager.execute_stream(name, call).await {
        Ok(items) => items,
        Err(error) => return typed(&error, number),
    };
    let mut count = 0_u64;
    loop {
        match items.next().await {
            Some(Ok(_)) => count += 1,
            Some(Err(error)) => {
                ensure!(items.next().await.is_none(), "call {number} goes on after its error");
                return typed(&error, number);
            }
            None => bail!("call {number} ended without an error after {count} results of a stream without an end"),
        }
        match reader {
            Reader::Slow => tokio::time::sleep(Duration::from_millis(2)).await,
            Reader::Stopped => tokio::time::sleep(SHORT * 2).await,
        }
    }
}

fn typed(error: &bivium::PluginError, number: u64) -> Result<String> {
    match error.code() {
        ErrorCode::Crashed
        | ErrorCode::Interrupted
        | ErrorCode::Unavailable
        | ErrorCode::Cancelled
        | ErrorCode::Timeout => Ok(error.code().as_str().to_owned()),
        code => bail!("call {number} ended with {code}: {error}"),
    }
}

async fn unary(manager: &PluginManager, name: &str, call: Call, number: u64) -> Result<String> {
    match manager.execute(name, call).await {
        Ok(payload) => {
            ensure!(payload.json["number"] == json!(number), "call {number} has the answer {}", payload.json);
            Ok("done".to_owned())
        }
        Err(error) => typed(&error, number),
    }
}

async fn stream(manager: &PluginManager, name: &str, call: Call, number: u64) -> Result<String> {
    let mut items = match manager.execute_stream(name, call).await {
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
    for name in [TRUSTED, CONFINED] {
        loop {
            let call = Call::new().named("number", u32::MAX).timeout(PATIENCE);
            match manager.execute(name, call).await {
                Ok(_) => break,
                Err(error) if Instant::now() > until => bail!("{name} does not recover: {error}"),
                Err(error) if error.code() == ErrorCode::Unavailable => {
                    tokio::time::sleep(Duration::from_millis(100)).await
                }
                // The last kill may still be felt.
                Err(error) if matches!(error.code(), ErrorCode::Crashed | ErrorCode::Interrupted) => {}
                Err(error) => bail!("{name} does not recover: {error}"),
            }
        }
    }
    Ok(())
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
