//! What the fuzz target `wire` in `fuzz/` reaches into. No part of the interface: it may change at any time.

use std::sync::Arc;

use bivium_exchange::Area;
use bivium_instances::{InstanceLog, PluginLog};
use bivium_interface::{Payload, PluginError, Result};
use tokio::sync::oneshot;

use crate::channel::listen;
use crate::client::decode;
use crate::payload::{MessageLimits, receive};
use crate::wire::{ErrorReply, Methods, Reply, StreamEvent};

const LIMITS: MessageLimits = MessageLimits { payload: 1 << 20, blob_mb: Some(1) };

/// Reads what a worker wrote to its channel; gives the error of its handshake, if it said one.
pub async fn channel(said: &[u8], log: &PluginLog) -> Option<PluginError> {
    let (sender, receiver) = oneshot::channel();
    let _ = listen(said, sender, Arc::new(InstanceLog::new(log.clone(), 1, 10))).await;
    receiver.await.ok()?.err()
}

/// Reads what a worker answered, as each of the answers that there are; files that it hands back lie in `area`.
pub async fn answers(body: &[u8], area: &Arc<Area>) -> Vec<Result<Payload>> {
    let mut answers = vec![match decode::<Reply>(body) {
        Ok(reply) => receive(reply, &[], area, LIMITS).await,
        Err(error) => Err(error),
    }];
    answers.push(Err(decode::<ErrorReply>(body).map_or_else(|error| error, |reply| reply.error.into())));
    answers.extend(decode::<Methods>(body).err().map(Err));
    for line in body.split(|byte| *byte == b'\n') {
        match decode::<StreamEvent>(line) {
            Ok(event) => {
                answers.extend(event.error.map(|error| Err(error.into())));
                if let Some(reply) = event.payload {
                    answers.push(receive(reply, &[], area, LIMITS).await);
                }
            }
            Err(error) => answers.push(Err(error)),
        }
    }
    answers
}
