//! Converts payloads between Rust and the wire: the arguments of a call, and results with their files.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bivium_exchange::{Area, Exchange, Window, read_at};
use bivium_instances::document::{self, Document, DocumentLimits, Pace, Unwritten, are_many, aside};
use bivium_interface::{Blob, Call, Payload, PluginError, Result};
use serde::Serialize;
use serde_json::Value;

use crate::wire::answer::{Answer, parse};
use crate::wire::{CallRequest, LentBlob, Reply, SpilledRequest, WireBlob};

/// The most bytes of a message that are not payload: the other keys, the list of blobs.
const ENVELOPE: usize = 1 << 20;

/// The limits of a plugin's messages, and of the time for a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallLimits {
    /// For the JSON of a payload.
    pub(crate) document: DocumentLimits,
    /// The size of all files of a result together, in MiB.
    pub(crate) blob_mb: Option<u64>,
    /// `limits.call_ms`.
    pub(crate) time: Option<Duration>,
}

impl CallLimits {
    /// The most bytes of a whole request or reply.
    pub(crate) fn message(self) -> usize {
        self.document.text.saturating_add(ENVELOPE)
    }
}

/// The body of a request to run a call.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) body: Vec<u8>,
    /// The file that contains a long request; to be kept until the call ends.
    pub(crate) spilled: Option<Blob>,
}

/// A longer request is written to a file, so that messages on a connection stay small.
const INLINE: usize = 256 << 10;

/// The body of a request to run `call`, from which the arguments are taken, with its blobs as the plugin sees them. A
/// long one is a file in the window, if the plugin has one.
pub(crate) async fn encode(
    call: &mut Call,
    shown: &[Blob],
    unary: bool,
    limits: CallLimits,
    exchange: &Exchange,
    window: Option<&Arc<Window>>,
) -> Result<Encoded> {
    let pace = Pace::of(call.handle());
    let takes_long = are_many(call.positional.iter().chain(call.named.values()).chain(call.envelope.values()));
    let (id, method, shown) = (call.id(), call.method.clone(), shown.to_vec());
    let (positional, named) = (mem::take(&mut call.positional), mem::take(&mut call.named));
    let envelope = mem::take(&mut call.envelope);
    let write = move || {
        let text = limits.document.text;
        document::measure(&named, text, &pace)
            .and_then(|()| document::measure(&positional, text, &pace))
            .map_err(|why| limits.document.unwritten("the arguments are", why))?;
        let request = CallRequest {
            call: id,
            method: &method,
            args: &positional,
            kwargs: &named,
            blobs: shown.iter().map(lend).collect::<Result<_>>()?,
            envelope: &envelope,
            deadline_s: pace.remaining().into_iter().chain(limits.time).min().map(|left| left.as_secs_f64()),
            unary,
        };
        json(&request, limits, &pace)
    };
    let body = aside(takes_long, write).await??;
    if body.len() <= INLINE {
        return Ok(Encoded { body, spilled: None });
    }
    let (exchange, window) = (exchange.clone(), window.cloned());
    let write = move || {
        let file = exchange.write(&body, "application/json")?;
        window.map_or(Ok(file.clone()), |window| window.lend(&file))
    };
    let file = blocking(write).await?;
    let request = SpilledRequest { call: call.id(), spilled: lend(&file)? };
    let body = json(&request, limits, &Pace::endless())?;
    Ok(Encoded { body, spilled: Some(file) })
}

fn lend(blob: &Blob) -> Result<LentBlob<'_>> {
    let path = blob.path().to_str();
    let path = path.ok_or_else(|| PluginError::invalid_input("the path of a blob is not UTF-8"))?;
    Ok(LentBlob { path, media_type: blob.media_type(), size: blob.size() })
}

fn json(request: &impl Serialize, limits: CallLimits, pace: &Pace) -> Result<Vec<u8>> {
    document::write(request, limits.message(), pace).map_err(|why| match why {
        Unwritten::Invalid(error) => PluginError::internal(error.to_string()),
        why => limits.document.unwritten("the arguments are", why),
    })
}

/// Runs work that may wait for a disk, on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    document::blocking(work).await?
}

