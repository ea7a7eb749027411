//! Calls of every kind, and how they may end.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bivium::{Call, ErrorCode, PluginError, PluginManager};
use futures_util::StreamExt;
use serde_json::json;

use crate::cleaner::Cleaner;
use crate::{BLOBS, COMPONENT, CONFINED, Dice, TRUSTED};

/// How long a call may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// The deadline of an endless stream.
const SHORT: Duration = Duration::from_millis(300);

/// How long a call may take beyond its deadline: 2 s until its worker is ended, 1.5 s until its guard is ended, and the time to find
/// all processes that they started, on a busy machine.
const GRACE: Duration = Duration::from_secs(10);

/// How long plugins may take to recover after the kills.
const RECOVERY: Duration = Duration::from_secs(60);

/// What the calls share.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) manager: PluginManager,
    pub(crate) dice: Arc<Dice>,
    pub(crate) cleaner: Arc<Cleaner>,
}

/// The kind of a call, its plugin, and how it ended.
pub(crate) struct Ended {
    pub(crate) kind: &'static str,
    pub(crate) plugin: &'static str,
    pub(crate) how: String,
}

const WORKERS: &[&str] = &[TRUSTED, CONFINED];

/// The kinds of calls in a run, with their plugins.
pub(crate) const KINDS: &[(&str, &[&str])] = &[
    ("slow reader", &[TRUSTED, CONFINED, COMPONENT]),
    ("reader that stops", &[TRUSTED, CONFINED, COMPONENT]),
    ("stream", WORKERS),
    ("plain", &[TRUSTED, CONFINED, COMPONENT]),
    ("blob", &[TRUSTED, CONFINED, BLOBS]),
    ("long JSON", WORKERS),
    ("nap", WORKERS),
    ("cancelled", WORKERS),
    ("child", WORKERS),
    ("hopping child", WORKERS),
    ("call that hangs", WORKERS),
];

/// There is one call of each of these kinds for each plugin in this many calls: their processes pile up until their worker ends, or
/// the worker is killed because of them.
const SELDOM: u64 = 400;

fn kind(dice: &Dice, number: u64) -> (&'static str, &'static str) {
    let of = |plugins: &'static [&'static str]| plugins.get(dice.roll(plugins.len() as u64) as usize).copied();
    match number % SELDOM {
        60 => return ("child", TRUSTED),
        120 => return ("child", CONFINED),
        180 => return ("hopping child", TRUSTED),
        240 => return ("hopping child", CONFINED),
        300 => return ("call that hangs", TRUSTED),
        360 => return ("call that hangs", CONFINED),
        _ => {}
    }
    match dice.roll(16) {
        0 | 1 => ("slow reader", of(&[TRUSTED, CONFINED, COMPONENT]).unwrap_or(TRUSTED)),
        2 | 3 => ("reader that stops", of(&[TRUSTED, CONFINED, COMPONENT]).unwrap_or(TRUSTED)),
        4 => ("plain", COMPONENT),
        5 => ("blob", BLOBS),
        roll => {
            // Two workers with two places each, and two with one.
            let plugin = of(&[TRUSTED, TRUSTED, CONFINED]).unwrap_or(TRUSTED);
            let kind = match roll {
                6 | 7 => "blob",
                8 => "stream",
                9 => "long JSON",
                10 => "cancelled",
                11 | 12 => "nap",
                _ => "plain",
            };
            (kind, plugin)
        }
    }
}

/// Runs one call. Fails if it ended in a wrong way, or too late.
pub(crate) async fn one(ground: &Ground, number: u64) -> Result<Ended> {
    let (kind, plugin) = kind(&ground.dice, number);
    let deadline = match kind {
        "slow reader" | "reader that stops" | "call that hangs" => SHORT,
        _ => DEADLINE,
    };
    let call = Call::new().timeout(deadline);
    let takes_number = plugin != BLOBS && (plugin != COMPONENT || kind == "plain");
    let call = if takes_number { call.named("number", number) } else { call };
    let ended = tokio::time::timeout(deadline + GRACE, run(ground, kind, plugin, call, number));
    match ended.await {
        Ok(how) => Ok(Ended { kind, plugin, how: how.with_context(|| format!("{kind} of {plugin}"))? }),
        Err(_) => bail!("call {number}, {kind} of {plugin}, did not end within its deadline and grace"),
    }
}

