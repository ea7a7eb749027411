//! Calls a worker with a plain blocking socket: one thread writes a prepared request and reads the answer.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail, ensure};

use super::worker::{TOKEN, Worker};

/// A connection to a worker.
pub struct Raw {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Raw {
    /// Connects and prepares requests with this body.
    pub fn connect(worker: &Worker, path: &str, body: &[u8]) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", worker.port))?;
        stream.set_nodelay(true)?;
        let mut request = format!(
            "POST {path} HTTP/1.1\r\ncontent-length: {}\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {TOKEN}\r\n\r\n",
            body.len(),
            worker.port
        )
        .into_bytes();
        request.extend_from_slice(body);
        Ok(Self { stream, request, answer: vec![0; 1 << 20] })
    }

    /// Sends the request, reads the answer and returns its body.
    pub fn call(&mut self) -> Result<&[u8]> {
        self.stream.write_all(&self.request)?;
        let mut have = 0;
        loop {
            let read = self.stream.read(self.answer.get_mut(have..).context("a long answer")?)?;
            ensure!(read > 0, "the worker closed the connection");
            have += read;
            let Some(whole) = length(self.answer.get(..have).context("a long answer")?)? else { continue };
            if have >= whole.end {
                return self.answer.get(whole).context("a long answer");
            }
        }
    }
}

/// The range of the body, once the head has been read.
fn length(answer: &[u8]) -> Result<Option<std::ops::Range<usize>>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(answer.get(..end).context("no head")?)?;
    ensure!(head.starts_with("HTTP/1.1 200"), "the worker answered {head}");
    for line in head.lines() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok(Some(end + 4..end + 4 + value.trim().parse::<usize>()?));
        }
    }
    bail!("an answer without its length")
}