/// Makes a payload of a result, and takes over the files that it hands back. `is_long` says whether its text was long.
pub(crate) async fn receive(
    reply: Reply,
    is_long: bool,
    lent: &[Blob],
    area: &Arc<Area>,
    limits: CallLimits,
    pace: &Pace,
) -> Result<Payload> {
    let Reply { result, spilled, blobs } = reply;
    if spilled.is_none() && blobs.is_empty() {
        let json = result.ok_or_else(no_result)?;
        return aside(is_long, move || checked(Payload { json, blobs: Vec::new() })).await?;
    }
    let (area, lent, pace) = (Arc::clone(area), lent.to_vec(), pace.clone());
    let received = move || {
        let json = match spilled {
            Some(file) => read(&area.adopt(&file.path, "application/json")?, limits, &pace)?,
            None => result.ok_or_else(no_result)?,
        };
        let mut room = limits.blob_mb.map_or(u64::MAX, |mib| mib.saturating_mul(1 << 20));
        let mut received = Vec::new();
        for blob in blobs {
            pace.look()?;
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

fn too_much(limits: CallLimits) -> PluginError {
    let mib = limits.blob_mb.unwrap_or_default();
    PluginError::resource_exhausted(format!(
        "the files of the result are more than limits.blob_mb, {mib} MiB, together"
    ))
    .with_help("raise limits.blob_mb in the manifest, or hand back less at once")
}

fn no_result() -> PluginError {
    PluginError::protocol("the worker's reply has no result")
}

/// Reads a long result from its file, which is deleted with its handle.
fn read(file: &Blob, limits: CallLimits, pace: &Pace) -> Result<Value> {
    let limits = limits.document;
    limits.check("the plugin's result is", usize::try_from(file.size()).unwrap_or(usize::MAX))?;
    let text = file.open().and_then(|file| read_at(&file, 0, limits.text));
    let text = text.map_err(|error| PluginError::protocol(format!("the worker's result cannot be read: {error}")))?;
    parse(&text, Answer::Spilled, limits, pace).map(|Document(value)| value)
}

fn adopt(blob: WireBlob, lent: &[Blob], area: &Area) -> Result<Blob> {
    match (blob.lent, blob.path) {
        (Some(index), None) => lent.get(index).cloned().ok_or_else(|| {
            PluginError::protocol(format!("the result names blob {index} of the call, which has {}", lent.len()))
        }),
        (None, Some(path)) => area.adopt(&path, blob.media_type.as_deref().unwrap_or("application/octet-stream")),
        _ => Err(PluginError::protocol("a blob of the result is neither lent nor a file")),
    }
}

fn checked(payload: Payload) -> Result<Payload> {
    payload.checked().map_err(|error| PluginError::protocol(error.message()))
}

#[cfg(test)]
mod tests {
    use bivium_interface::{CancellationToken, ErrorCode};
    use serde_json::json;

    use super::*;

    const LIMITS: CallLimits =
        CallLimits { document: DocumentLimits { text: 1000, held: 1 << 20 }, blob_mb: None, time: None };

    async fn receive(reply: Reply, lent: &[Blob], area: &Arc<Area>, limits: CallLimits) -> Result<Payload> {
        super::receive(reply, false, lent, area, limits, &Pace::endless()).await
    }

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
    async fn a_long_result_is_read_from_its_file_which_is_deleted() {
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
    async fn long_arguments_go_to_a_file_and_too_long_ones_are_refused() {
        let exchange = Exchange::open().unwrap();
        let call = Call::new().arg("x".repeat(INLINE));
        let document = DocumentLimits { text: 1 << 20, ..LIMITS.document };
        let encode = async |call: &Call, limits| encode(&mut call.clone(), &[], false, limits, &exchange, None).await;
        let encoded = encode(&call, CallLimits { document, ..LIMITS }).await.unwrap();
        let (body, file) = (serde_json::from_slice::<Value>(&encoded.body).unwrap(), encoded.spilled.unwrap());
        assert_eq!(body["spilled"]["path"], file.path().to_str().unwrap());
        let whole: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        assert_eq!((&whole["call"], &whole["args"][0]), (&body["call"], &call.positional[0]));

        let short = encode(&Call::new().arg("x"), LIMITS).await.unwrap();
        assert!(short.spilled.is_none());
        let cancel = CancellationToken::new();
        let many = Call::new().arg(vec![1; 2 << 20]).cancellation(cancel.clone());
        for long in [&Call::new().arg("x".repeat(2 << 20)), &Call::new().named("a", "x".repeat(1000)), &many] {
            let error = encode(long, LIMITS).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::ResourceExhausted);
            assert!(error.to_string().contains("limits.payload_mb"), "{error}");
        }
        cancel.cancel();
        let roomy = CallLimits { document: DocumentLimits { text: 1 << 30, ..LIMITS.document }, ..LIMITS };
        assert_eq!(encode(&many, roomy).await.unwrap_err().code(), ErrorCode::Cancelled, "writing stops");
    }
}
