//! Headers of a request that the guest may not set, and names that servers may confuse.

use http::{HeaderName, header};
use wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;

/// Headers of the connection, which belongs to the host, and names that a server may confuse with them. Trailers need the header that
/// announces them, so they are not possible either.
pub(super) fn is_forbidden(name: &HeaderName) -> bool {
    let known = DEFAULT_FORBIDDEN_HEADERS;
    let mut known = known.iter().chain(&[header::TE, header::TRAILER]);
    let is_proxys = name.as_str().get(..6).is_some_and(|start| read_alike(start, "proxy-"));
    let is_length = *name != header::CONTENT_LENGTH && read_alike(name.as_str(), header::CONTENT_LENGTH.as_str());
    is_proxys || is_length || known.any(|known| read_alike(name.as_str(), known.as_str()))
}

/// Whether a server may confuse two header names: CGI and similar interfaces distinguish only letters and digits. Both are in lower
/// case.
pub(super) fn read_alike(one: &str, other: &str) -> bool {
    let read = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    one.bytes().map(read).eq(other.bytes().map(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_cannot_be_set_by_the_guest() {
        for name in ["host", "connection", "proxy-authorization", "proxy-anything", "transfer-encoding", "upgrade"] {
            assert!(is_forbidden(&name.parse().unwrap()), "{name}");
        }
        for name in ["transfer_encoding", "content_length", "proxy_authorization", "proxy.x", "te", "trailer", "HOST"] {
            assert!(is_forbidden(&name.parse().unwrap()), "{name}");
        }
        for name in ["authorization", "content-length", "x-key", "x_key", "proxies", "hosts", "cookie"] {
            assert!(!is_forbidden(&name.parse().unwrap()), "{name}");
        }
    }
}
