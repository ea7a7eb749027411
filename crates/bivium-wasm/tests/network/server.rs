//! A server on this machine that treats its clients as a test wants, and reports what it received.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Long enough for a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) requests: usize,
    /// Connections that their client has closed.
    pub(crate) closed: usize,
}

pub(crate) struct Server {
    pub(crate) port: u16,
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::serve(None).await
    }

    pub(crate) async fn start_tls(tls: TlsAcceptor) -> Self {
        Self::serve(Some(tls)).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((HOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sees, seen) = watch::channel(Seen::default());
        let sees = Arc::new(sees);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                sees.send_modify(|seen| seen.connections += 1);
                let (sees, tls) = (Arc::clone(&sees), tls.clone());
                tokio::spawn(async move {
                    let stream: Box<dyn Stream> = match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return sees.send_modify(|seen| seen.closed += 1),
                        },
                        None => Box::new(stream),
                    };
                    connection(stream, &sees).await;
                    sees.send_modify(|seen| seen.closed += 1);
                });
            }
        });
        Self { port, seen, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{HOST}:{}{path}", self.port)
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Waits until it has received this much.
    pub(crate) async fn sees(&self, enough: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(SOON, seen.wait_for(|seen| enough(seen))).await;
        assert!(waited.is_ok(), "{:?}", self.seen());
    }
}

/// Serves one connection until its client closes it.
async fn connection(mut stream: Box<dyn Stream>, sees: &watch::Sender<Seen>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    sees.send_modify(|seen| seen.requests += 1);
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let _ = answer(&mut *stream, path, &head).await;
    // Sends nothing more; waits until the client closes.
    let mut rest = [0; 4096];
    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
}

async fn answer(stream: &mut dyn Stream, path: &str, head: &str) -> std::io::Result<()> {
    const CHUNK: [u8; 4096] = [b'x'; 4096];
    match path {
        "/silent" => Ok(()),
        "/half" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await,
        "/elsewhere" => {
            stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n").await
        }
        "/large" => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 3 << 20).as_bytes()).await?;
            for _ in 0..(3 << 20) / CHUNK.len() {
                stream.write_all(&CHUNK).await?;
            }
            Ok(())
        }
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(format!("{:x}\r\n", CHUNK.len()).as_bytes()).await?;
                stream.write_all(&CHUNK).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
        "/headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(b"X-More: ").await?;
                stream.write_all(&CHUNK).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
        // Returns the request.
        _ => {
            let length = head.len();
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}").as_bytes()).await
        }
    }
}

/// Sends one message back, over TCP or as a datagram.
pub(crate) async fn echo_tcp() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text).await;
            let _ = stream.write_all(text.to_uppercase().as_bytes()).await;
        }
    });
    (port, task)
}

pub(crate) async fn echo_udp() -> (u16, JoinHandle<()>) {
    let socket = UdpSocket::bind((HOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut bytes = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes).await {
            let text = bytes[..length].to_ascii_uppercase();
            let _ = socket.send_to(&text, peer).await;
        }
    });
    (port, task)
}
