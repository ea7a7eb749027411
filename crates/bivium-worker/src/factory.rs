//! [`WorkerFactory`]: starts workers for a manifest.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bivium_exchange::{Area, Exchange};
use bivium_instances::document::DocumentLimits;
use bivium_instances::{DeviceAccess, Idle, InstanceFactory, Placement, PluginContext, PoolLimits, RestartPolicy};
use bivium_interface::manifest::{PythonKind, PythonObject};
use bivium_interface::{ErrorCode, LogLevel, LogSource, PluginError, Result};
use bivium_records::InstanceLog;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::caches::{self, Kept};
use crate::call::payload::{CallLimits, blocking};
use crate::call::shared::Shared;
use crate::child::Program;
use crate::confinement::{Confinement, Group, audit};
use crate::cures::Cures;
use crate::environment::bytecode;
use crate::environment::embedded::Package;
use crate::environment::variables::{show_gpus, variables};
use crate::environment::{self, Interpreter};
use crate::extra::{WorkerExtension, WorkerExtras};
use crate::low_memory::name_memory_limit;
use crate::manifest::PythonManifest;
use crate::places::WorkerPlaces;
use crate::process::ending::Ending;
use crate::process::ids::host_id;
use crate::process::memory::KillCount;
use crate::process::output::{Output, Told};
use crate::process::spawn::{GuardSetup, spawn};
use crate::process::state::WorkerState;
use crate::process::{GuardChannel, Process, Reaped};
use crate::wire::channel::{Exit, Ready, listen};
use crate::wire::client::Client;
use crate::wire::denials::Denials;
use crate::wire::{PROTOCOL, Settings};
use crate::worker::{EndOnDrop, Worker};

/// How long a plugin that handles cancellation has to end by itself.
const CANCEL_GRACE_S: f64 = 0.2;

/// How long the pipes of a worker that has ended are read for its last output.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();

/// The most log records a second of a worker without this limit: enough for ordinary programs, and so few that a host and its
/// disk are not disturbed.
const LOG_RECORDS: u64 = 10_000;

/// Makes workers of one plugin.
pub(crate) struct WorkerFactory {
    pub(crate) manifest: PythonManifest,
    pub(crate) exchange: Exchange,
    pub(crate) context: PluginContext,
    /// The interpreter of the plugin's environment.
    pub(crate) python: Interpreter,
    /// The area that contains that environment, if it is only for this host; it is deleted with it.
    pub(crate) environment: Option<Area>,
    pub(crate) package: Arc<Package>,
    pub(crate) confinement: Arc<Confinement>,
    pub(crate) places: WorkerPlaces,
    pub(crate) cures: Arc<Cures>,
    /// What gives its workers more, if anything does.
    pub(crate) extension: Option<Arc<dyn WorkerExtension>>,
    /// The cache of its libraries, if it can be used.
    pub(crate) cache: Option<Arc<Kept>>,
}

#[async_trait]
impl InstanceFactory for WorkerFactory {
    type Instance = Worker;

    fn name(&self) -> &str {
        &self.manifest.name
    }

    fn version(&self) -> &str {
        &self.manifest.version
    }

    fn limits(&self) -> PoolLimits {
        PoolLimits {
            instances: self.manifest.python.replicas,
            calls_per_instance: self.manifest.python.concurrency,
            single_use: false,
            thread_affinity: false,
            queue: PoolLimits::queue(&self.context.granted.limits),
            idle: self.manifest.python.idle_stop_s.map(|seconds| Idle { after: Duration::from_secs(seconds), keep: 0 }),
            restart: RestartPolicy::default(),
        }
    }

    fn devices(&self) -> Option<&DeviceAccess> {
        self.context.devices.as_ref()
    }

    async fn create(&self, placement: Placement) -> Result<Worker> {
        let placement = Arc::new(placement);
        match self.start_in_time(&placement).await {
            // Python itself may not have started.
            Err(error) if [ErrorCode::Unavailable, ErrorCode::Crashed].contains(&error.code()) => {
                if self.repair().await? { self.start_in_time(&placement).await } else { Err(error) }
            }
            started => started,
        }
    }
}

