//! [`Driver`]: a Python program that runs a peer and measures it from within, as its user would call it.
//!
//! `bench/python/driver.py` has the other end. The measured time is the driver's own: what the pipe between us costs is
//! not in it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::contest::{Samples, Side};

/// A running driver. One that is dropped is not killed, for what it has started would outlive it: it ends by itself, since
/// nobody can give it orders any more.
pub struct Driver {
    script: String,
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Samples(std::collections::BTreeMap<String, Vec<f64>>),
    Error(String),
}

impl Driver {
    /// Starts `bench/python/SCRIPT`, in `directory`, with its words going to a file there. None as the interpreter means
    /// that the peer was not prepared.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(python: Option<&PathBuf>, script: &str, directory: &Path) -> Result<Self> {
        let python = python.context("its environment was not prepared")?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
        let words = std::fs::File::create(directory.join("driver.log"))?;
        let mut child = Command::new(python)
            .arg(&path)
            .current_dir(directory)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(words)
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let orders = child.stdin.take();
        let answers = child.stdout.take().context("a child without its pipe")?;
        Ok(Self { script: script.to_owned(), child, orders, answers: BufReader::new(answers).lines() })
    }

    /// Gives an order and waits for the answer.
    ///
    /// # Errors
    /// If the driver says so or has ended.
    pub async fn ask(&mut self, order: &Value) -> Result<std::collections::BTreeMap<String, Vec<f64>>> {
        let line = format!("{order}\n");
        self.orders.as_mut().context("the driver was told to end")?.write_all(line.as_bytes()).await?;
        let Some(answer) = self.answers.next_line().await? else {
            bail!("{} ended with {}", self.script, self.child.wait().await?);
        };
        match serde_json::from_str(&answer).with_context(|| format!("{} answered {answer:?}", self.script))? {
            Answer::Samples(samples) => Ok(samples),
            Answer::Error(error) => bail!("{}: {error}", self.script),
        }
    }

    /// Lets it end by itself, which ends what it has started.
    ///
    /// # Errors
    /// If it ends badly.
    pub async fn end(mut self) -> Result<()> {
        drop(self.orders.take());
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("{} ended with {status}", self.script);
        }
        Ok(())
    }
}

/// A side that gives its driver the same order each round.
pub struct Asked {
    driver: Rc<Mutex<Driver>>,
    order: Value,
}

impl Asked {
    /// # Errors
    /// Those of setting the driver up, which several sides may share.
    pub fn new(driver: &Result<Rc<Mutex<Driver>>>, order: Value) -> Result<Self> {
        match driver {
            Ok(driver) => Ok(Self { driver: Rc::clone(driver), order }),
            Err(error) => bail!("{error:#}"),
        }
    }

    /// A driver for several sides, after its first order.
    ///
    /// # Errors
    /// If it cannot be started, or the order fails.
    pub async fn share(mut driver: Driver, order: Value) -> Result<Rc<Mutex<Driver>>> {
        driver.ask(&order).await?;
        Ok(Rc::new(Mutex::new(driver)))
    }
}

#[async_trait(?Send)]
impl Side for Asked {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        for (measure, values) in self.driver.lock().await.ask(&self.order).await? {
            samples.entry(measure).or_default().extend(values);
        }
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<()> {
        // The last side that shares it ends it.
        match Rc::try_unwrap(self.driver) {
            Ok(driver) => driver.into_inner().end().await,
            Err(_) => Ok(()),
        }
    }
}
