//! Requests to one worker over kept HTTP/1.1 connections.
//!
//! There are two kinds, each with connections of its own. *Calls* run the plugin's code; their connections belong
//! to the worker's main thread for good. *Controls* (cancel, progress, stats) are answered while a call runs, which
//! is certain only on a connection that has never carried a call.

use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bivium_instances::document::{DocumentLimits, Pace};
use bivium_interface::{PluginError, Result};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::coop::has_budget_remaining;

use crate::wire::ErrorReply;
use crate::wire::answer::{Answer, decode};

/// Controls are answered at once, unless the plugin holds the interpreter lock.
const CONTROL_TIME: Duration = Duration::from_secs(5);
const CONTROL_BYTES: usize = 1 << 20;
const CONTROL: DocumentLimits = DocumentLimits { text: CONTROL_BYTES, held: 64 * CONTROL_BYTES };

/// How often connecting is tried again if the worker closes the connection before it has seen the token.
const ATTEMPTS: usize = 20;

/// The kernel's receive buffer for a reply that nobody reads yet: a stream's generator can be ahead of its reader by at most
/// this and the worker's send buffer. (By default the buffers of loopback sockets grow to several MiB.)
const READ_AHEAD: u32 = 128 << 10;

/// How often a connection's driver is polled again in one poll, before other tasks run.
const MOST_TURNS: usize = 32;

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;
type Answered = hyper::Result<Response<Incoming>>;

/// A connection with its driver, which is polled by the task that waits for the reply: so a call needs no other task. Between calls
/// nobody polls it; that the worker has closed it is noticed by the next call.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: ConnectionDriver,
}

impl Connection {
    fn new(sender: SendRequest<Full<Bytes>>, driver: Driver) -> Self {
        let flag = Arc::<WakeFlag>::default();
        let driver = ConnectionDriver { driver: Some(driver), waker: Waker::from(Arc::clone(&flag)), flag };
        Self { sender, driver }
    }

    /// Sends a request as far as possible without waiting; returns the future of the answer, for [`drive`](Self::drive).
    pub(crate) fn send(&mut self, request: Request<Full<Bytes>>) -> impl Future<Output = Answered> + Send + use<> {
        let answer = self.sender.send_request(request);
        self.driver.advance();
        answer
    }

    /// Runs `work`, which waits for this connection and for nothing else, and drives the connection meanwhile.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| self.driver.poll(cx, |cx| work.as_mut().poll(cx))).await
    }

    /// Waits until a request can be sent. False if the worker has closed it.
    async fn is_ready(&mut self) -> bool {
        let Self { sender, driver } = self;
        driver.advance();
        poll_fn(|cx| driver.poll(cx, |cx| sender.poll_ready(cx).map(|ready| ready.is_ok()))).await
    }
}

/// Drives a connection.
struct ConnectionDriver {
    /// None after the connection has ended.
    driver: Option<Driver>,
    flag: Arc<WakeFlag>,
    /// Sets the wake flag.
    waker: Waker,
}

impl ConnectionDriver {
    /// Drives the connection as far as possible now.
    fn advance(&mut self) {
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(&mut Context::from_waker(&self.waker)).is_ready()
        {
            // If it broke, the future of the answer has the error.
            self.driver = None;
        }
    }

