//! [`Devices`]: places instances on GPUs. The pool asks for a [`Placement`] before it makes an instance, and the instance keeps it
//! until it has ended. Who implements it decides which instance runs where, and which instances make room.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bivium_interface::{PluginError, Result};
use tokio::sync::watch;
use tokio::time::Instant;

/// What an instance needs of GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceNeed {
    /// How many GPUs, at least 1.
    pub gpus: u32,
    /// Memory on each of them, in bytes.
    pub bytes: u64,
}

impl DeviceNeed {
    /// This many GPUs, and this many bytes on each.
    #[must_use]
    pub fn new(gpus: u32, bytes: u64) -> Self {
        Self { gpus: gpus.max(1), bytes }
    }
}

/// Places instances on GPUs.
#[async_trait]
pub trait Devices: Send + Sync + 'static {
    /// Waits until there is room for the instance. Meanwhile it says in `request.waits` what it waits for. Dropping the future
    /// withdraws the request.
    ///
    /// # Errors
    /// `resource-exhausted` if there will never be room.
    async fn place(&self, request: DeviceRequest) -> Result<Placed>;

    /// Why there will never be room for such an instance on this machine, whatever else runs; `None` if there may be. May block while the
    /// machine is measured.
    fn refusal(&self, _need: DeviceNeed) -> Option<PluginError> {
        None
    }

    /// Whether a request waits. Then an instance whose last call has ended is reported with [`note_idle`](Self::note_idle). Must be
    /// cheap: it is asked at the end of each call.
    fn is_needed(&self) -> bool;

    /// An instance has become idle.
    fn note_idle(&self);
}

/// The GPUs of a machine, and what each instance of one plugin needs of them.
#[derive(Clone)]
pub struct DeviceAccess {
    /// Places the instances.
    pub devices: Arc<dyn Devices>,
    /// What each of them needs.
    pub need: DeviceNeed,
}

/// An instance that is about to be made.
pub struct DeviceRequest {
    /// Its plugin.
    pub plugin: Arc<str>,
    /// What it needs.
    pub need: DeviceNeed,
    /// Its pool, which knows what becomes of it.
    pub pool: Weak<dyn PlacedInstances>,
    /// Its number in the pool.
    pub instance: u64,
    /// Whether there is an instance with this number that has released its memory and can go on, if it gets its own GPUs.
    pub resumes: bool,
    /// What the request waits for: one line for people; empty if it does not wait.
    pub waits: watch::Sender<String>,
}

/// The instances of one pool that were placed on GPUs.
pub trait PlacedInstances: Send + Sync {
    /// What an instance does now; `None` if the pool does not know it (any more).
    fn use_of(&self, instance: u64) -> Option<InstanceUse>;

    /// The processes of an instance. Reads files of the kernel, so it may block for a short time.
    fn pids_of(&self, instance: u64) -> Vec<u32>;

    /// Asks an idle instance to release its memory on the GPUs; if it cannot, or is not idle any more, it ends. Returns before it has
    /// done so.
    fn release(&self, instance: u64);

    /// Gives the instance no further call, and ends it when its running calls have ended. Returns before it has ended.
    fn end(&self, instance: u64);
}

/// What an instance does at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstanceUse {
    /// It is being made.
    Starting,
    /// It can take calls.
    Ready {
        /// Since when.
        since: Instant,
        /// How long its start took, without the time that it waited for its placement.
        start: Duration,
        /// When its last call ended; `since` before its first call.
        used: Instant,
        /// How many calls run on it.
        running: u32,
        /// Whether calls of its plugin wait.
        is_wanted: bool,
        /// Whether it can release its memory without ending.
        can_release: bool,
    },
    /// It has released its memory, and is placed again before its next call.
    Released,
    /// It gets no further call.
    Ending,
}

/// What a request is granted.
#[derive(Debug)]
pub enum Placed {
    /// GPUs for a new instance.
    New(Placement),
    /// The instance that has released its memory goes on, on its own GPUs.
    Again,
}

/// The GPUs that an instance was given. It must be dropped after the instance has ended, since that makes room for others.
#[derive(Default)]
pub struct Placement {
    gpus: Vec<PlacedGpu>,
    #[allow(dead_code, reason = "held for its drop")]
    room: Option<Box<dyn Any + Send + Sync>>,
}

/// One GPU of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlacedGpu {
    /// Its UUID as the driver reports it, for example `GPU-5d2c…`; empty if it has none.
    pub uuid: String,
    /// Its index.
    pub index: u32,
    /// The number in the name of its device file (`/dev/nvidia0`), if it is known.
    pub minor: Option<u32>,
}

impl PlacedGpu {
    /// A GPU with these names.
    #[must_use]
    pub fn new(uuid: impl Into<String>, index: u32, minor: Option<u32>) -> Self {
        Self { uuid: uuid.into(), index, minor }
    }
}

impl Placement {
    /// These GPUs. `room` is dropped with the placement.
    #[must_use]
    pub fn new(gpus: Vec<PlacedGpu>, room: impl Any + Send + Sync) -> Self {
        Self { gpus, room: Some(Box::new(room)) }
    }

    /// The GPUs; empty if the instance was not placed.
    #[must_use]
    pub fn gpus(&self) -> &[PlacedGpu] {
        &self.gpus
    }
}

impl fmt::Debug for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placement").field("gpus", &self.gpus).finish_non_exhaustive()
    }
}
