//! HTTP. `to` is `SCHEME://AUTHORITY[PATH]`.

use std::cell::RefCell;

use serde_json::{Value, json};

use crate::wasi::http::outgoing_handler::handle;
use crate::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme, http_error_code,
};
use crate::wasi::io::streams::StreamError;
use crate::{Outcome, Probe, text};

pub(crate) const METHODS: &[(&str, Probe)] = &[
    // Sends a request and reads the whole response.
    ("request", |arguments| read(respond(send(arguments)?)?)),
    // What the request says of itself before it is sent.
    ("request-headers", |arguments| Ok(headers(&request(arguments)?.headers()))),
    ("request-keep", keep),
    ("request-drop", |_| {
        KEPT.take();
        Ok(json!(null))
    }),
];

enum Kept {
    Request(#[expect(dead_code, reason = "only held")] FutureIncomingResponse),
    Response(#[expect(dead_code, reason = "only held")] IncomingResponse),
}

thread_local! {
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

fn code(error: ErrorCode) -> String {
    format!("{error:?}")
}

fn request(arguments: &Value) -> Result<OutgoingRequest, String> {
    let fields = Fields::new();
    for (name, value) in arguments["headers"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default().as_bytes();
        fields.append(name, value).map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(fields);
    let (scheme, rest) = text(arguments, "to").split_once("://").ok_or("no scheme")?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let refused = |what: &str| format!("{what} is refused");
    if let Some(method) = arguments["method"].as_str() {
        let method = match method {
            "CONNECT" => Method::Connect,
            "TRACE" => Method::Trace,
            "POST" => Method::Post,
            other => Method::Other(other.to_owned()),
        };
        request.set_method(&method).map_err(|()| refused("method"))?;
    }
    request.set_scheme(Some(&scheme)).map_err(|()| refused("scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| refused("authority"))?;
    request.set_path_with_query(Some(path)).map_err(|()| refused("path"))?;
    Ok(request)
}

fn send(arguments: &Value) -> Result<FutureIncomingResponse, String> {
    let request = request(arguments)?;
    let options = RequestOptions::new();
    let ns = |name: &str| arguments[name].as_u64().map(|ms| ms * 1_000_000);
    let _ = options.set_connect_timeout(ns("connect-ms"));
    let _ = options.set_first_byte_timeout(ns("first-byte-ms"));
    let _ = options.set_between_bytes_timeout(ns("between-bytes-ms"));
    let body = request.body().map_err(|()| "no body")?;
    let response = handle(request, Some(options)).map_err(code)?;
    if let Some(bytes) = arguments["body"].as_str() {
        let stream = body.write().map_err(|()| "no stream")?;
        for piece in bytes.as_bytes().chunks(4096) {
            stream.blocking_write_and_flush(piece).map_err(|error| format!("{error:?}"))?;
        }
    }
    OutgoingBody::finish(body, None).map_err(code)?;
    Ok(response)
}

fn respond(future: FutureIncomingResponse) -> Result<IncomingResponse, String> {
    loop {
        match future.get() {
            Some(response) => return response.map_err(|()| "taken twice")?.map_err(code),
            None => future.subscribe().block(),
        }
    }
}

fn headers(fields: &Fields) -> Value {
    let entries = fields.entries().into_iter();
    entries.map(|(name, value)| (name, json!(String::from_utf8_lossy(&value)))).collect()
}

/// Status, headers, and how long the body is; with as much of it as is text for a test.
fn read(response: IncomingResponse) -> Outcome {
    let body = response.consume().map_err(|()| "no body")?;
    let stream = body.stream().map_err(|()| "no stream")?;
    let (mut start, mut bytes) = (Vec::new(), 0);
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => {
                bytes += piece.len();
                start.extend(piece.into_iter().take(4096 - start.len()));
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(http_error_code(&error).map_or_else(|| error.to_debug_string(), code));
            }
        }
    }
    drop(stream);
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let start = String::from_utf8_lossy(&start);
    Ok(json!({"status": response.status(), "headers": headers(&response.headers()), "bytes": bytes, "body": start}))
}

/// Sends the request `times` times and keeps all open: with `head`, the responses, unread, else what will be answered.
fn keep(arguments: &Value) -> Outcome {
    for _ in 0..arguments["times"].as_u64().unwrap_or_default() {
        let future = send(arguments)?;
        let kept = if arguments["head"] == true { Kept::Response(respond(future)?) } else { Kept::Request(future) };
        KEPT.with_borrow_mut(|all| all.push(kept));
    }
    Ok(json!(KEPT.with_borrow(Vec::len)))
}
