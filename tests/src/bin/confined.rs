//! Makes confined workers try every escape in `tests/plugins/escapes`, at the level of confinement that this process can use, and
//! prints the results.
//!
//! `confined PLUGINS DATA` prints one JSON object: `support` (what the machine supports), `escaped` (what was reached, by plugin and
//! case), `cases` (how many were tried), `told` (the host's records in the plugins' logs), `works` (results of ordinary library use, or
//! the error), `left` (processes that outlived their worker).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bivium::{Call, ConfinementSupport, LogSource, PluginManager};
use serde_json::{Value, json};

/// How many descriptors this host has open without close-on-exec.
const INHERITED: usize = 3;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(plugins), Some(data)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: confined PLUGINS DATA");
    };
    let scene = Scene::new(&data)?;
    let manager = PluginManager::builder().manifests(&plugins).data_dir(data.join("data")).build()?;
    for name in ["target", "escapes", "escapes-network", "works"] {
        manager.load(name).await?;
    }
    let made = manager.execute("target", Call::new().method("make")).await?.json;
    let inherited = manager.execute("target", Call::new().method("inherited")).await?.json;
    let liar = json!({
        "name": "liar", "version": "1.0.0", "module": "liar", "class": "Liar", "source": plugins.canonicalize()?,
        "env_vars": {"PORT": scene.port().to_string()},
    });
    std::fs::write(data.join("liar.json"), liar.to_string())?;
    let liars = PluginManager::builder().manifests(&data).data_dir(data.join("data")).build()?;
    liars.load("liar").await?;
    ensure!(liars.execute("liar", Call::new()).await?.json == "here", "a worker that lies about its port serves");
    let sibling = worker(&manager, "works").await?;
    let mut target = scene.target(sibling);
    target.as_object_mut().context("it is an object")?.extend(made.as_object().cloned().unwrap_or_default());

    let support = ConfinementSupport::here();
    let has_root = support.held.iter().any(|held| held.contains("root directory"));
    let untold = manager.execute("escapes", Call::new().method("needs_root")).await?.json;
    let skip = if has_root { json!([]) } else { untold };
    let mut escaped = BTreeMap::new();
    let mut cases = 0;
    for name in ["escapes", "escapes-network"] {
        let call = Call::new().named("target", target.clone()).named("skip", skip.clone());
        let found = manager.execute(name, call).await?.json;
        let found = found.as_object().context("results by name")?;
        cases += found.len();
        let reached = found.iter().filter(|(_, what)| !what.is_null());
        escaped.extend(reached.map(|(case, what)| (format!("{name} {case}"), what.clone())));
        for case in manager.execute(name, Call::new().method("alone")).await?.json.as_array().context("names")? {
            cases += 1;
            // The case may break the connection for its answer: then only what the host has seen counts.
            if let Some(what) = alone(&manager, name, case, &target).await.filter(|what| !what.is_null()) {
                escaped.insert(format!("{name} {case}"), what);
            }
            manager.reload(name).await?;
        }
    }
    let gone = manager.execute("target", Call::new().method("remove")).await?.json;
    if gone != json!([]) {
        escaped.insert("removed or changed objects of others".into(), gone);
    }
    if inherited != json!([]) {
        escaped.insert("a trusted worker has what its host had open".into(), inherited);
    }
    escaped.extend(scene.reached()?);

    let works = works(&manager).await;
    let told = ["escapes", "escapes-network"].map(|name| told(&manager, name));
    let left = left(&manager, &data).await?;
    manager.unload_all().await;
    let report = json!({
        "support": {"held": support.held, "missing": support.missing},
        "cases": cases, "escaped": escaped, "told": told.concat(), "works": works, "left": left,
    });
    println!("{report}");
    Ok(())
}

async fn alone(manager: &PluginManager, name: &str, case: &Value, target: &Value) -> Option<Value> {
    let call = Call::new().method("one").named("name", case.clone()).named("target", target.clone());
    Some(manager.execute(name, call.timeout(Duration::from_secs(20))).await.ok()?.json)
}

/// The id of the worker's process that the host sees.
async fn worker(manager: &PluginManager, name: &str) -> Result<u64> {
    let stats = manager.stats(name).await?;
    Ok(stats.instances.first().context("a live worker")?.id)
}

fn told(manager: &PluginManager, name: &str) -> Vec<String> {
    let records = manager.logs(name, 100).unwrap_or_default();
    records.into_iter().filter(|record| record.source == LogSource::Host).map(|record| record.message).collect()
}

/// The targets of the escapes, and whether they were reached.
struct Scene {
    dir: PathBuf,
    tcp: TcpListener,
    udp: UdpSocket,
    stream: UnixListener,
    datagram: UnixDatagram,
    hidden: UnixListener,
    name: String,
    limits: String,
    _inherited: Vec<std::os::fd::OwnedFd>,
}

