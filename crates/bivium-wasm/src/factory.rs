//! [`ComponentFactory`]: a component that was read, checked and compiled once, and from which instances are made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bivium_exchange::Exchange;
use bivium_instances::document::blocking;
use bivium_instances::{
    Capacity, DeviceAccess, Idle, InstanceFactory, Placement, PluginContext, PoolLimits, RestartPolicy,
};
use bivium_interface::manifest::{Isolation, WasmPlugin};
use bivium_interface::{ErrorCode, Manifest, PluginError, Result};
use bivium_records::PluginLog;
use serde_json::Value;
use tokio::task::yield_now;
use wasmtime::{Store, UpdateDeadline};

use crate::capability::Grants;
use crate::capability::network::NetworkGrant;
use crate::compile::{Compiled, ComponentRequest, at};
use crate::engine::WasmEngine;
use crate::guest::GuestPre;
use crate::instance::ComponentInstance;
use crate::kind::{self, ComponentKind};
use crate::state::HostState;
use crate::store::{AccessRecorder, Bounds, GuestLog, Limiter, MemoryGauge, StoreLimits, StoreState, TICKS_TO_YIELD};
use crate::{ceilings, command, refusal, trap, typed};

/// Instances beyond the first are stopped when no call has needed them for this time.
const IDLE: Idle = Idle { after: Duration::from_secs(60), keep: 1 };

/// Short delays, since making an instance is cheap and may soon succeed again when other plugins free what it needs.
const RESTART: RestartPolicy = RestartPolicy {
    delay: Duration::from_millis(10),
    open_after: 5,
    open: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    jitter: 20,
};

/// Makes the instances of one component.
pub struct ComponentFactory {
    name: String,
    version: String,
    limits: StoreLimits,
    pool: PoolLimits,
    engine: WasmEngine,
    guest: Box<dyn GuestPre>,
    /// What an instance takes of the engine's capacity.
    needs: [u32; 3],
    exchange: Exchange,
    context: PluginContext,
    grants: Arc<Grants>,
    instances: AtomicU64,
    /// The plugin's schema, which is asked for once: it is the same for every instance.
    schema: Arc<OnceLock<Value>>,
}

impl ComponentFactory {
    /// Takes a plugin's component from the cache or compiles it, and checks it. `plugin` is the part of the manifest for a component.
    /// Dropping the future stops a compiler in a child process.
    ///
    /// # Errors
    /// - `not-found` or `denied` if the file cannot be read;
    /// - `resource-exhausted` if it is too large or needs too much memory to compile;
    /// - `timeout` if compiling takes too long;
    /// - `invalid-manifest` if its digest differs from the manifest's, it is not a component, its world or version is not supported, or
    ///   it imports something that the host does not have;
    /// - `not-found`, `denied` or `invalid-manifest` if a granted directory cannot be opened;
    /// - `invalid-config` if the host does not have a granted secret.
    pub async fn load(
        engine: &WasmEngine,
        manifest: &Manifest,
        plugin: &WasmPlugin,
        exchange: &Exchange,
        context: PluginContext,
    ) -> Result<Self> {
        let named = |error: PluginError| error.with_plugin(&manifest.name);
        let limits = &context.granted.limits;
        let engine = engine.for_limits(limits).map_err(named)?;
        let request = ComponentRequest::of(&manifest.name, plugin, limits, engine.config().compile_memory())
            .with_log(&context.log);
        let network = NetworkGrant::new(&context, engine.config().network()).map_err(named)?;
        let limits = StoreLimits::new(&context.granted.limits);
        let path = request.path.clone();
        let (guest, compiled) = guest(&engine, request).await.map_err(named)?;
        let needs = ceilings::needs(&compiled.component, &limits, engine.capacity())
            .map_err(|error| named(at(&path, error)))?;
        let granted = Arc::clone(&context.granted);
        let cache = engine.cache().map(|cache| cache.directory);
        let protected = context.protected.clone().and_exchange(exchange).and(cache, "the host's cache");
        let grants = blocking(move || Grants::open(&granted, &protected, network)).await;
        let grants = grants.and_then(|grants| grants).map_err(named)?;
        Ok(Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            limits,
            pool: PoolLimits {
                instances: plugin.instances.max,
                calls_per_instance: 1,
                single_use: plugin.isolation == Isolation::Call || guest.is_single_use(),
                thread_affinity: true,
                queue: PoolLimits::queue(&context.granted.limits),
                idle: Some(IDLE),
                restart: RESTART,
            },
            engine,
            guest,
            needs,
            exchange: exchange.clone(),
            context,
            grants: Arc::new(grants),
            instances: AtomicU64::new(0),
            schema: Arc::default(),
        })
    }

    /// The plugin's log.
    #[must_use]
    pub fn log(&self) -> &PluginLog {
        &self.context.log
    }
}

