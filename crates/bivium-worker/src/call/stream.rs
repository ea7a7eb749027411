//! Replies that are streams of events: one JSON object a line, read when the next one is polled.

use bivium_interface::{Call, CallHandle, Payload, PayloadStream, PluginError, Progress, Result};
use bytes::{Buf, BytesMut};
use futures_util::stream;

use crate::call::in_flight::{InFlight, Stopped};
use crate::call::time::Time;
use crate::wire::answer::{Answer, decode, is_long};
use crate::wire::{EventKind, StreamEvent};

/// The events of one call.
pub(crate) struct Events {
    in_flight: InFlight,
    call: CallHandle,
    time: Time,
    buffer: BytesMut,
    /// How much of the buffer was searched and contains no end of a line.
    searched: usize,
    opened: bool,
}

impl Events {
    pub(crate) fn new(in_flight: InFlight, call: &Call) -> Self {
        let time = Time::new(in_flight.worker().limits);
        Self { in_flight, call: call.handle().clone(), time, buffer: BytesMut::new(), searched: 0, opened: false }
    }

    /// Waits for the head of the worker's reply.
    async fn open(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.opened, true) && !self.in_flight.head().await?.is_success() {
            return Err(self.in_flight.error().await);
        }
        Ok(())
    }

    /// The next result; None at the end. Progress events before it are passed to the call.
    pub(crate) async fn next(&mut self) -> Result<Option<Payload>> {
        self.open().await?;
        loop {
            let Some(line) = self.line().await? else {
                return self.in_flight.lost(PluginError::protocol("the worker's stream ended without its last event"));
            };
            let line = line.freeze();
            let is_long = is_long(&line);
            let limits = self.in_flight.worker().limits.document;
            let event: StreamEvent = match decode(line, Answer::Event, limits, self.in_flight.pace()).await {
                Ok(event) => event,
                Err(error) => return self.in_flight.unreadable(error),
            };
            match (event.event, event.payload, event.error) {
                (EventKind::Progress, ..) => self.call.report(Progress::new(event.fraction, event.message)),
                (EventKind::Chunk, Some(payload), _) => {
                    return self.in_flight.receive(payload, is_long).await.map(Some);
                }
                (EventKind::Error, _, Some(error)) => {
                    self.finish().await?;
                    return Err(self.in_flight.convert(error));
                }
                (EventKind::Done, ..) => {
                    self.finish().await?;
                    return Ok(None);
                }
                _ => {
                    return self
                        .in_flight
                        .lost(PluginError::protocol("an event of the worker's stream lacks its content"));
                }
            }
        }
    }

    /// Reads to the end, so that the connection can be used again.
    async fn finish(&mut self) -> Result<()> {
        while self.in_flight.piece().await?.is_some() {}
        Ok(())
    }

    async fn line(&mut self) -> Result<Option<BytesMut>> {
        let limit = self.in_flight.worker().limits.message();
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > limit {
                return self
                    .in_flight
                    .lost(PluginError::protocol(format!("an event of the worker's stream is over {limit} bytes")));
            }
            match self.in_flight.piece().await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }

    /// Runs `next` until the call is interrupted, and then stops the call.
    async fn next_unless_interrupted(mut self) -> Option<(Result<Payload>, Option<Self>)> {
        let (call, mut time) = (self.call.clone(), self.time);
        let next = time.spend(&call, self.next()).await;
        self.time = time;
        match next {
            Ok(Ok(Some(payload))) => Some((Ok(payload), Some(self))),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some((Err(error), None)),
            Err(interrupted) => Some((Err(self.in_flight.stop().await.explain(interrupted)), None)),
        }
    }

    /// The stream that callers read. Dropping it stops the call.
    pub(crate) fn into_stream(self) -> PayloadStream {
        PayloadStream::new(stream::unfold(Some(self), |events| async move { events?.next_unless_interrupted().await }))
    }

    /// The one result of a unary call, which is sent as a stream for its progress.
    pub(crate) async fn only(&mut self) -> Result<Payload> {
        let Some(payload) = self.next().await? else {
            return self.in_flight.lost(PluginError::protocol("the worker ended a call without a result"));
        };
        match self.next().await? {
            None => Ok(payload),
            Some(_) => self.in_flight.lost(PluginError::protocol("the worker sent two results for a unary call")),
        }
    }

    /// Stops the call.
    pub(crate) async fn stop(self) -> Stopped {
        self.in_flight.stop().await
    }
}
