//! A worker, and the raw bytes that it writes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::shown::Shown;

const TOKEN: &str = "a token for the tests";

/// Longer than any step takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// One worker and its channel. It ends when this is dropped.
pub(crate) struct RawWorker {
    child: Child,
    /// Kept open as long as the worker shall live.
    channel: UnixStream,
    events: BufReader<UnixStream>,
    port: u64,
    pub(crate) exchange: TempDir,
}

impl RawWorker {
    /// Starts a worker for a class of `told.py`, with further settings. Does not wait until it is ready.
    pub(crate) fn start(class: &str, more: Value) -> Self {
        let exchange = TempDir::new().unwrap();
        let plugins = crate::common::plugins();
        let mut settings = json!({
            "protocol": 1, "token": TOKEN, "name": "told", "version": "1.2.3", "module": "told", "class": class,
            "source": [plugins], "exchange": exchange.path(),
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (channel, worker_end) = UnixStream::pair().unwrap();
        channel.set_read_timeout(Some(LONG)).unwrap();
        let mut command = Command::new("python3");
        command
            .arg(plugins.join("../../../python/bivium_worker"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TMPDIR", exchange.path())
            // A mark of its own: processes with this mark end with the worker.
            .env("BIVIUM_WORKER", exchange.path().file_name().unwrap())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(OwnedFd::from(worker_end)).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        // The command also contains the worker's end, with which this process would keep the channel open.
        drop(command);
        (&channel).write_all(format!("{settings}\n").as_bytes()).unwrap();
        let events = BufReader::new(channel.try_clone().unwrap());
        Self { child, channel, events, port: 0, exchange }
    }

    /// Starts a worker and waits until it is ready.
    pub(crate) fn ready(class: &str, more: Value) -> Self {
        let mut worker = Self::start(class, more);
        worker.starts();
        worker
    }

    /// Waits for the `ready` event.
    pub(crate) fn starts(&mut self) -> Value {
        let event = self.event();
        self.port = event["port"].as_u64().unwrap_or_else(|| panic!("{event}"));
        event
    }

    /// The next event on the channel.
    pub(crate) fn event(&mut self) -> Value {
        let mut line = String::new();
        while line.trim().is_empty() {
            line.clear();
            assert!(self.events.read_line(&mut line).unwrap() > 0, "the channel was closed");
        }
        serde_json::from_str(&line).unwrap()
    }

    /// The reply to a GET request.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(&self.head("GET", path, &[]))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        let body = body.to_string();
        let length = body.len().to_string();
        self.send(&(self.head("POST", path, &[("Content-Length", &length)]) + &body))
    }

    /// A call with the id `call-1`.
    pub(crate) fn call(&self, method: &str, more: Value) -> Reply {
        self.call_at("/execute", method, more)
    }

    pub(crate) fn call_at(&self, path: &str, method: &str, more: Value) -> Reply {
        let mut body = json!({"call": "call-1", "method": method});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post(path, &body)
    }

    /// A call that ends the worker.
    pub(crate) fn call_in_vain(&self, method: &str) {
        let body = json!({"method": method}).to_string();
        let head = self.head("POST", "/execute", &[("Content-Length", &body.len().to_string())]);
        let mut stream = self.connect();
        stream.write_all((head + &body).as_bytes()).unwrap();
        // The connection is closed, in one way or another.
        let _ = stream.read_to_end(&mut Vec::new());
    }

    /// The head of a valid request, except for these headers: a header without text is left out.
    pub(crate) fn head(&self, verb: &str, path: &str, headers: &[(&str, &str)]) -> String {
        let (host, bearer) = (format!("127.0.0.1:{}", self.port), format!("Bearer {TOKEN}"));
        let mut all = vec![("Host", host.as_str()), ("Authorization", bearer.as_str())];
        all.retain(|(name, _)| headers.iter().all(|(other, _)| other != name));
        all.extend(headers.iter().filter(|(_, text)| !text.is_empty()));
        let lines: String = all.iter().map(|(name, text)| format!("{name}: {text}\r\n")).collect();
        format!("{verb} {path} HTTP/1.1\r\n{lines}\r\n")
    }

    /// Sends bytes on a connection of their own.
    pub(crate) fn send(&self, request: &str) -> Reply {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Reply::read(BufReader::new(stream))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, u16::try_from(self.port).unwrap())).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Text for a snapshot, in which values that vary between runs are replaced.
    pub(crate) fn shown(&self) -> Shown {
        Shown::new(self.exchange.path())
    }
}

impl Drop for RawWorker {
    fn drop(&mut self) {
        let _ = self.channel.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// A complete reply.
pub(crate) struct Reply {
    /// The status line, and the headers.
    pub(crate) head: Vec<String>,
    pub(crate) body: String,
}

impl Reply {
    fn read(mut stream: BufReader<TcpStream>) -> Self {
        let mut line = || {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let head: Vec<String> = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty())).collect();
        let length = head.iter().find_map(|line| line.strip_prefix("Content-Length: "));
        let body = match length {
            Some(length) => text(&mut stream, length.parse().unwrap()),
            None => chunks(&mut stream),
        };
        Self { head, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn text(stream: &mut BufReader<TcpStream>, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn chunks(stream: &mut BufReader<TcpStream>) -> String {
    let mut body = String::new();
    loop {
        let mut size = String::new();
        stream.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        body += &text(stream, size);
        assert_eq!(text(stream, 2), "\r\n");
        if size == 0 {
            return body;
        }
    }
}
