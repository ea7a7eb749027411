//! Sends one request: looks up the host, checks the addresses, adds secrets, connects, sends, and returns the response.
//!
//! Each request has its own connection. The connection's task belongs to the guest's handles: when the guest drops them, or its store
//! is dropped, the task is aborted and the connection closes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bivium_interface::policy::Scheme;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::body::ResponseBody;
use super::grant::NetworkGrant;
use super::secrets::{self, Secret};
use super::target::Target;
use crate::store::Use;
use crate::text;

/// How long connecting may take, with lookup and TLS. The guest can only shorten it.
const CONNECT: Duration = Duration::from_secs(30);
/// How long the first byte, and each further one, may take. A call's own deadline applies as well.
const READ: Duration = Duration::from_secs(600);
/// The limits of a response's head, in bytes, and of the number of its headers.
const HEAD: usize = 64 << 10;
const HEADERS: usize = 256;

/// A response, and a future that must run until it has been read.
pub(super) type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

pub(super) async fn send(
    grant: Arc<NetworkGrant>,
    asked: Use,
    target: Target,
    mut request: Request<WasiBody>,
    options: RequestOptions,
    response_bytes: u64,
) -> Result<Answer, Error> {
    let until = Instant::now() + options.connect_timeout.unwrap_or(CONNECT).min(CONNECT);
    let connecting = async {
        let addresses = addresses(&grant, &asked, &target).await?;
        let secrets = applicable(&grant, &asked, &target, &addresses)?;
        if let Some(name) = secrets::confusable(request.headers(), &secrets) {
            let name = text::name(name.as_str());
            let why = format!("servers may confuse its own header `{name}` with the header of a secret");
            asked.with("permissions.secrets", target.to_string()).denied(&why);
            return Err(Error::HttpRequestDenied);
        }
        if !asked.granted() {
            return Err(Error::HttpRequestDenied);
        }
        let stream = connect(&grant, &target, &addresses, until).await.inspect_err(|error| asked.failed(error))?;
        // The target cannot change any more.
        for secret in &secrets {
            if !asked.with("permissions.secrets", format!("{} for {target}", secret.name())).granted() {
                return Err(Error::HttpRequestDenied);
            }
        }
        secrets::fill(request.headers_mut(), &secrets);
        http1::Builder::new()
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Error::from)
    };
    let (mut sender, connection) = timeout_at(until, connecting).await.map_err(|_| Error::ConnectionTimeout)??;

    let mut connection = Box::pin(connection);
    let mut connected = true;
    let responding = async {
        let mut sending = pin!(sender.send_request(request));
        loop {
            tokio::select! {
                response = &mut sending => return response,
                _ = &mut connection, if connected => connected = false,
            }
        }
    };
    let first_byte = options.first_byte_timeout.unwrap_or(READ).min(READ);
    let response = timeout(first_byte, responding).await.map_err(|_| Error::ConnectionReadTimeout)??;
    let between = options.between_bytes_timeout.unwrap_or(READ).min(READ);
    let (head, incoming) = response.into_parts();
    let body = ResponseBody::new(incoming, asked, response_bytes, between)?;
    let beside = async move {
        if connected {
            // The body reports what went wrong.
            let _ = connection.await;
        }
        Ok(())
    };
    Ok((Response::from_parts(head, body.boxed_unsync()), Box::new(beside)))
}

/// The addresses of the target, all of which the rules allow. A name with one address that they do not allow is refused completely:
/// a name server could otherwise put a private address beside a public one.
async fn addresses(grant: &NetworkGrant, asked: &Use, target: &Target) -> Result<Vec<IpAddr>, Error> {
    let addresses = grant.addresses(target).await.map_err(|error| {
        let error = Error::DnsError { rcode: Some(error.to_string()), info_code: None };
        asked.failed(&error);
        error
    })?;
    for address in &addresses {
        grant.admit_address(target, *address).map_err(|why| {
            asked.denied(&why);
            Error::DestinationIpProhibited
        })?;
    }
    Ok(addresses)
}

/// The secrets that are sent with the request.
fn applicable<'a>(
    grant: &'a NetworkGrant,
    asked: &Use,
    target: &Target,
    addresses: &[IpAddr],
) -> Result<Vec<&'a Secret>, Error> {
    let named = |address: &IpAddr| address.is_loopback() || grant.names(target, *address);
    let is_safe = || target.scheme == Scheme::Https || addresses.iter().all(named);
    let mut applicable = Vec::new();
    for secret in &grant.secrets {
        match secret.is_for(target, is_safe) {
            Ok(true) => applicable.push(secret),
            Ok(false) => {}
            Err(why) => {
                asked.with("permissions.secrets", format!("{} for {target}", secret.name())).denied(why);
                return Err(Error::HttpRequestDenied);
            }
        }
    }
    Ok(applicable)
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Connects to the first address that answers. All attempts together must end by `until`, and each gets an equal share of the time.
async fn connect(
    grant: &NetworkGrant,
    target: &Target,
    addresses: &[IpAddr],
    until: Instant,
) -> Result<Box<dyn Transport>, Error> {
    let mut refused = io::Error::from(io::ErrorKind::TimedOut);
    for (tried, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(SocketAddr::new(*address, target.port))).await {
            Ok(Ok(stream)) => {
                // A request is written at once, and its end must not wait for an acknowledgement (Nagle's algorithm).
                let _ = stream.set_nodelay(true);
                return Ok(match target.scheme {
                    Scheme::Https => Box::new(grant.tls.connect(&target.host, stream).await.map_err(Error::Tls)?),
                    _ => Box::new(stream),
                });
            }
            Ok(Err(error)) => refused = error,
            Err(_) => refused = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(Error::Connect(refused))
}