impl WorkerFactory {
    async fn start_in_time(&self, placement: &Arc<Placement>) -> Result<Worker> {
        let start = Duration::from_secs(self.manifest.python.start_s);
        match tokio::time::timeout(start, self.start(placement)).await {
            Ok(started) => started.map_err(|error| name_memory_limit(error, &self.context.granted.limits)),
            Err(_) => {
                let message = format!("the worker was not ready after {} s", start.as_secs());
                let late = PluginError::timeout(message)
                    .with_help("set a longer `start_s` in its manifest if the plugin loads slowly");
                // OpenBLAS tries again and again if it gets no memory.
                Err(match self.context.granted.limits.memory_mb {
                    Some(limit) => late.and_help(format!("or it lacks memory: limits.memory_mb is {limit}")),
                    None => late,
                })
            }
        }
    }

    /// Makes the plugin's environment again if the host has made it and its Python does not start; returns whether it did.
    async fn repair(&self) -> Result<bool> {
        let own = self.environment.as_ref().map(|area| area.path().to_owned());
        let environments = own.or_else(|| self.places.environments());
        let (cache, confined) = (self.places.cache.as_deref(), self.context.granted.confined);
        environment::repair(&self.python, &self.manifest, environments.as_deref(), cache, confined, &self.context.log)
            .await
    }

    fn call_limits(&self) -> CallLimits {
        let granted = &self.context.granted.limits;
        CallLimits {
            document: DocumentLimits::of(granted),
            blob_mb: granted.blob_mb,
            time: granted.call_ms.map(Duration::from_millis),
        }
    }

    fn log_records(&self) -> u32 {
        u32::try_from(self.context.granted.limits.log_records.unwrap_or(LOG_RECORDS)).unwrap_or(u32::MAX)
    }

    async fn start(&self, placement: &Arc<Placement>) -> Result<Worker> {
        let failed = |error: std::io::Error| {
            PluginError::unavailable(format!("cannot start {}: {error}", self.python.path.display()))
        };
        let package = Arc::clone(&self.package);
        let kept = self.cache.clone();
        let reader = self.confinement.is_confined().then(|| self.python.clone());
        let lacks_bytecode = blocking(move || {
            // It may have been removed.
            let _ = kept.map(|kept| std::fs::create_dir_all(&kept.files));
            package.restore()?;
            Ok(reader.is_some_and(|python| !bytecode::is_there(&package, &python)))
        })
        .await?;
        let area = Arc::new(self.exchange.area(&self.manifest.name)?);
        let token = random_hex::<32>()?;
        let mark = random_hex::<8>()?;
        let host: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let granted = &self.context.granted;
        let mut variables =
            variables(&self.manifest, granted, &self.python.path, area.path(), &mark, host.clone().into_iter());
        show_gpus(&mut variables, placement.gpus());
        let extension = self.extension.as_ref();
        let extras = extension.map(|extension| extension.prepare(&mut variables, &host, &self.context));
        let extras = extras.transpose()?.unwrap_or_default();
        if let Some(kept) = &self.cache {
            caches::name(&mut variables, &kept.files, granted, &self.manifest, &extras.declared);
        }
        let lasting = extras.data.iter().chain(self.cache.iter().map(|kept| &kept.files));
        let lasting: Vec<&Path> = lasting.map(PathBuf::as_path).collect();
        let confined = self.confinement.is_confined();
        let window = confined.then(|| self.exchange.window(&self.manifest.name)).transpose()?.map(Arc::new);
        let windows = window.iter().flat_map(|window| window.directories());
        let mut sandbox = self.confinement.sandbox(&mark, &area, &lasting, windows, placement.gpus())?;
        let settings = self.settings(&area, &token, &sandbox.private(), &extras)?;

        let (host_end, worker_end) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        host_end.set_nonblocking(true).map_err(failed)?;
        let port = hand_over_listener(&host_end).map_err(failed)?;
        let channel = UnixStream::from_std(host_end.try_clone().map_err(failed)?).map_err(failed)?;
        let guard_channel = Arc::new(GuardChannel::new(host_end));
        let end_on_drop = EndOnDrop(Arc::clone(&guard_channel));
        let program = Program {
            path: self.python.path.clone(),
            argument: self.package.path.join("__main__.py"),
            variables,
            stdin: worker_end.into(),
        };
        let held = Arc::clone(&guard_channel);
        let group = sandbox.take_group().map(Arc::new);
        let shared_group = group.clone();
        let own = Box::new(move |child| Process::new(child, mark, held, shared_group));
        let setup = if self.python.prctl { GuardSetup::ByGuard } else { GuardSetup::BeforeExec };
        let process = spawn(program, sandbox, setup, own).await.map_err(failed)?;
        let guard = process.id();
        let kills = KillCount::of(guard);

        let state = WorkerState::new();
        let (reading, mut writing) = channel.into_split();
        let (handshake, ready) = oneshot::channel();
        let log = Arc::new(InstanceLog::new(self.context.log.clone(), u64::from(guard), self.log_records()));
        let cures = Some(Arc::clone(&self.cures));
        let denials = Denials { audit: self.context.audit.clone(), guard: u64::from(guard), confined, cures };
        let events = tokio::spawn(listen(reading, handshake, Arc::clone(&log), denials.clone()));
        let cleanup = Cleanup { kills, group, cache: self.cache.clone(), placement: Arc::clone(placement) };
        watch(process, events, Arc::clone(&state), Arc::clone(&log), Arc::clone(&area), cleanup).map_err(failed)?;
        // Before it gets anything: the settings contain the secrets.
        audit(&self.context, u64::from(guard))?;
        // An error means that it has ended; `ready` will report more.
        let _ = writing.write_all(&settings).await;
        // Kept open until the guard's channel is released.
        writing.forget();

        let Ready { pid } = match ready.await {
            Ok(ready) => ready?,
            Err(_) => return Err(state.ended().await.error("before it was ready")),
        };
        let Some(pid) = host_id(guard, pid) else {
            return Err(match tokio::time::timeout(LAST_OUTPUT, state.ended()).await {
                Ok(ending) => ending.error("before it was ready"),
                Err(_) => PluginError::protocol("the worker reports the id of a process that is not below its guard"),
            });
        };
        // Not before: it would take processor time from this start.
        if lacks_bytecode {
            bytecode::make(&self.package, &self.python);
        }
        // Until now the guard's process id; from here on the one that statistics show.
        log.set_instance(u64::from(pid));
        let shared = Shared {
            pid,
            client: Client::new(port, &token)?,
            limits: self.call_limits(),
            exchange: self.exchange.clone(),
            area,
            confinement: Arc::clone(&self.confinement),
            window,
            runtime: Handle::current(),
            denials,
            guard_channel,
            state,
        };
        let mut worker = Worker::new(Arc::new(shared), guard, self.manifest.python.concurrency.max(1), end_on_drop);
        if !placement.gpus().is_empty() {
            worker.find_release().await?;
        }
        Ok(worker)
    }

