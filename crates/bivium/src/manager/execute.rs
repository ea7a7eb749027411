//! Calls by name. `layers` has what is done around each call.

use bivium_interface::{Call, Payload, PayloadStream, Result, TypedStream, typed};
use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::PluginManager;

impl PluginManager {
    /// Runs a call and returns its result. The call's deadline also covers waiting for the scheduler and for an instance. Dropping the
    /// future cancels the call.
    ///
    /// # Errors
    /// `not-found`; `unavailable` if the plugin is not loaded or is disabled; `resource-exhausted` from the scheduler; `cancelled`;
    /// `timeout`; those of the plugin.
    pub async fn execute(&self, name: &str, call: Call) -> Result<Payload> {
        let loaded = self.loaded(name)?;
        let serving = loaded.enter(call.handle()).await?;
        let id = call.id();
        let result = serving.copy().plugin().execute(call).await;
        result.map_err(|error| loaded.failed(error, id))
    }

    /// Starts a call with many results. The stream holds the call's place in the plugin until it ends or is dropped. Dropping it cancels
    /// the call.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). Later errors are items of the stream.
    pub async fn execute_stream(&self, name: &str, call: Call) -> Result<PayloadStream> {
        let handle = call.handle().clone();
        let loaded = self.loaded(name)?;
        let serving = loaded.enter(&handle).await?;
        let started = serving.copy().plugin().execute_stream(call).await;
        let id = handle.id();
        let stream = started.map_err(|error| loaded.failed(error, id))?.holding(&handle, serving);
        Ok(PayloadStream::new(stream.map_err(move |error| loaded.failed(error, id))))
    }

    /// Calls `execute` with the arguments in `input` ([`Call::with`]), and reads its result into the caller's own type
    /// ([`Payload::parse`]). For another method, a deadline or a handle, make a [`Call`].
    ///
    /// # Errors
    /// As [`execute`](Self::execute); `invalid-input` and `protocol` if a type does not fit.
    pub fn call_typed<Out: DeserializeOwned>(
        &self,
        name: &str,
        input: impl Serialize,
    ) -> impl Future<Output = Result<Out>> + Send {
        let call = Call::with(input).map_err(|error| error.with_plugin(name));
        async move { self.execute(name, call?).await?.parse().map_err(|error| error.with_plugin(name)) }
    }

    /// As [`call_typed`](Self::call_typed), for the results of [`execute_stream`](Self::execute_stream).
    ///
    /// # Errors
    /// As [`call_typed`](Self::call_typed). Later errors are items of the stream.
    pub fn stream_typed<Out: DeserializeOwned + 'static>(
        &self,
        name: &str,
        input: impl Serialize,
    ) -> impl Future<Output = Result<TypedStream<Out>>> + Send {
        let call = Call::with(input).map_err(|error| error.with_plugin(name));
        async move { Ok(typed(self.execute_stream(name, call?).await?, name)) }
    }
}
