//! The host's implementation of `host` and `types`.

use std::sync::atomic::Ordering;

use bivium_interface::{LogLevel, LogSource, Progress};
use tokio::time::Instant;

use super::wit;
use crate::state::HostState;

impl wit::types::Host for HostState {}

impl wit::host::Host for HostState {
    fn log(&mut self, level: wit::host::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            wit::host::Level::Trace => LogLevel::Trace,
            wit::host::Level::Debug => LogLevel::Debug,
            wit::host::Level::Info => LogLevel::Info,
            wit::host::Level::Warn => LogLevel::Warn,
            wit::host::Level::Error => LogLevel::Error,
        };
        self.store.log.write(level, LogSource::Log, &message);
        Ok(())
    }

    fn report_progress(&mut self, fraction: Option<f64>, message: String) -> wasmtime::Result<()> {
        if let Some(call) = self.store.call() {
            call.report(Progress::new(fraction, message));
        }
        Ok(())
    }

    fn is_cancelled(&mut self) -> wasmtime::Result<bool> {
        self.store.signals.asked.store(true, Ordering::Relaxed);
        Ok(self.store.call().is_some_and(|call| call.is_cancelled()))
    }

    fn call_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.store.call().map(|call| call.id().to_string()).unwrap_or_default())
    }

    fn remaining_ms(&mut self) -> wasmtime::Result<Option<u64>> {
        let left = self.store.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        Ok(left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
    }
}
