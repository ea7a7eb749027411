//! [`CatchPanic`]: wraps objects of the host's own, so that a panic in them becomes an error of the call in which it happened.
//!
//! Otherwise the panic would unwind through the manager into the caller of another plugin, or end a task of the manager. (A program
//! that is built with `panic = "abort"` still ends.)

mod plugin;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use bivium_instances::Devices;
use bivium_interface::{CallHandle, PluginError, Result, clip};
use bivium_records::{AuditRecord, AuditSink};
use futures_util::FutureExt as _;

use crate::monitor::{Monitor, SystemSnapshot};
use crate::scheduler::{Admission, Need, Scheduler};

pub(crate) use plugin::CatchPanicPlugin;

/// The longest message of a panic in an error, in bytes.
const LONGEST: usize = 8 << 10;

/// An object of the host's own that may panic.
pub(crate) struct CatchPanic<T: ?Sized>(pub(crate) Arc<T>);

#[async_trait]
impl Scheduler for CatchPanic<dyn Scheduler> {
    async fn admit(&self, need: &Need, call: &CallHandle) -> Result<Admission> {
        catch_async(self.0.admit(need, call)).await.unwrap_or_else(|panic| Err(fault("scheduler", &panic)))
    }

    fn admit_at_once(&self, need: &Need) -> Option<Admission> {
        // After a panic here `admit` is called, which can return an error.
        catch(|| self.0.admit_at_once(need)).unwrap_or(None)
    }

    fn devices(&self) -> Option<Arc<dyn Devices>> {
        catch(|| self.0.devices()).unwrap_or(None)
    }

    fn refusal(&self, need: &Need) -> Option<PluginError> {
        catch(|| self.0.refusal(need)).unwrap_or(None)
    }

    fn weighs_memory(&self) -> bool {
        catch(|| self.0.weighs_memory()).unwrap_or(true)
    }
}

/// A monitor that panics returns default values, and the panic is logged.
impl Monitor for CatchPanic<dyn Monitor> {
    fn snapshot(&self) -> SystemSnapshot {
        catch(|| self.0.snapshot()).unwrap_or_else(|panic| log_panic("monitor", &panic))
    }

    fn memory_of(&self, pids: &[u32]) -> u64 {
        catch(|| self.0.memory_of(pids)).unwrap_or_else(|panic| log_panic("monitor", &panic))
    }

    fn why_no_gpu(&self) -> Option<String> {
        catch(|| self.0.why_no_gpu()).unwrap_or_else(|panic| log_panic("monitor", &panic))
    }
}

impl AuditSink for CatchPanic<dyn AuditSink> {
    fn record(&self, record: &AuditRecord) -> Result<()> {
        catch(|| self.0.record(record)).unwrap_or_else(|panic| Err(fault("audit sink", &panic)))
    }
}

/// Runs code that may panic. The object itself is responsible for its state after a panic.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message(&*panic))
}

/// As [`catch`], for a future.
async fn catch_async<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    clip(text.unwrap_or_else(|| "it gave no message".to_owned()), LONGEST)
}

fn fault(what: &str, panic: &str) -> PluginError {
    PluginError::internal(format!("the host's {what} panicked: {panic}"))
}

fn log_panic<T: Default>(what: &str, panic: &str) -> T {
    tracing::error!(panic, "the host's {what} panicked");
    T::default()
}

#[cfg(test)]
mod tests;