    /// The secrets that the plugin is granted, by name. A process gets the secrets themselves: no host is in between.
    fn secrets<'a>(&'a self, extras: &'a WorkerExtras) -> BTreeMap<&'a str, &'a str> {
        let granted = self.context.granted.permissions.secrets.iter();
        // The host has them all: without one the plugin is not loaded.
        let granted =
            granted.filter_map(|secret| Some((secret.name.as_str(), self.context.secrets.get(&secret.name)?)));
        granted.chain(extras.secrets.iter().map(|(name, value)| (name.as_str(), value.as_str()))).collect()
    }

    fn settings(&self, area: &Area, token: &str, private: &[&str], extras: &WorkerExtras) -> Result<Vec<u8>> {
        let utf8 = |path: &'_ std::path::Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| PluginError::invalid_manifest(format!("{} is not UTF-8", path.display())))
        };
        // A confined worker gets real paths: links and `..` in a path may not exist in its root.
        let real = |path: &std::path::Path| match self.confinement.is_confined() {
            true => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
            false => path.to_owned(),
        };
        let source = self.manifest.python.source.as_deref().map(|path| utf8(&real(path))).transpose()?;
        let limits = self.call_limits();
        let PythonObject { module, name, kind, .. } = &self.manifest.python.object;
        let settings = Settings {
            protocol: PROTOCOL,
            token,
            name: &self.manifest.name,
            version: &self.manifest.version,
            module,
            class: if *kind == PythonKind::Function { "" } else { name },
            function: if *kind == PythonKind::Class { "" } else { name },
            init_args: &self.manifest.python.init_args,
            source: source.as_deref().into_iter().collect(),
            exchange: &utf8(area.path())?,
            concurrency: self.manifest.python.concurrency.max(1),
            max_request_bytes: limits.message(),
            max_reply_bytes: limits.document.text,
            cancel_grace_s: CANCEL_GRACE_S,
            private,
            lookups: self.confinement.lookups(),
            grants: self.confinement.directories(),
            confined: self.confinement.is_confined(),
            secrets: self.secrets(extras),
            limits: &self.context.granted.limits,
            log_level: self.context.log_level.map(python_level).or(extras.log_level.as_deref()),
            extras: &extras.settings,
        };
        let mut line = serde_json::to_vec(&settings).map_err(|error| PluginError::internal(error.to_string()))?;
        line.push(b'\n');
        Ok(line)
    }
}

