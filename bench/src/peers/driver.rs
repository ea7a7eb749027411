//! [`Driver`]: a Python program that runs a peer and measures it in its own process, as a user of the peer would call it.
//!
//! `bench/python/driver.py` is the other side. The driver measures the time, so the cost of the pipe to it is not included.

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

/// A running driver. Dropping it does not kill it, because the processes that it has started would go on: it ends by itself, because its
/// input is closed.
pub struct Driver {
    script: String,
    child: Child,
    requests: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Samples(std::collections::BTreeMap<String, Vec<f64>>),
    Error(String),
}

impl Driver {
    /// Starts `bench/python/SCRIPT` in `directory`. Its standard error goes to a file there. If `python` is `None`, the peer was not
    /// prepared.
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
        let requests = child.stdin.take();
        let answers = child.stdout.take().context("a child without its pipe")?;
        Ok(Self { script: script.to_owned(), child, requests, answers: BufReader::new(answers).lines() })
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// If the driver reports an error or has ended.
    pub async fn ask(&mut self, request: &Value) -> Result<std::collections::BTreeMap<String, Vec<f64>>> {
        let line = format!("{request}\n");
        self.requests.as_mut().context("the driver was told to end")?.write_all(line.as_bytes()).await?;
        let Some(answer) = self.answers.next_line().await? else {
            bail!("{} ended with {}", self.script, self.child.wait().await?);
        };
        match serde_json::from_str(&answer).with_context(|| format!("{} answered {answer:?}", self.script))? {
            Answer::Samples(samples) => Ok(samples),
            Answer::Error(error) => bail!("{}: {error}", self.script),
        }
    }

    /// Closes its input, so that it ends itself and everything that it has started.
    ///
    /// # Errors
    /// If it fails.
    pub async fn end(mut self) -> Result<()> {
        drop(self.requests.take());
        let status = self.child.wait().await?;
        if !status.success() {
            bail!("{} ended with {status}", self.script);
        }
        Ok(())
    }
}

/// A side that sends its driver the same request in each round.
pub struct Asked {
    driver: Rc<Mutex<Driver>>,
    request: Value,
}

impl Asked {
    /// # Errors
    /// Those of setting up the driver, which several sides may share.
    pub fn new(driver: &Result<Rc<Mutex<Driver>>>, request: Value) -> Result<Self> {
        match driver {
            Ok(driver) => Ok(Self { driver: Rc::clone(driver), request }),
            Err(error) => bail!("{error:#}"),
        }
    }

    /// A driver for several sides, after its first request.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn share(mut driver: Driver, request: Value) -> Result<Rc<Mutex<Driver>>> {
        driver.ask(&request).await?;
        Ok(Rc::new(Mutex::new(driver)))
    }
}

#[async_trait(?Send)]
impl Side for Asked {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        for (measure, values) in self.driver.lock().await.ask(&self.request).await? {
            samples.entry(measure).or_default().extend(values);
        }
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<()> {
        // The last side that uses the driver ends it.
        match Rc::try_unwrap(self.driver) {
            Ok(driver) => driver.into_inner().end().await,
            Err(_) => Ok(()),
        }
    }
}
