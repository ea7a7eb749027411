//! WASI's name lookup, for names that a rule of the plugin's sockets matches.

use std::net::IpAddr;
use std::sync::Arc;
use std::vec;

use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::runtime::{self, AbortOnDropJoinHandle};

use super::grant::PERMISSION;
use super::sockets::Sockets;
use crate::store::Use;

/// Why a lookup returns no address.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NoAddress {
    NotAName,
    Denied,
    NotFound,
    NotYet,
}

/// The addresses of a name, as soon as they are known.
pub(crate) enum Lookup {
    Pending(AbortOnDropJoinHandle<Result<Vec<IpAddr>, NoAddress>>),
    Done(Result<vec::IntoIter<IpAddr>, NoAddress>),
}

impl Lookup {
    /// # Errors
    /// If it is not a name, or no rule matches it.
    pub(super) fn start(sockets: &Arc<Sockets>, name: &str) -> Result<Self, NoAddress> {
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self::Done(Ok(vec![address].into_iter())));
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if !is_name(&name) {
            return Err(NoAddress::NotAName);
        }
        let asked = sockets.access.asks(PERMISSION, format!("dns://{name}"));
        if !sockets.grant.admit_lookup(&name) {
            asked.denied("no `tcp` or `udp` rule of its manifest matches it");
            return Err(NoAddress::Denied);
        }
        let sockets = Arc::clone(sockets);
        Ok(Self::Pending(runtime::spawn(async move { find(&sockets, &asked, name).await })))
    }

    /// The next address; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<IpAddr>, NoAddress> {
        match self {
            Self::Pending(_) => Err(NoAddress::NotYet),
            Self::Done(Ok(addresses)) => Ok(addresses.next()),
            Self::Done(Err(error)) => Err(*error),
        }
    }
}

/// ASCII only: whoever looks up another name must encode it first (IDNA).
fn is_name(name: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=253).contains(&name.len()) && name.bytes().all(part)
}

async fn find(sockets: &Sockets, asked: &Use, name: String) -> Result<Vec<IpAddr>, NoAddress> {
    let addresses = sockets.grant.look_up(name.clone()).await.map_err(|error| {
        asked.failed(&error);
        NoAddress::NotFound
    })?;
    for address in &addresses {
        if let Err(why) = sockets.grant.admit_looked_up(&name, *address) {
            asked.denied(&why);
            return Err(NoAddress::Denied);
        }
    }
    if !asked.granted() {
        return Err(NoAddress::Denied);
    }
    sockets.remember(&name, &addresses);
    Ok(addresses)
}

#[async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        if let Self::Pending(handle) = self {
            *self = Self::Done(handle.await.map(Vec::into_iter));
        }
    }
}
