//! Functions for the fuzz target `wire` in `fuzz/`. Not part of the public interface: they may change at any time.

use std::sync::Arc;

use bivium_exchange::Area;
use bivium_instances::document::{DocumentLimits, Pace};
use bivium_interface::{Payload, PluginError, Result};
use bivium_records::{Auditor, InstanceLog, PluginLog};
use tokio::sync::oneshot;

use crate::call::payload::{CallLimits, receive};
use crate::wire::answer::{Answer, parse};
use crate::wire::channel::listen;
use crate::wire::denials::Denials;
use crate::wire::{ErrorReply, Methods, Reply, StreamEvent};

const DOCUMENT: DocumentLimits = DocumentLimits { text: 1 << 20, held: 16 << 20 };
const LIMITS: CallLimits = CallLimits { document: DOCUMENT, blob_mb: Some(1), time: None };

/// Reads what a worker wrote to its channel; returns the error of its handshake, if there is one.
pub async fn channel(said: &[u8], log: &PluginLog) -> Option<PluginError> {
    let (sender, receiver) = oneshot::channel();
    let denials =
        Denials { audit: Auditor::new(log.plugin(), None, log.clone()), guard: 1, confined: true, cures: None };
    let _ = listen(said, sender, Arc::new(InstanceLog::new(log.clone(), 1, 10)), denials).await;
    receiver.await.ok()?.err()
}

/// Parses a worker's answer as each kind of answer; files that it hands back are in `area`.
pub async fn answers(body: &[u8], area: &Arc<Area>) -> Vec<Result<Payload>> {
    let pace = Pace::endless();
    let received = async |reply| receive(reply, false, &[], area, LIMITS, &pace).await;
    let mut answers = vec![match parse::<Reply>(body, Answer::Result, DOCUMENT, &pace) {
        Ok(reply) => received(reply).await,
        Err(error) => Err(error),
    }];
    let error = parse::<ErrorReply>(body, Answer::Error, DOCUMENT, &pace);
    answers.push(Err(error.map_or_else(|error| error, |reply| reply.error.into())));
    answers.extend(parse::<Methods>(body, Answer::Control, DOCUMENT, &pace).err().map(Err));
    for line in body.split(|byte| *byte == b'\n') {
        match parse::<StreamEvent>(line, Answer::Event, DOCUMENT, &pace) {
            Ok(event) => {
                answers.extend(event.error.map(|error| Err(error.into())));
                if let Some(reply) = event.payload {
                    answers.push(received(reply).await);
                }
            }
            Err(error) => answers.push(Err(error)),
        }
    }
    answers
}
