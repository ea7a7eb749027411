//! Payloads between Rust and the wire: the arguments of a call, and results with the files that come with them.

use std::sync::Arc;

use bivium_exchange::Area;
use bivium_interface::{Blob, Call, Payload, PluginError, Result};
use serde_json::Value;

use crate::wire::{CallRequest, LentBlob, WireBlob};

/// What of a message is not payload: the other keys, the list of blobs.
const ENVELOPE: usize = 1 << 20;

/// The longest messages of a plugin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageLimits {
    /// JSON of a payload, in bytes.
    pub(crate) payload: usize,
}

impl MessageLimits {
    /// Of a whole request or reply.
    pub(crate) fn message(self) -> usize {
        self.payload.saturating_add(ENVELOPE)
    }
}

/// The body of a request to run `call`.
pub(crate) fn encode(call: &Call, unary: bool, limits: MessageLimits) -> Result<Vec<u8>> {
    let lent = |blob| {
        let path = Blob::path(blob).to_str();
        let path = path.ok_or_else(|| PluginError::invalid_input("the path of a blob is not UTF-8"))?;
        Ok(LentBlob { path, media_type: blob.media_type(), size: blob.size() })
    };
    let request = CallRequest {
        call: call.id(),
        method: &call.method,
        args: &call.positional,
        kwargs: &call.named,
        blobs: call.blobs.iter().map(lent).collect::<Result<_>>()?,
        deadline_s: call.handle().remaining().map(|left| left.as_secs_f64()),
        unary,
    };
    let body = serde_json::to_vec(&request).map_err(|error| PluginError::internal(error.to_string()))?;
    if body.len() > limits.message() {
        let message = format!("the arguments are {} bytes of JSON, and the limit is {}", body.len(), limits.payload);
        return Err(PluginError::resource_exhausted(message).with_help("send large data as a blob"));
    }
    Ok(body)
}

/// Makes a payload of a result, and takes over the files that it hands back.
pub(crate) async fn receive(json: Value, blobs: Vec<WireBlob>, lent: &[Blob], area: &Arc<Area>) -> Result<Payload> {
    if blobs.is_empty() {
        return checked(Payload { json, blobs: Vec::new() });
    }
    let (area, lent) = (Arc::clone(area), lent.to_vec());
    // Moving files is quick, but a disk may take its time.
    let adopted = tokio::task::spawn_blocking(move || {
        blobs.into_iter().map(|blob| adopt(blob, &lent, &area)).collect::<Result<Vec<Blob>>>()
    });
    let blobs = adopted.await.map_err(|error| PluginError::internal(error.to_string()))??;
    checked(Payload { json, blobs })
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
    use bivium_exchange::Exchange;
    use bivium_interface::ErrorCode;
    use serde_json::json;

    use super::*;

    fn wire(json: Value) -> Vec<WireBlob> {
        serde_json::from_value(json).unwrap()
    }

    #[tokio::test]
    async fn results_take_files_from_the_area_and_lent_blobs_by_index() {
        let exchange = Exchange::open().unwrap();
        let area = Arc::new(exchange.area("test").unwrap());
        let lent = [exchange.write(b"lent", "text/plain").unwrap()];
        std::fs::write(area.path().join("made.txt"), "made").unwrap();
        let blobs = wire(json!([{"lent": 0}, {"path": "made.txt", "media_type": "text/plain", "size": 4}]));
        let payload = receive(json!([{"$blob": 1}, {"$blob": 0}]), blobs, &lent, &area).await.unwrap();
        assert_eq!(payload.blobs[0].path(), lent[0].path());
        assert_eq!(std::fs::read(payload.blobs[1].path()).unwrap(), b"made");

        for (blobs, code) in [
            (json!([{"lent": 1}]), ErrorCode::Protocol),
            (json!([{}]), ErrorCode::Protocol),
            (json!([{"path": "/etc/passwd"}]), ErrorCode::Denied),
            (json!([{"path": "../../blobs/x"}]), ErrorCode::Denied),
        ] {
            let error = receive(Value::Null, wire(blobs.clone()), &lent, &area).await.unwrap_err();
            assert_eq!(error.code(), code, "{blobs}");
        }
        let error = receive(json!({"$blob": 0}), Vec::new(), &lent, &area).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Protocol);
    }

    #[test]
    fn long_arguments_are_refused() {
        let limits = MessageLimits { payload: 10 };
        assert!(encode(&Call::new().arg("x"), false, limits).is_ok());
        let error = encode(&Call::new().arg("x".repeat(2 << 20)), false, limits).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    }
}
