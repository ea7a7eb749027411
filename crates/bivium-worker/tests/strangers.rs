//! Attacks by strangers on a worker: another user of the machine, and a web page in somebody's browser.
//!
//! A stranger can connect to the worker's port and read what the system shows of its processes. If the tests run
//! as root, they also try this as another user.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod common;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bivium_interface::PluginInterface;
use common::skipped::skipped;
use common::{Fixture, captive, parent};
use serde_json::{Value, json};

struct Scene {
    sample: Fixture,
    worker: u32,
    guard: u32,
    port: u16,
    token: String,
}

impl Scene {
    async fn new(permissions: Option<Value>) -> Self {
        let sample = captive("Captive", json!({"permissions": permissions})).await;
        let token = text(&sample, "token").await;
        let worker = u32::try_from(sample.plugin.stats().await.unwrap().instances[0].id).unwrap();
        let guard = parent(worker);
        Self { port: port(worker), worker, guard, token, sample }
    }

    /// Sends these bytes, and returns the whole answer.
    fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends a call with these headers; it must be refused with this status, and without a header that allows a browser to continue.
    fn refused(&self, line: &str, headers: &[(&str, &str)], status: &str) {
        let body = r#"{"method": "touch"}"#;
        let mut request = format!("{line} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let answer = self.send(&format!("{request}\r\n{body}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers:?}: {answer}");
        assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
        assert!(!answer.contains(&self.token));
    }

    /// Checks that no request of a stranger has reached the plugin.
    async fn end(self) {
        assert_eq!(self.sample.ask("touched", &[]).await.unwrap(), json!(0));
    }
}

async fn text(sample: &Fixture, method: &str) -> String {
    sample.ask(method, &[]).await.unwrap().as_str().unwrap().to_owned()
}

/// The port that a process listens on, found as any user can find it.
fn port(pid: u32) -> u16 {
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let listening = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_ours = fields[3] == "0A" && inodes.iter().any(|inode| inode == fields[9]);
        let (_, port) = fields[1].split_once(':')?;
        is_ours.then(|| u16::from_str_radix(port, 16).unwrap())
    });
    listening.expect("a worker listens")
}

/// Connects again and again and sends nothing, from two threads, until it is dropped.
struct Flood {
    over: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
}