    /// Polls `look`, which only this connection can make ready, and drives the connection meanwhile.
    fn poll<T>(&mut self, cx: &mut Context<'_>, mut look: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let mut unwoken = Context::from_waker(Waker::noop());
        self.flag.waiting.store(false, Ordering::SeqCst);
        for _ in 0..MOST_TURNS {
            if let Poll::Ready(found) = look(&mut unwoken) {
                return Poll::Ready(found);
            }
            self.flag.is_set.store(false, Ordering::SeqCst);
            self.advance();
            if let Poll::Ready(found) = look(&mut unwoken) {
                return Poll::Ready(found);
            }
            self.flag.waiter.register(cx.waker());
            self.flag.waiting.store(true, Ordering::SeqCst);
            if !has_budget_remaining() {
                // The task's budget is used up: sockets and channels return `Pending` until the task has yielded.
                break;
            }
            if !self.flag.is_set.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
            self.flag.waiting.store(false, Ordering::SeqCst);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Wakes the task that waits for a connection, but not while that task is driving the connection anyway: a task that wakes itself
/// goes to the end of its thread's queue, and another thread is woken that might steal it.
#[derive(Default)]
struct WakeFlag {
    waiting: AtomicBool,
    is_set: AtomicBool,
    waiter: AtomicWaker,
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_set.store(true, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) {
            self.waiter.wake();
        }
    }
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
        // Set here, as hyper sends no length for an empty body.
        let length = HeaderValue::from(body.len());
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        request.headers_mut().insert(CONTENT_LENGTH, length);
        // The paths are fixed; a call's id has only hexadecimal digits.
        *request.uri_mut() = path.parse().unwrap_or_default();
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(AUTHORIZATION, self.bearer.clone());
        request
    }

    /// Sends a control request, which is answered while a call runs.
    pub(crate) async fn control<T: DeserializeOwned + Send + 'static>(&self, method: Method, path: &str) -> Result<T> {
        let ask = async {
            let mut connection = self.take(&self.controls).await?;
            let answer = connection.send(self.request(method, path, Vec::new()));
            let response = connection.drive(answer).await.map_err(broken)?;
            let ok = response.status().is_success();
            let body = connection.drive(collect(response, CONTROL_BYTES)).await?;
            put(&self.controls, connection);
            let pace = Pace::endless();
            if ok {
                return decode(body, Answer::Control, CONTROL, &pace).await;
            }
            Err(decode::<ErrorReply, _>(body, Answer::Error, CONTROL, &pace).await?.error.into())
        };
        match tokio::time::timeout(CONTROL_TIME, ask).await {
            Ok(answer) => answer,
            Err(_) => Err(PluginError::unavailable(
                "the worker does not answer: its plugin seems to hold the interpreter lock",
            )),
        }
    }

    async fn take(&self, kept: &Mutex<Vec<Connection>>) -> Result<Connection> {
        while let Some(mut connection) = pop(kept) {
            if connection.is_ready().await {
                return Ok(connection);
            }
        }
        let failed = |error| PluginError::protocol(format!("cannot connect to the worker: {error}"));
        for _ in 0..ATTEMPTS {
            let mut connection = self.connect().await.map_err(failed)?;
            if self.shows_token(&mut connection).await {
                return Ok(connection);
            }
        }
        Err(failed(std::io::ErrorKind::ConnectionReset.into()))
    }

    /// Sends a request without consequences on a new connection. Until the worker has seen the token, it may close the connection
    /// when many are open. False if it did: nothing was lost then.
    async fn shows_token(&self, connection: &mut Connection) -> bool {
        if !connection.is_ready().await {
            return false;
        }
        let answer = connection.send(self.request(Method::GET, "/health", Vec::new()));
        let Ok(response) = connection.drive(answer).await else { return false };
        connection.drive(collect(response, CONTROL_BYTES)).await.is_ok() && connection.is_ready().await
    }

    async fn connect(&self) -> std::io::Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(READ_AHEAD)?;
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        Ok(Connection::new(sender, driver))
    }
}

