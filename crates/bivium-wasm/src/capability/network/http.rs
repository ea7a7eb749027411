//! WASI's HTTP client: checks a request before it is sent.

use std::sync::Arc;

use bivium_interface::policy::Scheme;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use wasmtime_wasi_http::p2::bindings::http::types::{DnsErrorPayload, ErrorCode};
use wasmtime_wasi_http::{Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use super::grant::{NetworkGrant, PERMISSION};
use super::headers::is_forbidden;
use super::send::{self, Answer};
use super::target::Target;
use crate::store::AccessRecorder;

/// The HTTP side of one instance.
pub(super) struct Http {
    pub(super) ctx: WasiHttpCtx,
    pub(super) hooks: Hooks,
}

impl Http {
    /// About the most bytes that one set of headers of a guest may take; a guest may hold many sets.
    const FIELDS: usize = 32 << 10;

    pub(super) fn new(grant: &Arc<NetworkGrant>, access: &Arc<AccessRecorder>, response_bytes: u64) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(Self::FIELDS);
        Self { ctx, hooks: Hooks { grant: Arc::clone(grant), access: Arc::clone(access), response_bytes } }
    }
}

pub(super) struct Hooks {
    grant: Arc<NetworkGrant>,
    access: Arc<AccessRecorder>,
    response_bytes: u64,
}

impl Hooks {
    fn start(
        &mut self,
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<impl Future<Output = Result<Answer, Error>> + Send + use<>, Error> {
        // CONNECT turns the connection into a tunnel. TRACE returns what it sends, secrets included.
        let method = request.method().as_str();
        if ["CONNECT", "TRACE", "TRACK"].iter().any(|refused| method.eq_ignore_ascii_case(refused)) {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let target = target(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        let host = host_header(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        let asked = self.access.asks(PERMISSION, target.to_string());
        self.grant.admit(&target).map_err(|why| {
            asked.denied(why);
            Error::HttpRequestDenied
        })?;
        request.headers_mut().insert(header::HOST, host);
        // Only a proxy needs the whole URI.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        Ok(send::send(Arc::clone(&self.grant), asked, target, request, options, self.response_bytes))
    }
}

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        is_forbidden(name)
    }

    fn set_host_header(&mut self) -> bool {
        false
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        64 << 10
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        match self.start(request, options.unwrap_or_default()) {
            Ok(sending) => Box::new(sending),
            Err(error) => Box::new(std::future::ready(Err(error))),
        }
    }

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        if error.is_parse_too_large() {
            ErrorCode::HttpResponseHeaderSectionSize(None)
        } else if error.is_incomplete_message() {
            ErrorCode::HttpResponseIncomplete
        } else if error.is_timeout() {
            ErrorCode::HttpResponseTimeout
        } else if error.is_closed() || error.is_canceled() {
            ErrorCode::ConnectionTerminated
        } else {
            ErrorCode::HttpProtocolError
        }
    }

    fn p2_error_from_connect(&mut self, error: &std::io::Error) -> ErrorCode {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
            std::io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            std::io::ErrorKind::NotFound => {
                ErrorCode::DnsError(DnsErrorPayload { rcode: Some("NXDOMAIN".to_owned()), info_code: None })
            }
            _ => ErrorCode::DestinationUnavailable,
        }
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        use tokio_rustls::rustls;
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                ErrorCode::TlsCertificateError
            }
            _ => ErrorCode::TlsProtocolError,
        }
    }
}

/// The target of a request. `None` if the authority is not plain: it has a user's name, or an invalid port.
fn target(uri: &Uri) -> Option<Target> {
    let scheme = match uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        _ => return None,
    };
    let authority = uri.authority()?;
    let host = authority.host();
    let port = match authority.as_str().strip_prefix(host)? {
        "" => scheme.default_port()?,
        port => port.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)?,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!bare.is_empty()).then(|| Target::new(scheme, bare, port))
}

/// The value of the header `Host`: the authority as the guest wrote it.
fn host_header(uri: &Uri) -> Option<HeaderValue> {
    HeaderValue::from_str(uri.authority()?.as_str()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_authorities_are_targets() {
        let target = |text: &str| target(&text.parse().unwrap()).map(|target| target.to_string());
        for (text, expected) in [
            ("https://API.example.com./x", "https://api.example.com:443"),
            ("http://example.com:8080", "http://example.com:8080"),
            ("http://[::1]/", "http://[::1]:80"),
            ("http://[::1]:81/", "http://[::1]:81"),
        ] {
            assert_eq!(target(text).as_deref(), Some(expected));
        }
        for text in [
            "https://user@example.com/",
            "https://user:8080@example.com/",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://example.com:/",
            "https://:443/",
            "ftp://example.com/",
            "/x",
        ] {
            let Ok(uri) = text.parse::<Uri>() else { continue };
            assert_eq!(super::target(&uri), None, "{text}");
        }
    }
}
