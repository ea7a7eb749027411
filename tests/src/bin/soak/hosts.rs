//! Whole hosts that are killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bivium::{Call, PluginManager};
use bivium_tests::processes;
use futures_util::StreamExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::{COMPONENT, CONFINED, Dice, GONE, TRUSTED, entry, host};

/// Calls the plugins, at the same time, until this process is killed. Prints a line when it has begun.
pub(crate) async fn serve(directory: &Path, mark: &str) -> Result<()> {
    let manager = host(directory, mark).await?;
    println!("begun");
    tokio::try_join!(
        work(&manager, TRUSTED),
        work(&manager, CONFINED),
        streams(&manager, TRUSTED, "for_ever"),
        streams(&manager, CONFINED, "for_ever"),
        streams(&manager, COMPONENT, "for-ever"),
    )?;
    Ok(())
}

async fn work(manager: &PluginManager, name: &str) -> Result<()> {
    let mut number = 0_u64;
    loop {
        number += 1;
        let call = Call::new().named("number", number);
        let call = match number % 20 {
            0 => call.method("child"),
            5 => call.method("hop"),
            _ if number.is_multiple_of(2) => {
                call.method("blob").blob("data", manager.exchange().write(b"lent", "text/plain")?)
            }
            _ => call.method("nap"),
        };
        manager.execute(name, call).await?;
    }
}

async fn streams(manager: &PluginManager, name: &str, method: &'static str) -> Result<()> {
    let call = Call::new().method(method);
    let call = if name == COMPONENT { call } else { call.named("number", 0) };
    let mut items = manager.execute_stream(name, call).await?;
    while let Some(item) = items.next().await {
        item?;
    }
    bail!("an endless stream has ended")
}

/// Starts a host, kills it in the middle of its work, and checks that nothing of it is left.
pub(crate) async fn kill_one(mark: &str, dice: &Dice) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("host")
        .arg(directory.path())
        .arg(mark)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().context("it has no output")?;
    let begun = BufReader::new(output).lines().next_line().await?;
    ensure!(begun.as_deref() == Some("begun"), "a host did not start");
    tokio::time::sleep(Duration::from_millis(dice.roll(300))).await;
    child.kill().await?;
    processes::all_gone(&entry(mark), GONE).await?;
    // The next host there reclaims its session, and leaves nothing either.
    let exchange = directory.path().join("exchange");
    drop(bivium::Exchange::builder().root(&exchange).open()?);
    let left = std::fs::read_dir(&exchange)?.count();
    ensure!(left == 0, "{left} sessions of killed hosts are left");
    Ok(())
}
