//! Hosts that are killed themselves.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bivium::Call;
use bivium_tests::processes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::{Dice, GONE, TRUSTED, entry, host};

/// Calls the plugin until it is killed. A line tells that it has begun.
pub(crate) async fn serve(directory: &Path, mark: &str) -> Result<()> {
    let manager = host(directory, mark).await?;
    println!("begun");
    let mut number = 0_u64;
    loop {
        number += 1;
        let method = if number.is_multiple_of(20) { "child" } else { "nap" };
        manager.execute(TRUSTED, Call::new().method(method).named("number", number)).await?;
    }
}

/// Starts a host, kills it in the middle of its work, and sees that nothing of it stays.
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
    // Its session is reclaimed by the next host there, which then leaves nothing either.
    let exchange = directory.path().join("exchange");
    drop(bivium::Exchange::builder().root(&exchange).open()?);
    let left = std::fs::read_dir(&exchange)?.count();
    ensure!(left == 0, "{left} sessions of killed hosts are left");
    Ok(())
}