/// The level of Python's `logging` at which these records are sent.
fn python_level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "notset",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warning",
        LogLevel::Error => "error",
    }
}

/// Makes the socket that a worker listens on, and sends it through its channel. Returns its port: a port that the worker names is not
/// trusted, since the token is sent to it.
fn hand_over_listener(channel: &std::os::unix::net::UnixStream) -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let descriptors = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    // A space, which JSON ignores: descriptors can only be sent with at least one byte.
    sendmsg(channel, &[IoSlice::new(b" ")], &mut ancillary, SendFlags::empty())?;
    Ok(port)
}

/// What is needed when a worker ends: to find out why, and to clean up.
struct Cleanup {
    kills: KillCount,
    group: Option<Arc<Group>>,
    cache: Option<Arc<Kept>>,
    /// Its GPUs, which others may use when no process of it is left.
    placement: Arc<Placement>,
}

/// Starts the task that lives as long as the process: it reads its output, and cleans up when it has ended.
fn watch(
    mut process: Process,
    mut events: JoinHandle<Option<Exit>>,
    state: Arc<WorkerState>,
    log: Arc<InstanceLog>,
    area: Arc<Area>,
    cleanup: Cleanup,
) -> std::io::Result<()> {
    let (stdout, stderr) = process.take_output().ok_or_else(|| std::io::Error::other("it has no output"))?;
    let told = Told { log: Arc::clone(&log), running: Arc::clone(&state.running), stderr: Arc::clone(&state.stderr) };
    let output = Arc::new(Output::new(stdout, stderr, told)?);
    let _ = state.output.set(Arc::clone(&output));
    let output = output.follow();
    tokio::spawn(async move {
        let mut reported = None;
        tokio::select! {
            exit = &mut events => {
                reported = exit.ok().flatten();
                // A guard that could not end all processes keeps trying until it is ended.
                if reported.is_none_or(|exit: Exit| exit.left == 0) {
                    process.ended_in_time().await;
                }
            }
            () = process.overdue() => {}
            () = process.ended() => {
                // If the guard has sent its report, it is in the socket.
                if let Ok(exit) = tokio::time::timeout(LAST_OUTPUT, &mut events).await {
                    reported = exit.ok().flatten();
                }
            }
        }
        let _ = tokio::time::timeout(LAST_OUTPUT, output).await;
        events.abort();
        let guard_hung = !process.has_ended();
        let orderly = !guard_hung && reported.is_some_and(|exit| exit.left == 0);
        let Reaped { status, left } =
            tokio::task::spawn_blocking(move || process.reap(orderly)).await.unwrap_or_default();
        let Exit { status, signal, .. } = reported.unwrap_or_else(|| {
            use std::os::unix::process::ExitStatusExt;
            let (status, signal) = (status.and_then(|status| status.code()), status.and_then(|status| status.signal()));
            Exit { status, signal, left: 0 }
        });
        // The worker's files are deleted only now, when no process can write there any more.
        drop(area);
        let because = state.because.get().copied();
        let out_of_memory = because.is_none() && signal == Some(SIGKILL) && cleanup.kills.has_risen();
        // It takes a moment until the group is empty.
        let _ = tokio::task::spawn_blocking(move || drop((cleanup.group, cleanup.cache, cleanup.placement))).await;
        let stderr = state.stderr.text();
        let ending = Ending { status, signal, because, out_of_memory, guard_hung, left, stderr };
        if let Some(trouble) = ending.trouble() {
            log.push(LogLevel::Error, LogSource::Host, None, &format!("the worker has ended, but {trouble}"));
        }
        state.ending.send_replace(Some(ending));
    });
    Ok(())
}

fn random_hex<const N: usize>() -> Result<String> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|error| PluginError::internal(format!("no random numbers: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
