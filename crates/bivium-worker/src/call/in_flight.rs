//! [`InFlight`]: one request to a worker that runs the plugin's code, from its first byte to its last.
//!
//! When nobody waits for a request any more, it is stopped: its call is cancelled in the worker, and if the call does not end, the
//! worker is ended. Until then the request keeps its place, so that the next call finds a worker that is free.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bivium_instances::document::Pace;
use bivium_interface::{Blob, CallId, ErrorCode, Payload, PluginError, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use crate::call::payload::receive;
use crate::call::shared::Shared;
use crate::process::ending::EndReason;
use crate::process::stat::Stat;
use crate::wire::answer::{Answer, decode};
use crate::wire::client::{Connection, broken};
use crate::wire::{ErrorReply, Reply, WireError};

/// How long a cancelled call may take to end before its worker is ended. The worker itself gives the plugin a fifth of a
/// second to end by itself, then raises an exception in it.
const STOP_TIME: Duration = Duration::from_secs(2);

/// How long to wait for the report of a worker's end after its connection broke.
const NEWS_TIME: Duration = Duration::from_secs(1);

type Pending = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

pub(crate) struct InFlight {
    worker: Arc<Shared>,
    call: CallId,
    /// For the host's own work on the reply.
    pace: Pace,
    state: State,
    lent: Lent,
    /// Its place in the worker. None only after the request has ended.
    place: Option<OwnedSemaphorePermit>,
    stopping: bool,
}

/// The files that the plugin may read during the call.
#[derive(Default)]
pub(crate) struct Lent {
    /// The blobs of the call, as they are handed back.
    pub(crate) blobs: Vec<Blob>,
    /// The blobs as the plugin sees them: the same, or other names of the files where it may read only these. Kept until the call ends.
    pub(crate) _shown: Vec<Blob>,
    /// The request itself, if it is in a file.
    pub(crate) _request: Option<Blob>,
}

enum State {
    Sent(Pending, Connection),
    Reading(Incoming, Connection),
    /// The connection broke, and it is not known yet whether the worker has crashed.
    Broken,
    Over,
}

/// How a call was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The plugin's code ended.
    InOrder,
    /// The worker was ended; contains what went wrong with that, if anything.
    ByForce(Option<String>),
}

impl Stopped {
    /// The error that interrupted the call, with how it was stopped.
    pub(crate) fn explain(self, error: PluginError) -> PluginError {
        match self {
            Self::InOrder => error,
            Self::ByForce(trouble) => {
                let how = "the plugin did not stop, so its worker was killed";
                let trouble = trouble.map(|trouble| format!("; {trouble}")).unwrap_or_default();
                let told = PluginError::new(error.code(), format!("{}; {how}{trouble}", error.message()));
                match error.call() {
                    Some(call) => told.with_call(call),
                    None => told,
                }
            }
        }
    }
}

impl InFlight {
    /// Sends a request, which has a place in the worker.
    pub(crate) async fn begin(
        worker: &Arc<Shared>,
        call: CallId,
        pace: Pace,
        place: OwnedSemaphorePermit,
        lent: Lent,
        request: Request<Full<Bytes>>,
    ) -> Result<Self> {
        let mut connection = match worker.client.for_call().await {
            Ok(connection) => connection,
            Err(error) => return Err(crash_or(worker, error, "before the call could begin").await),
        };
        // Before it is sent: a short call may have printed and ended before this thread continues.
        worker.running(call, true);
        let answer = Box::pin(connection.send(request));
        let state = State::Sent(answer, connection);
        Ok(Self { worker: Arc::clone(worker), call, pace, state, lent, place: Some(place), stopping: false })
    }

    pub(crate) fn worker(&self) -> &Arc<Shared> {
        &self.worker
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Makes a payload of a result. `is_long` says whether its text was long.
    pub(crate) async fn receive(&mut self, reply: Reply, is_long: bool) -> Result<Payload> {
        let Shared { area, limits, .. } = &*self.worker;
        receive(reply, is_long, &self.lent.blobs, area, *limits, &self.pace).await
    }

    /// Converts an error of the worker, after its denial was recorded.
    pub(crate) fn convert(&self, error: WireError) -> PluginError {
        self.worker.denials.recorded(Some(self.call), error)
    }

    /// The error in a reply whose status is not success.
    pub(crate) async fn error(&mut self) -> PluginError {
        let body = match self.body().await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match decode::<ErrorReply, _>(body, Answer::Error, self.worker.limits.document, &self.pace).await {
            Ok(reply) => self.convert(reply.error),
            Err(error) => error,
        }
    }

    /// Waits for the head of the reply.
    pub(crate) async fn head(&mut self) -> Result<StatusCode> {
        let State::Sent(answer, connection) = &mut self.state else {
            return Err(PluginError::internal("the head of a reply was requested twice"));
        };
        let answered = tokio::select! {
            biased;
            answered = connection.drive(answer) => answered,
            error = self.worker.crashed("in the middle of a call") => return self.lost(error),
        };
        match answered {
            Ok(response) => {
                let status = response.status();
                if let State::Sent(_, connection) = std::mem::replace(&mut self.state, State::Over) {
                    self.state = State::Reading(response.into_body(), connection);
                }
                Ok(status)
            }
            Err(error) => self.broke(error).await,
        }
    }

    /// The next piece of the body; None at its end, after the connection was kept for the next call.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>> {
        loop {
            let State::Reading(body, connection) = &mut self.state else { return Ok(None) };
            let frame = tokio::select! {
                biased;
                frame = connection.drive(body.frame()) => frame,
                error = self.worker.crashed("in the middle of a call") => return self.lost(error),
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return self.broke(error).await,
                None => {
                    if let State::Reading(_, connection) = std::mem::replace(&mut self.state, State::Over) {
                        self.worker.client.keep(connection);
                    }
                    self.release_place();
                    return Ok(None);
                }
            }
        }
    }