fn pop(kept: &Mutex<Vec<Connection>>) -> Option<Connection> {
    kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn put(kept: &Mutex<Vec<Connection>>, connection: Connection) {
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
}

/// A reply's whole body, if it is not longer than `limit`.
async fn collect(response: Response<Incoming>, limit: usize) -> Result<Bytes> {
    match Limited::new(response.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(PluginError::protocol(format!("the worker's reply cannot be read: {error}"))),
    }
}

/// The error of a connection that broke. The caller finds out whether the worker has ended.
pub(crate) fn broken(error: hyper::Error) -> PluginError {
    PluginError::protocol(format!("the connection to the worker broke: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A worker that answers the first request of each connection itself, which contains the token, and then passes the
    /// connection on.
    fn worker(closes_first: usize) -> (Client, std::sync::mpsc::Receiver<std::net::TcpStream>) {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = Client::new(listener.local_addr().unwrap().port(), "token").unwrap();
        let (give, take) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().skip(closes_first) {
                let mut stream = stream.unwrap();
                let length = stream.read(&mut [0; 1000]).unwrap();
                assert!(length > 0, "it sends the token at once");
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
                if give.send(stream).is_err() {
                    break;
                }
            }
        });
        (client, take)
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_before_the_token_was_seen_is_tried_again() {
        let (client, connections) = worker(5);
        client.for_call().await.unwrap();
        connections.recv().unwrap();
        let (client, _connections) = worker(ATTEMPTS);
        assert!(client.for_call().await.is_err(), "but not for ever");
    }

    #[tokio::test]
    async fn a_call_waits_for_its_answer_and_wakes_nobody_before() {
        let (client, connections) = worker(0);
        let mut far = None;
        for answer in ["first", "second"] {
            let mut connection = client.for_call().await.unwrap();
            let far = far.get_or_insert_with(|| connections.recv().unwrap());
            let work = connection.send(client.request(Method::POST, "/execute", b"{}".to_vec()));
            let mut call = Box::pin(async move {
                let response = connection.drive(work).await.unwrap();
                let body = connection.drive(collect(response, 100)).await.unwrap();
                (body, connection)
            });
            let count = Arc::<Count>::default();
            let waker = Waker::from(Arc::clone(&count));
            assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            let mut request = [0; 1000];
            let length = far.read(&mut request).unwrap();
            assert!(request.get(..length).unwrap().ends_with(b"\r\n\r\n{}"), "it was sent by the first poll");
            assert_eq!(count.0.load(Ordering::SeqCst), 0);
            write!(far, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()).unwrap();
            let (body, connection) = call.await;
            assert_eq!(body, answer);
            client.keep(connection);
        }
        // A connection that was closed meanwhile is not used again. It may take the machine a moment to deliver the close; the
        // runtime polls its sockets when there is nothing to run.
        drop(far);
        let is_new = async || {
            tokio::task::yield_now().await;
            let connection = client.for_call().await.unwrap();
            client.keep(connection);
            connections.try_recv().is_ok()
        };
        let mut tries = 0..100_000;
        while !is_new().await {
            tries.next().expect("the closed connection is used for ever");
        }
    }

    /// Answers every request on every connection, until the client is gone.
    fn answer_all(listener: std::net::TcpListener) {
        use std::io::{BufRead, BufReader};

        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let mut ends = BufReader::new(stream).lines().map_while(Result::ok).filter(String::is_empty);
                while ends.next().is_some() {
                    if writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue").is_err() {
                        return;
                    }
                }
            });
        }
    }

    /// Runs `work` on this runtime, in one task with all that it waits for. Fails if it does not end.
    fn ends<T: Send + 'static>(runtime: tokio::runtime::Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(runtime.block_on(work)));
        ended.recv_timeout(Duration::from_secs(20)).expect("it ends")
    }

    #[test]
    fn many_requests_in_one_task_all_end() {
        use futures_util::future::join_all;
        use tokio::runtime::Builder;

        for [connections, rounds] in [[200, 1], [1, 1000], [30, 30]] {
            for mut builder in [Builder::new_multi_thread(), Builder::new_current_thread()] {
                let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let port = listener.local_addr().unwrap().port();
                std::thread::spawn(move || answer_all(listener));
                let work = async move {
                    let client = Client::new(port, "token").unwrap();
                    let one = async || {
                        for _ in 0..rounds {
                            assert!(client.control::<bool>(Method::GET, "/stats").await.unwrap());
                        }
                    };
                    join_all((0..connections).map(|_| one())).await.len()
                };
                let runtime = builder.worker_threads(2).enable_all().build().unwrap();
                assert_eq!(ends(runtime, work), connections, "{rounds} rounds");
            }
        }
    }
}
