//! Requests to one worker over kept HTTP/1.1 connections.
//!
//! There are two kinds, each with connections of its own. *Calls* run the plugin's code; their connections belong
//! to the worker's main thread for good. *Controls* (cancel, progress, stats) are answered beside a running call,
//! which only a connection that never carried a call can count on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bivium_interface::{ErrorCode, PluginError, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpSocket;

use crate::wire::ErrorReply;

/// A kept connection.
pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// Controls are answered at once, unless the plugin holds the interpreter lock.
const CONTROL_TIME: Duration = Duration::from_secs(5);
const CONTROL_BYTES: usize = 1 << 20;

/// What the kernel may hold of a reply that nobody reads yet: a stream's generator runs ahead of its reader by no
/// more than this and the worker's own half. (Left alone, loopback sockets grow to several MiB.)
const READ_AHEAD: u32 = 128 << 10;

pub(crate) struct Client {
    address: SocketAddr,
    host: HeaderValue,
    bearer: HeaderValue,
    calls: Mutex<Vec<Connection>>,
    controls: Mutex<Vec<Connection>>,
}

impl Client {
    pub(crate) fn new(port: u16, token: &str) -> Result<Self> {
        let value =
            |text: String| HeaderValue::try_from(text).map_err(|error| PluginError::internal(error.to_string()));
        let mut bearer = value(format!("Bearer {token}"))?;
        bearer.set_sensitive(true);
        Ok(Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            host: value(format!("127.0.0.1:{port}"))?,
            bearer,
            calls: Mutex::default(),
            controls: Mutex::default(),
        })
    }

    /// A connection for calls, kept or new.
    pub(crate) async fn for_call(&self) -> Result<Connection> {
        self.take(&self.calls).await
    }

    /// Keeps a connection for the next call, after the last byte of its reply was read.
    pub(crate) fn keep(&self, connection: Connection) {
        put(&self.calls, connection);
    }

    /// A request that calls the plugin.
    pub(crate) fn request(&self, method: Method, path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
        // Said outright, for hyper does not say that an empty body is empty.
        let length = HeaderValue::from(body.len());
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        request.headers_mut().insert(CONTENT_LENGTH, length);
        // Paths are ours; a call's id has only hexadecimal digits.
        *request.uri_mut() = path.parse().unwrap_or_default();
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(AUTHORIZATION, self.bearer.clone());
        request
    }

    /// Asks what is answered beside a running call.
    pub(crate) async fn control<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T> {
        let ask = async {
            let mut connection = self.take(&self.controls).await?;
            let response = connection.send_request(self.request(method, path, Vec::new())).await.map_err(broken)?;
            let ok = response.status().is_success();
            let body = collect(response, CONTROL_BYTES).await?;
            put(&self.controls, connection);
            if ok { decode(&body) } else { Err(decode::<ErrorReply>(&body)?.error.into()) }
        };
        match tokio::time::timeout(CONTROL_TIME, ask).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(PluginError::unavailable("the worker does not answer, so its plugin holds the interpreter lock"))
            }
        }
    }

    async fn take(&self, kept: &Mutex<Vec<Connection>>) -> Result<Connection> {
        while let Some(connection) = pop(kept) {
            if !connection.is_closed() {
                return Ok(connection);
            }
        }
        self.connect().await.map_err(|error| PluginError::protocol(format!("cannot connect to the worker: {error}")))
    }

    async fn connect(&self) -> std::io::Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(READ_AHEAD)?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        // Ends when the connection is dropped or the worker has gone; those who wait for a reply hear of it.
        tokio::spawn(async move {
            let _ = driver.await;
        });
        Ok(connection)
    }
}

fn pop(kept: &Mutex<Vec<Connection>>) -> Option<Connection> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn put(kept: &Mutex<Vec<Connection>>, connection: Connection) {
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
}

/// A reply's whole body, if it is no longer than `limit`.
async fn collect(response: Response<Incoming>, limit: usize) -> Result<Bytes> {
    match Limited::new(response.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(PluginError::protocol(format!("the worker's reply cannot be read: {error}"))),
    }
}

/// Reads a reply. What nests too deep is the plugin's fault: the worker looks at the depth of few results.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let what = error.to_string();
        if what.starts_with("recursion limit exceeded") {
            return PluginError::new(ErrorCode::PluginFailed, "the result nests deeper than a host reads it")
                .with_help("hand back at most 120 levels of lists and objects, or a file");
        }
        PluginError::protocol(format!("the worker's reply is not what the protocol says: {what}"))
    })
}

/// A connection that broke. Whether the worker has ended with it, the caller finds out.
pub(crate) fn broken(error: hyper::Error) -> PluginError {
    PluginError::protocol(format!("the connection to the worker broke: {error}"))
}