    /// The whole body of a reply that is not a stream.
    pub(crate) async fn body(&mut self) -> Result<Bytes> {
        let limit = self.worker.limits.message();
        let Some(first) = self.piece().await? else { return Ok(Bytes::new()) };
        let State::Reading(body, _) = &self.state else { return Ok(first) };
        if body.is_end_stream() {
            // The usual case: the reply arrived in one piece, and is not copied.
            self.piece().await?;
            return Ok(first);
        }
        let mut whole = Vec::from(first);
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > limit {
                return self.lost(PluginError::protocol(format!("the worker's reply is over {limit} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    /// Cancels the call and waits until its code has ended; ends the worker if it does not. Continues in the background if this future
    /// is dropped.
    pub(crate) async fn stop(self) -> Stopped {
        let runtime = self.worker.runtime.clone();
        // An error means that the runtime is ending, which ends the worker.
        runtime.spawn(self.stop_call()).await.unwrap_or(Stopped::ByForce(None))
    }

    async fn stop_call(mut self) -> Stopped {
        self.stopping = true;
        if matches!(self.state, State::Broken) {
            self.worker.end(EndReason::BrokeProtocol);
        }
        let worker = Arc::clone(&self.worker);
        let path = format!("/cancel?call={}", self.call);
        let cancel = worker.client.control::<Value>(Method::POST, &path);
        let drain = async {
            if matches!(self.state, State::Sent(..)) && self.head().await.is_err() {
                return;
            }
            while let Ok(Some(_)) = self.piece().await {}
        };
        // It does not matter whether the cancel request is answered, only whether the call ends.
        let both = async {
            tokio::pin!(cancel);
            tokio::pin!(drain);
            tokio::select! {
                _ = &mut cancel => drain.await,
                () = &mut drain => {}
            }
        };
        let in_time = tokio::time::timeout(STOP_TIME, both).await.is_ok();
        if in_time && worker.ending().is_none() && !worker.is_ending() {
            return Stopped::InOrder;
        }
        worker.end(EndReason::DidNotStop);
        let trouble = worker.ended().await.trouble();
        self.state = State::Over;
        self.release_place();
        Stopped::ByForce(trouble)
    }

    /// A reply that cannot be read. The worker is ended, unless only the plugin's result is invalid.
    pub(crate) fn unreadable<T>(&mut self, error: PluginError) -> Result<T> {
        if error.code() == ErrorCode::Protocol { self.lost(error) } else { Err(error) }
    }

    /// A reply that breaks the protocol ends the request and the worker, whose state is unknown then.
    pub(crate) fn lost<T>(&mut self, error: PluginError) -> Result<T> {
        self.state = State::Over;
        self.worker.end(EndReason::BrokeProtocol);
        self.release_place();
        Err(error)
    }

    async fn broke<T>(&mut self, error: hyper::Error) -> Result<T> {
        // This future may be dropped while it waits; then the broken connection must not be used again.
        self.state = State::Broken;
        let error = crash_or(&self.worker, broken(error), "in the middle of a call").await;
        self.lost(error)
    }

    fn release_place(&mut self) {
        self.worker.running(self.call, false);
        self.place = None;
    }
}

/// The crash that broke a connection, or `error` if there was none. When a worker ends, its connections break a little before
/// the host learns of its end.
async fn crash_or(worker: &Shared, error: PluginError, when: &str) -> PluginError {
    if let Ok(crashed) = tokio::time::timeout(NEWS_TIME, worker.crashed(when)).await {
        return crashed;
    }
    if Stat::of(worker.pid).is_none() {
        // It has ended, but its guard has not reported how: the guard may be stopped. This makes it continue, or kills it.
        worker.guard_channel.release();
        return worker.crashed(when).await;
    }
    worker.end(EndReason::BrokeProtocol);
    error
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if matches!(self.state, State::Over) {
            return;
        }
        if self.stopping {
            // The runtime that was stopping it is ending.
            self.worker.end(EndReason::RuntimeEnded);
            return;
        }
        let state = std::mem::replace(&mut self.state, State::Over);
        let in_flight = Self {
            worker: Arc::clone(&self.worker),
            call: self.call,
            pace: Pace::endless(),
            state,
            lent: std::mem::take(&mut self.lent),
            place: self.place.take(),
            stopping: true,
        };
        self.worker.runtime.spawn(in_flight.stop_call());
    }
}