impl Scene {
    fn new(data: &Path) -> Result<Self> {
        let dir = data.join("secrets");
        std::fs::create_dir(&dir)?;
        std::fs::write(dir.join("secret"), "secret")?;
        let name = format!("bivium-test-{}", std::process::id());
        let abstract_name = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name)?;
        let scene = Self {
            tcp: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
            udp: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
            stream: UnixListener::bind(dir.join("stream"))?,
            datagram: UnixDatagram::bind(dir.join("datagram"))?,
            hidden: UnixListener::bind_addr(&abstract_name)?,
            limits: std::fs::read_to_string("/proc/self/limits")?,
            _inherited: inherited(&dir)?,
            name,
            dir,
        };
        for listener in [scene.tcp.set_nonblocking(true), scene.udp.set_nonblocking(true)] {
            listener?;
        }
        scene.stream.set_nonblocking(true)?;
        scene.datagram.set_nonblocking(true)?;
        scene.hidden.set_nonblocking(true)?;
        Ok(scene)
    }

    fn port(&self) -> u16 {
        self.tcp.local_addr().map(|address| address.port()).unwrap_or_default()
    }

    fn target(&self, sibling: u64) -> Value {
        json!({
            "pid": std::process::id(), "sibling": sibling,
            "port": self.port(),
            "udp": self.udp.local_addr().map(|address| address.port()).unwrap_or_default(),
            "stream": self.dir.join("stream"), "datagram": self.dir.join("datagram"), "abstract": self.name,
            "secret": self.dir.join("secret"), "dir": self.dir,
            "core": rustix::process::getrlimit(rustix::process::Resource::Core).maximum,
        })
    }

    /// The targets that the host has seen being reached.
    fn reached(&self) -> Result<BTreeMap<String, Value>> {
        let mut found = BTreeMap::new();
        let mut note = |is: bool, what: &str| {
            if is {
                found.insert(what.to_owned(), json!(true));
            }
        };
        note(self.tcp.accept().is_ok(), "connected to the host by TCP");
        note(self.udp.recv(&mut [0; 8]).is_ok(), "sent the host a datagram by UDP");
        note(self.stream.accept().is_ok(), "connected to the host by a Unix socket");
        note(self.datagram.recv(&mut [0; 8]).is_ok(), "sent the host a Unix datagram");
        note(self.hidden.accept().is_ok(), "connected to the host by an abstract name");
        note(std::fs::read_to_string("/proc/self/limits")? != self.limits, "changed the host's limits");
        note(std::fs::read_to_string(self.dir.join("secret"))? != "secret", "changed the secret");
        note(std::fs::read_dir(&self.dir)?.count() != 3, "changed the directory of the secret");
        Ok(found)
    }
}

/// Open files that every program started by this process would inherit.
fn inherited(dir: &Path) -> Result<Vec<std::os::fd::OwnedFd>> {
    let opened = (0..INHERITED).map(|_| {
        let file =
            std::os::fd::OwnedFd::from(std::fs::File::options().read(true).write(true).open(dir.join("secret"))?);
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
        ensure!(file.as_raw_fd() > 2, "the standard descriptors are there");
        Ok(file)
    });
    opened.collect()
}

/// Ordinary use of libraries: the result, or the error.
async fn works(manager: &PluginManager) -> Value {
    let mut found = serde_json::Map::new();
    for (method, argument) in [
        ("multiprocessing", Some("fork")),
        ("multiprocessing", Some("spawn")),
        ("multiprocessing", Some("forkserver")),
        ("shared_memory", None),
        ("futures", None),
        ("asyncio", None),
        ("files", None),
        ("threads", None),
    ] {
        let mut call = Call::new().method(method).timeout(Duration::from_secs(120));
        if let Some(argument) = argument {
            call = call.arg(argument);
        }
        let came = match manager.execute("works", call).await {
            Ok(payload) => payload.json,
            Err(error) => {
                let traceback = error.failure().map(|failure| failure.traceback.clone()).unwrap_or_default();
                json!({"error": error.to_string(), "help": error.help(), "traceback": traceback})
            }
        };
        found.insert([method, argument.unwrap_or_default()].join(" ").trim().to_owned(), came);
    }
    Value::Object(found)
}

/// Starts processes that try to outlive their workers, unloads the plugins, and returns the processes that are left.
async fn left(manager: &PluginManager, data: &Path) -> Result<Vec<u32>> {
    // A time that no other process on the machine sleeps for.
    let seconds = 100_000 + std::process::id();
    for name in ["escapes", "escapes-network"] {
        manager.execute(name, Call::new().method("daemon").named("seconds", seconds)).await?;
        manager.execute(name, Call::new().method("hop")).await?;
        manager.unload(name).await?;
    }
    let sleeps = seconds.to_string();
    let is_ours = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut parts = line.split(|byte| *byte == 0).map(|part| Path::new(std::ffi::OsStr::from_bytes(part)));
        // Processes that run the worker's package, which is in the home directory of this run.
        let is_named = parts.any(|part| part == Path::new(&sleeps) || part.starts_with(data));
        is_named && *pid != std::process::id() && parent_is_gone(*pid)
    };
    let all = || -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    };
    // A killed process takes a moment to end.
    let until = Instant::now() + Duration::from_secs(5);
    while !all().is_empty() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(all())
}

/// Whether a process does not belong to a guard or worker that still serves: those are below this process.
fn parent_is_gone(pid: u32) -> bool {
    let mut above = pid;
    for _ in 0..64 {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{above}/stat")) else { return false };
        let Some(parent) = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) else { return false };
        match parent.parse() {
            Ok(parent) if parent == std::process::id() => return false,
            Ok(0 | 1) | Err(_) => return true,
            Ok(parent) => above = parent,
        }
    }
    true
}
