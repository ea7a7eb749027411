//! [`ResponseBody`]: the body of a response, with a limit of its size and of the time between two pieces.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bivium_interface::PluginError;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};
use wasmtime_wasi_http::Error;

use crate::store::Use;

/// At most `limits.response_mb`, and no longer between two pieces than the guest is willing to wait.
pub(super) struct ResponseBody {
    incoming: Incoming,
    asked: Use,
    left: u64,
    limit: u64,
    between: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    /// # Errors
    /// If the server announces more.
    pub(super) fn new(incoming: Incoming, asked: Use, limit: u64, between: Duration) -> Result<Self, Error> {
        let body = Self { incoming, asked, left: limit, limit, between, waiting: None };
        if body.incoming.size_hint().lower() > limit { Err(body.too_large()) } else { Ok(body) }
    }

    fn too_large(&self) -> Error {
        let error = PluginError::resource_exhausted(format!(
            "the response of {} is larger than the limit of {} MiB",
            self.asked.resource(),
            self.limit >> 20
        ));
        self.asked.refuse(error.with_help("raise `limits.response_mb` in the plugin's manifest"));
        Error::HttpResponseBodySize(Some(self.limit))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = self.get_mut();
        match Pin::new(&mut body.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                body.waiting = None;
                let Some(frame) = frame else { return Poll::Ready(None) };
                let frame = frame.map_err(Error::from)?;
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                match body.left.checked_sub(bytes) {
                    Some(left) => body.left = left,
                    None => return Poll::Ready(Some(Err(body.too_large()))),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Pending => {
                let between = body.between;
                let waiting = body.waiting.get_or_insert_with(|| Box::pin(sleep(between)));
                waiting.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