#[async_trait]
impl InstanceFactory for ComponentFactory {
    type Instance = ComponentInstance;

    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn limits(&self) -> PoolLimits {
        self.pool
    }

    fn capacity(&self) -> Option<&Arc<Capacity>> {
        Some(self.engine.capacity())
    }

    /// A component that exceeds a limit fails early and cheaply, and each call should get that error.
    fn is_crash(&self, error: &PluginError) -> bool {
        error.code() != ErrorCode::ResourceExhausted
    }

    fn devices(&self) -> Option<&DeviceAccess> {
        self.context.devices.as_ref()
    }

    async fn create(&self, placement: Placement) -> Result<ComponentInstance> {
        let reservation = self.engine.capacity().reserve(&self.needs).await;
        let id = self.instances.fetch_add(1, Ordering::Relaxed) + 1;
        let memory = MemoryGauge::default();
        let limiter = Limiter::new(self.limits, Arc::clone(&memory));
        let log = Arc::new(GuestLog::new(self.context.log.clone(), id, self.limits.log_records));
        let access = Arc::new(AccessRecorder::new(self.context.audit.clone(), log));
        let (ticker, counted) = (self.engine.ticker(), self.engine.count_store());
        let state = StoreState::new(self.limits, limiter, access, ticker, counted);
        let state = HostState::new(state, &self.exchange, Arc::clone(&self.grants));
        let mut store = Store::new(self.engine.wasmtime(), state);
        store.limiter(|state| &mut state.store.limiter);
        store.set_hostcall_fuel(self.limits.handed);
        store.set_max_component_handles(self.limits.all_handles());
        // With tokio's own yield all other ready tasks run first, and the runtime checks its timers and sockets.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(TICKS_TO_YIELD, Box::pin(yield_now()))));
        store.set_epoch_deadline(TICKS_TO_YIELD);

        if let Some(fuel) = self.limits.fuel {
            store.set_fuel(fuel).map_err(|error| PluginError::internal(format!("cannot count fuel: {error}")))?;
        }
        let signals = Arc::clone(&store.data().store.signals);
        let guest = Bounds::of_control(&self.limits)
            .drive(&signals, self.guest.instantiate(&mut store))
            .await?
            .map_err(|error| trap::explain(&error, store.data()))?
            .map_err(|error| refusal::wrong_type(&error))?;
        let schema = Arc::clone(&self.schema);
        Ok(ComponentInstance::new(id, store, guest, (reservation, placement), self.limits, memory, schema))
    }
}

/// Gets the compiled component, and checks whether it is a plugin that this host can run.
pub(crate) async fn guest(engine: &WasmEngine, request: ComponentRequest) -> Result<(Box<dyn GuestPre>, Compiled)> {
    let path = request.path.clone();
    let in_file = |error: PluginError| at(&path, error);
    let compiled = engine.loader().component(engine.wasmtime(), request).await?;
    let kind = kind::find(&compiled.component, engine.wasmtime()).map_err(in_file)?;
    let linked = engine.linker().instantiate_pre(&compiled.component);
    let linked = linked.map_err(|error| in_file(refusal::missing_import(&error)))?;
    let guest: Box<dyn GuestPre> = match kind {
        ComponentKind::World(world) => {
            (world.guest)(linked).map_err(|error| in_file(refusal::missing_export(&error)))?
        }
        ComponentKind::Command(run) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Box::new(command::ProgramGuestPre::new(linked, run, name))
        }
        ComponentKind::Typed(methods) => Box::new(typed::TypedGuestPre::new(linked, methods)),
    };
    Ok((guest, compiled))
}
