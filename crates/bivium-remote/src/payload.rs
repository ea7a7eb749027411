//! Payloads between Rust and the wire: the arguments of a call, and results with the files that come with them.

use std::sync::Arc;

use bivium_exchange::{Area, Exchange, Window, read_at};
use bivium_interface::{Blob, Call, Payload, PluginError, Result};
use serde::Serialize;
use serde_json::Value;

use crate::client::decode;
use crate::wire::{CallRequest, LentBlob, Reply, SpilledRequest, WireBlob};

/// What of a message is not payload: the other keys, the list of blobs.
const ENVELOPE: usize = 1 << 20;

/// The longest messages of a plugin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLimits {
    /// JSON of a payload, in bytes.
    pub(crate) payload: usize,
    /// The files that a result hands back, in MiB together.
    pub(crate) blob_mb: Option<u64>,
}

impl MessageLimits {
    /// Of a whole request or reply.
    pub(crate) fn message(self) -> usize {
        self.payload.saturating_add(ENVELOPE)
    }
}

/// The body of a request to run a call.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) body: Vec<u8>,
    /// The file in which a long one lies; to be kept until the call ends.
    pub(crate) spilled: Option<Blob>,
}

/// A longer request goes to a file, so that what a connection carries stays small.
const INLINE: usize = 256 << 10;

/// The body of a request to run `call`, with its blobs as the plugin is shown them. A long one lies in the window, if the
/// plugin has one.
pub(crate) async fn encode(
    call: &Call,
    shown: &[Blob],
    unary: bool,
    limits: MessageLimits,
    exchange: &Exchange,
    window: Option<&Arc<Window>>,
) -> Result<Encoded> {
    let request = CallRequest {
        call: call.id(),
        method: &call.method,
        args: &call.positional,
        kwargs: &call.named,
        blobs: shown.iter().map(lend).collect::<Result<_>>()?,
        envelope: &call.envelope,
        deadline_s: call.handle().remaining().map(|left| left.as_secs_f64()),
        unary,
    };
    let body = json(&request)?;
    if body.len() > limits.message() {
        let message = format!("the arguments are {} bytes of JSON, and the limit is {}", body.len(), limits.payload);
        return Err(PluginError::resource_exhausted(message).with_help("send large data as a blob"));
    }
    if body.len() <= INLINE {
        return Ok(Encoded { body, spilled: None });
    }
    let (exchange, window) = (exchange.clone(), window.cloned());
    let write = move || {
        let file = exchange.write(&body, "application/json")?;
        window.map_or(Ok(file.clone()), |window| window.lend(&file))
    };
    let file = blocking(write).await?;
    let body = json(&SpilledRequest { call: call.id(), spilled: lend(&file)? })?;
    Ok(Encoded { body, spilled: Some(file) })
}

fn lend(blob: &Blob) -> Result<LentBlob<'_>> {
    let path = blob.path().to_str();
    let path = path.ok_or_else(|| PluginError::invalid_input("the path of a blob is not UTF-8"))?;
    Ok(LentBlob { path, media_type: blob.media_type(), size: blob.size() })
}

fn json(request: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(request).map_err(|error| PluginError::internal(error.to_string()))
}

/// Runs what a disk may take its time for.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PluginError::internal(error.to_string()))?
}

/// Makes a payload of a result, and takes over the files that it hands back.
pub(crate) async fn receive(reply: Reply, lent: &[Blob], area: &Arc<Area>, limits: MessageLimits) -> Result<Payload> {
    let Reply { result, spilled, blobs } = reply;
    if spilled.is_none() && blobs.is_empty() {
        return checked(Payload { json: result.ok_or_else(no_result)?, blobs: Vec::new() });
    }
    let (area, lent) = (Arc::clone(area), lent.to_vec());
    let received = move || {
        let json = match spilled {
            Some(file) => read(&area.adopt(&file.path, "application/json")?, limits)?,
            None => result.ok_or_else(no_result)?,
        };
        let mut room = limits.blob_mb.map_or(u64::MAX, |mib| mib.saturating_mul(1 << 20));
        let mut received = Vec::new();
        for blob in blobs {
            let is_new = blob.path.is_some();
            let blob = adopt(blob, &lent, &area)?;
            if is_new {
                room = room.checked_sub(blob.size()).ok_or_else(|| too_much(limits))?;
            }
            received.push(blob);
        }
        checked(Payload { json, blobs: received })
    };
    blocking(received).await
}

fn too_much(limits: MessageLimits) -> PluginError {
    let mib = limits.blob_mb.unwrap_or_default();
    PluginError::resource_exhausted(format!(
        "the files of the result are more than limits.blob_mb, {mib} MiB, together"
    ))
    .with_help("raise limits.blob_mb in the manifest, or hand back less at once")
}

fn no_result() -> PluginError {
    PluginError::protocol("the worker's reply has no result")
}