async fn run(ground: &Ground, kind: &str, plugin: &str, call: Call, number: u64) -> Result<String> {
    let Ground { manager, dice, .. } = ground;
    match kind {
        "slow reader" | "reader that stops" => {
            let method = if plugin == COMPONENT { "for-ever" } else { "for_ever" };
            let reader = if kind == "slow reader" { Reader::Slow } else { Reader::Stopped };
            read(manager, plugin, call.method(method), reader, number).await
        }
        "blob" => blob(ground, plugin, call, number).await,
        "stream" => stream(manager, plugin, call.method("stream"), number).await,
        "long JSON" => long(ground, plugin, call, number).await,
        "cancelled" => {
            let handle = call.handle().clone();
            let wait = Duration::from_millis(dice.roll(30));
            let (ended, ()) = tokio::join!(unary(manager, plugin, call.method("nap"), number), async {
                tokio::time::sleep(wait).await;
                handle.cancel();
            });
            ended
        }
        "nap" => unary(manager, plugin, call.method("nap"), number).await,
        "child" => unary(manager, plugin, call.method("child"), number).await,
        "hopping child" => unary(manager, plugin, call.method("hop"), number).await,
        "call that hangs" => unary(manager, plugin, call.method("hang"), number).await,
        _ if plugin == COMPONENT => unary(manager, plugin, call.method("echo"), number).await,
        _ => unary(manager, plugin, call, number).await,
    }
}

/// Passes a file and gets one back. Either may be removed meanwhile; only then may the call report that a file is missing.
async fn blob(Ground { manager, dice, cleaner }: &Ground, plugin: &str, call: Call, number: u64) -> Result<String> {
    let now = cleaner.now();
    let text = format!("number {number}");
    let lent = manager.exchange().write(text.as_bytes(), "text/plain");
    let lent = match lent {
        Ok(lent) => lent,
        Err(error) => return lost(&error, cleaner.was_here_since(now), number),
    };
    // Gives the cleaner time to remove the file.
    tokio::time::sleep(Duration::from_millis(dice.roll(20))).await;
    let (method, expected) =
        if plugin == BLOBS { ("upper", text.to_uppercase()) } else { ("blob", text.clone() + &text) };
    let call = call.method(method).blob("data", lent);
    let payload = match manager.execute(plugin, call).await {
        Ok(payload) => payload,
        Err(error) => return lost(&error, cleaner.was_here_since(now), number),
    };
    let made = payload.blobs.first().with_context(|| format!("call {number} gives no file"))?;
    match std::fs::read_to_string(made.path()) {
        Ok(made) => ensure!(made == expected, "call {number} gives a file of {made:?}, not {expected:?}"),
        Err(_) if cleaner.was_here_since(now) => return Ok("done, and its file removed".to_owned()),
        Err(error) => bail!("the file that call {number} gives cannot be read: {error}"),
    }
    Ok("done".to_owned())
}

/// Arguments and a result that are sent as files.
async fn long(Ground { manager, cleaner, .. }: &Ground, plugin: &str, call: Call, number: u64) -> Result<String> {
    let now = cleaner.now();
    let text = "long ".repeat(60_000);
    match manager.execute(plugin, call.method("echo").named("text", text.clone())).await {
        Ok(payload) => {
            let expected = json!({"number": number, "text": text});
            ensure!(payload.json == expected, "call {number} does not give its arguments back");
            Ok("done".to_owned())
        }
        Err(error) => lost(&error, cleaner.was_here_since(now), number),
    }
}

/// How a call ended whose files may have been removed.
fn lost(error: &PluginError, may_be: bool, number: u64) -> Result<String> {
    let code = error.code();
    // A plugin that opens a removed file gets Python's own error.
    let is_lost = code == ErrorCode::NotFound || error.message().contains("No such file or directory");
    if may_be && is_lost { Ok(code.as_str().to_owned()) } else { typed(error, number) }
}

/// How an endless stream is read.
#[derive(Clone, Copy)]
enum Reader {
    /// Reads slowly: there is always more to read.
    Slow,
    /// Reads one result, and later the end.
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

fn typed(error: &PluginError, number: u64) -> Result<String> {
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

/// Checks that calls are served again when nothing is killed any more.
pub(crate) async fn recovers(manager: &PluginManager) -> Result<()> {
    let until = Instant::now() + RECOVERY;
    for name in [TRUSTED, CONFINED] {
        loop {
            let call = Call::new().named("number", u32::MAX).timeout(RECOVERY);
            match manager.execute(name, call).await {
                Ok(_) => break,
                Err(error) if Instant::now() > until => bail!("{name} does not recover: {error}"),
                Err(error) if error.code() == ErrorCode::Unavailable => {
                    tokio::time::sleep(Duration::from_millis(100)).await
                }
                // The last kill may still have an effect.
                Err(error) if matches!(error.code(), ErrorCode::Crashed | ErrorCode::Interrupted) => {}
                Err(error) => bail!("{name} does not recover: {error}"),
            }
        }
    }
    Ok(())
}

/// Checks that no call began twice, whatever was killed meanwhile.
pub(crate) fn each_ran_once(marks: &Path) -> Result<()> {
    let text = std::fs::read_to_string(marks)?;
    let mut seen = HashSet::new();
    for line in text.lines().filter(|line| *line != u32::MAX.to_string()) {
        ensure!(seen.insert(line), "call {line} ran twice");
    }
    Ok(())
}
