//! Requests to one worker over kept HTTP/1.1 connections.
//!
//! There are two kinds, each with connections of its own. *Calls* run the plugin's code; their connections belong
//! to the worker's main thread for good. *Controls* (cancel, progress, stats) are answered beside a running call,
//! which only a connection that never carried a call can count on.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
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
use tokio::net::{TcpSocket, TcpStream};

use crate::wire::ErrorReply;

/// A connection, and its work, which is done by whoever waits for what comes of it: so a call crosses no task on its
/// way out and back. Between calls nobody does it; that the worker has closed it is found out with the next.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// None once it has ended.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>,
}

impl Connection {
    /// Runs what waits for this connection and for nothing else.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(&mut unwoken()) {
                return Poll::Ready(done);
            }
            self.advance(cx);
            work.as_mut().poll(&mut unwoken())
        })
        .await
    }

    /// Sends a request as far as that goes without waiting; gives what waits for the answer, to be driven.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<> {
        let answer = self.sender.send_request(request);
        self.glance().await;
        answer
    }

    /// Waits until a request can be sent. False if the worker has closed it.
    async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            self.advance(cx);
            self.sender.poll_ready(&mut unwoken()).map(|ready| ready.is_ok())
        })
        .await
    }

    /// Does what of its work can be done now.
    async fn glance(&mut self) {
        std::future::poll_fn(|cx| {
            self.advance(cx);
            Poll::Ready(())
        })
        .await;
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(cx).is_ready()
        {
            // If it broke, whoever waits for an answer hears of it.
            self.driver = None;
        }
    }
}

/// Controls are answered at once, unless the plugin holds the interpreter lock.
const CONTROL_TIME: Duration = Duration::from_secs(5);
const CONTROL_BYTES: usize = 1 << 20;

/// What the kernel may hold of a reply that nobody reads yet: a stream's generator runs ahead of its reader by no
/// more than this and the worker's own half. (Left alone, loopback sockets grow to several MiB.)
const READ_AHEAD: u32 = 128 << 10;

/// For what nothing but the connection's own work can wake: it is looked at after that anyway.
fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

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

    /// A connection for calls, kept or new, on which a request can be sent.
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
            let answer = connection.send(self.request(method, path, Vec::new())).await;
            let response = connection.drive(answer).await.map_err(broken)?;
            let ok = response.status().is_success();
            let body = connection.drive(collect(response, CONTROL_BYTES)).await?;
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
        while let Some(mut connection) = pop(kept) {
            if connection.is_ready().await {
                return Ok(connection);
            }
        }
        let failed = |error| PluginError::protocol(format!("cannot connect to the worker: {error}"));
        let mut connection = self.connect().await.map_err(failed)?;
        if connection.is_ready().await {
            return Ok(connection);
        }
        Err(failed(std::io::ErrorKind::ConnectionReset.into()))
    }

    async fn connect(&self) -> std::io::Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(READ_AHEAD)?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        Ok(Connection { sender, driver: Some(driver) })
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
