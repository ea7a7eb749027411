//! Our own Python worker without a host: started directly, and called by a bare hyper client with prepared bodies. The answers are not
//! decoded.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::site::Site;

pub const TOKEN: &str = "the token of a floor";

/// The settings for starting a worker, or a part of one.
#[derive(Clone)]
pub struct Bare {
    python: PathBuf,
    package: PathBuf,
    /// The directory of the plugin's module.
    modules: PathBuf,
    /// The worker's own directory.
    exchange: PathBuf,
}

impl Bare {
    /// Settings with the same interpreter and plugin as our side.
    pub fn new(site: &Site) -> Result<Self> {
        Ok(Self {
            python: site.python.clone(),
            package: site.repository("python/bivium_worker").canonicalize()?,
            modules: site.repository("bench/python").canonicalize()?,
            exchange: site.directory()?,
        })
    }

    /// The directory for results that are too long for an answer.
    pub fn exchange(&self) -> &Path {
        &self.exchange
    }

    /// The interpreter, with only the environment variables that it needs, in its own process group.
    fn interpreter(&self) -> Command {
        let passed = std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME");
        let mut command = Command::new(&self.python);
        command.env_clear().envs(passed).env("TMPDIR", &self.exchange).process_group(0);
        command
    }

    /// Starts a worker that runs this many calls at once, and waits until it is ready.
    pub fn worker(&self, concurrency: usize) -> Result<Worker> {
        let (mut channel, worker_end) = UnixStream::pair()?;
        let child = self
            .interpreter()
            .arg(self.package.join("__main__.py"))
            .stdin(Stdio::from(OwnedFd::from(worker_end)))
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the interpreter")?;
        let settings = json!({
            "protocol": 1,
            "token": TOKEN,
            "name": "echo",
            "version": "1.0.0",
            "module": "echo",
            "class": "Echo",
            "source": [self.modules],
            "exchange": self.exchange,
            "concurrency": concurrency,
        });
        writeln!(channel, "{settings}")?;
        let mut line = String::new();
        BufReader::new(&channel).read_line(&mut line)?;
        let event: Value = serde_json::from_str(&line).with_context(|| format!("the worker said {line:?}"))?;
        let port = event.get("port").and_then(Value::as_u64).with_context(|| format!("the worker said {line:?}"))?;
        Ok(Worker { child, channel, port: u16::try_from(port)? })
    }

    /// Starts the least that a worker needs: an interpreter that has imported the plugin's module, JSON and threads, and has opened a
    /// socket. It reports that it is ready, and ends by itself.
    pub fn server(&self) -> Result<Child> {
        self.running(
            "import json, os, socket, sys, threading, echo\n\
             listener = socket.create_server(('127.0.0.1', 0))\n\
             os.write(1, b'.'); sys.stdin.read()",
        )
    }

    /// Starts an interpreter that has imported nothing, and waits for its standard input to end.
    pub fn nothing(&self) -> Result<Child> {
        self.running("import os, sys; os.write(1, b'.'); sys.stdin.read()")
    }

    /// Waits until the program has written its first byte.
    fn running(&self, program: &str) -> Result<Child> {
        let mut child = self
            .interpreter()
            .args(["-c", program])
            .env("PYTHONPATH", &self.modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdout.as_mut().context("a child without its pipe")?.read_exact(&mut [0])?;
        Ok(child)
    }
}

/// Ends an interpreter.
pub fn end(mut child: Child) -> Result<()> {
    drop(child.stdin.take());
    ensure!(child.wait()?.success(), "the interpreter failed");
    Ok(())
}

/// A running worker with the plugin of `bench/python/echo.py`.
pub struct Worker {
    child: Child,
    /// Closing it makes the worker end.
    channel: UnixStream,
    pub port: u16,
}

impl Worker {
    /// A new connection.
    pub async fn connect(&self) -> Result<Connection> {
        let sender = sender(self.port).await?;
        Ok(Connection {
            sender,
            port: self.port,
            host: format!("127.0.0.1:{}", self.port),
            bearer: format!("Bearer {TOKEN}"),
        })
    }

    /// Ends it.
    pub fn end(mut self) -> Result<()> {
        self.channel.shutdown(std::net::Shutdown::Both)?;
        self.child.wait()?;
        Ok(())
    }
}

async fn sender(port: u16) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(sender)
}

/// A persistent connection to a worker. If the worker has closed it because it was not used for long, it is opened again.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    port: u16,
    host: String,
    bearer: String,
}

impl Connection {
    /// Sends a body and returns the head of the answer.
    pub async fn post(&mut self, path: &str, body: &Bytes) -> Result<Response<Incoming>> {
        if self.sender.is_closed() {
            self.sender = sender(self.port).await?;
        }
        self.sender.ready().await?;
        let request = Request::post(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.bearer)
            .body(Full::new(body.clone()))?;
        let response = self.sender.send_request(request).await?;
        ensure!(response.status().is_success(), "the worker answered {}", response.status());
        Ok(response)
    }

    /// Sends a body and returns the body of the answer.
    pub async fn call(&mut self, path: &str, body: &Bytes) -> Result<Bytes> {
        Ok(self.post(path, body).await?.into_body().collect().await?.to_bytes())
    }
}

/// The body of a call with as much data as a call of our side. The answer is a constant of the same size. Calls that run at the same time
/// need different ids.
#[must_use]
pub fn constant(id: usize, size: usize) -> Bytes {
    let body =
        json!({"call": id.to_string(), "method": "constant", "kwargs": {"size": size, "text": "x".repeat(size)}});
    body.to_string().into()
}