impl Flood {
    fn of(port: u16) -> Self {
        let flood = Self { over: Arc::default(), count: Arc::default() };
        for _ in 0..2 {
            let (over, count) = (Arc::clone(&flood.over), Arc::clone(&flood.count));
            std::thread::spawn(move || {
                let mut held = VecDeque::new();
                while !over.load(Ordering::Relaxed) {
                    held.extend(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
                    count.fetch_add(1, Ordering::Relaxed);
                    if held.len() > 250 {
                        held.pop_front();
                    }
                }
            });
        }
        flood
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_flood_of_connections_takes_nothing_from_the_plugin_and_its_host() {
    let sample = captive("Greedy", json!({"limits": {"files": 50}})).await;
    let worker: u32 = sample.ask("pid", &[]).await.unwrap().to_string().parse().unwrap();
    let flood = Flood::of(port(worker));
    let open = || std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().count();
    let mut rounds = 0;
    while rounds < 20 || flood.count.load(Ordering::Relaxed) < 1000 {
        rounds += 1;
        assert_eq!(sample.ask("files", &[json!(50)]).await.unwrap(), json!(50), "its own files");
        // Each of these needs a connection of its own.
        let asked = futures_util::future::join_all((0..10).map(|_| sample.plugin.methods())).await;
        for methods in asked {
            assert!(!methods.unwrap().is_empty());
        }
        assert!(open() < 96, "{}", open());
    }
    assert_eq!(sample.plugin.stats().await.unwrap().restarts, 0);
}

#[tokio::test]
async fn another_user_is_refused_without_the_token() {
    for permissions in [None, Some(json!({}))] {
        let scene = Scene::new(permissions).await;
        let host = format!("127.0.0.1:{}", scene.port);
        let wrong = format!("Bearer {}", "0".repeat(scene.token.len()));
        let cut = format!("Bearer {}", &scene.token[1..]);
        let basic = format!("Basic {}", scene.token);
        let in_path = format!("POST /execute?token={}", scene.token);
        for headers in [
            vec![],
            vec![("Authorization", wrong.as_str())],
            vec![("Authorization", cut.as_str())],
            vec![("Authorization", basic.as_str())],
            vec![("Authorization", "Bearer ")],
            vec![("X-Token", scene.token.as_str())],
        ] {
            let headers = [vec![("Host", host.as_str())], headers].concat();
            for line in
                ["POST /execute", "POST /execute_stream", "POST /cancel?call=x", "POST /cleanup", in_path.as_str()]
            {
                scene.refused(line, &headers, "401");
            }
            scene.refused("GET /health", &headers, "401");
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn a_web_page_gets_nowhere() {
    let scene = Scene::new(None).await;
    let host = format!("127.0.0.1:{}", scene.port);
    let rebound = format!("attacker.example:{}", scene.port);
    let bearer = format!("Bearer {}", scene.token);
    // A form or a fetch without a preflight.
    let simple = [("Host", host.as_str()), ("Origin", "https://attacker.example"), ("Content-Type", "text/plain")];
    scene.refused("POST /execute", &simple, "403");
    // From a sandboxed frame, from a file, and from a page that some other worker's port has served.
    for origin in ["null", "file://", &format!("http://{host}")] {
        scene.refused("POST /execute", &[("Host", &host), ("Origin", origin), ("Authorization", &bearer)], "403");
    }
    // Requests that a browser sends without asking: for an image, a script, or a form in an old browser.
    scene.refused("GET /cleanup", &[("Host", &host)], "401");
    scene.refused("POST /execute", &[("Host", &host), ("Content-Type", "text/plain")], "401");
    // The preflight before a request with a token.
    let preflight = [
        ("Host", host.as_str()),
        ("Origin", "https://attacker.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    scene.refused("OPTIONS /execute", &preflight, "403");
    // If a name of the attacker resolves to 127.0.0.1, the page has the same origin: then there is no `Origin` header.
    for name in [rebound.as_str(), "attacker.example", "127.0.0.1.attacker.example", "[::1]", "0.0.0.0"] {
        scene.refused("POST /execute", &[("Host", name), ("Authorization", &bearer)], "403");
        scene.refused("GET /health", &[("Host", name)], "403");
    }
    scene.refused("POST /execute", &[("Authorization", &bearer)], "403");
    scene.end().await;
}

#[tokio::test]
async fn the_token_cannot_be_read_anywhere() {
    let scene = Scene::new(None).await;
    let token = scene.token.as_bytes();
    let holds = |bytes: &[u8]| bytes.windows(token.len()).any(|window| window == token);
    for pid in [scene.worker, scene.guard] {
        for file in ["cmdline", "environ"] {
            let shown = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!shown.is_empty() && !holds(&shown), "{file} of {pid}");
        }
    }
    let package = std::fs::read_to_string(format!("/proc/{}/cmdline", scene.worker)).unwrap();
    let package = PathBuf::from(package.split('\0').nth(1).unwrap());
    let mut places = scene.sample.exchange.directories();
    places.push(package.parent().unwrap().to_owned());
    for place in &places {
        for file in files(place) {
            assert!(!holds(&std::fs::read(&file).unwrap_or_default()), "{}", file.display());
        }
    }
    // No other user may enter the directory.
    let area = text(&scene.sample, "area").await;
    for place in places.iter().map(PathBuf::as_path).chain([Path::new(&area)]) {
        assert_eq!(place.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", place.display());
    }
    as_nobody(&scene, &area);
    scene.end().await;
}

fn files(place: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Checks what a user sees who is neither this user nor root.
fn as_nobody(scene: &Scene, area: &str) {
    const NOBODY: u32 = 65534;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        skipped("only root can run a check as another user");
        return;
    }
    let fails = |program: &str, argument: String| {
        let mut command = Command::new(program);
        command.arg(&argument).uid(NOBODY).gid(NOBODY).current_dir("/").stdin(Stdio::null());
        let done = command.output().unwrap();
        assert!(!done.status.success() && done.stdout.is_empty(), "{program} {argument}: {done:?}");
    };
    for pid in [scene.worker, scene.guard] {
        fails("cat", format!("/proc/{pid}/environ"));
        fails("ls", format!("/proc/{pid}/fd"));
        fails("cat", format!("/proc/{pid}/mem"));
    }
    fails("ls", area.to_owned());
}