/// A long result out of its file, which goes with its handle.
fn read(file: &Blob, limits: MessageLimits) -> Result<Value> {
    if file.size() > limits.payload as u64 {
        let message = format!("the result is {} bytes of JSON, and the limit is {}", file.size(), limits.payload);
        return Err(PluginError::resource_exhausted(message).with_help("hand large data back as a file"));
    }
    let text = file.open().and_then(|file| read_at(&file, 0, limits.payload));
    decode(&text.map_err(|error| PluginError::protocol(format!("the worker's result cannot be read: {error}")))?)
}

fn adopt(blob: WireBlob, lent: &[Blob], area: &Area) -> Result<Blob> {
    match (blob.lent, blob.path) {
        (Some(index), None) => lent
            .get(index)
            .cloned()
            .ok_or_else(|| PluginError::protocol(format!("the plugin hands back lent blob {index} of {}", lent.len()))),
        (None, Some(path)) => area.adopt(&path, blob.media_type.as_deref().unwrap_or("application/octet-stream")),
        _ => Err(PluginError::protocol("a blob of the result is neither lent nor a file")),
    }
}

fn checked(payload: Payload) -> Result<Payload> {
    payload.checked().map_err(|error| PluginError::protocol(error.message()))
}

#[cfg(test)]
mod tests {
    use bivium_interface::ErrorCode;
    use serde_json::json;

    use super::*;

    const LIMITS: MessageLimits = MessageLimits { payload: 1000, blob_mb: None };

    fn wire(json: Value) -> Reply {
        serde_json::from_value(json).unwrap()
    }

    #[tokio::test]
    async fn results_take_files_from_the_area_and_lent_blobs_by_index() {
        let exchange = Exchange::open().unwrap();
        let area = Arc::new(exchange.area("test").unwrap());
        let lent = [exchange.write(b"lent", "text/plain").unwrap()];
        std::fs::write(area.path().join("made.txt"), "made").unwrap();
        let blobs = json!([{"lent": 0}, {"path": "made.txt", "media_type": "text/plain", "size": 4}]);
        let reply = wire(json!({"result": [{"$blob": 1}, {"$blob": 0}], "blobs": blobs}));
        let payload = receive(reply, &lent, &area, LIMITS).await.unwrap();
        assert_eq!(payload.blobs[0].path(), lent[0].path());
        assert_eq!(std::fs::read(payload.blobs[1].path()).unwrap(), b"made");

        for (blobs, code) in [
            (json!([{"lent": 1}]), ErrorCode::Protocol),
            (json!([{}]), ErrorCode::Protocol),
            (json!([{"path": "/etc/passwd"}]), ErrorCode::Denied),
            (json!([{"path": "../../blobs/x"}]), ErrorCode::Denied),
        ] {
            let reply = wire(json!({"result": null, "blobs": blobs}));
            let error = receive(reply, &lent, &area, LIMITS).await.unwrap_err();
            assert_eq!(error.code(), code, "{blobs}");
        }
        for reply in [json!({"result": {"$blob": 0}}), json!({})] {
            let error = receive(wire(reply), &lent, &area, LIMITS).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::Protocol);
        }
    }

    #[tokio::test]
    async fn a_long_result_is_read_from_its_file_which_goes() {
        let exchange = Exchange::open().unwrap();
        let area = Arc::new(exchange.area("test").unwrap());
        let spilled = |text: &str| {
            std::fs::write(area.path().join("long"), text).unwrap();
            wire(json!({"spilled": {"path": "long"}}))
        };
        let payload = receive(spilled("[1, null]"), &[], &area, LIMITS).await.unwrap();
        assert_eq!(payload.json, json!([1, null]));
        for (text, code) in [
            ("[1, nul", ErrorCode::Protocol),
            ("{\"$blob\": 0}", ErrorCode::Protocol),
            (format!("\"{}\"", "x".repeat(1000)).as_str(), ErrorCode::ResourceExhausted),
        ] {
            assert_eq!(receive(spilled(text), &[], &area, LIMITS).await.unwrap_err().code(), code, "{text}");
        }
        let error = receive(wire(json!({"spilled": {"path": "../x"}})), &[], &area, LIMITS).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Denied);
        assert_eq!(exchange.usage().blobs, 0);
        assert_eq!(std::fs::read_dir(area.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn long_arguments_go_to_a_file_and_too_long_ones_nowhere() {
        let exchange = Exchange::open().unwrap();
        let call = Call::new().arg("x".repeat(INLINE));
        let encoded =
            encode(&call, &[], false, MessageLimits { payload: 1 << 20, ..LIMITS }, &exchange, None).await.unwrap();
        let (body, file) = (serde_json::from_slice::<Value>(&encoded.body).unwrap(), encoded.spilled.unwrap());
        assert_eq!(body["spilled"]["path"], file.path().to_str().unwrap());
        let whole: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        assert_eq!((&whole["call"], &whole["args"][0]), (&body["call"], &call.positional[0]));

        let short = encode(&Call::new().arg("x"), &[], false, LIMITS, &exchange, None).await.unwrap();
        assert!(short.spilled.is_none());
        let error =
            encode(&Call::new().arg("x".repeat(2 << 20)), &[], false, LIMITS, &exchange, None).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    }
}
