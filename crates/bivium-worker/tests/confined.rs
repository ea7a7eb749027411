//! Workers that are confined to their permissions.
//!
//! If the kernel has no Landlock, the parts that need it are skipped, and the test says so.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod common;

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bivium_instances::PluginContext;
use bivium_interface::{Blob, Call, ErrorCode, HostPolicy, LogLevel, PluginError, PluginInterface, Result};
use bivium_records::{AuditRecord, AuditSink, Auditor, Decision, Secrets};
use bivium_worker::{WorkerPlaces, kept_caches, remove_cache};
use common::skipped::skipped;
use common::{Fixture, captive_manifest, context, eventually, load_at, load_from, load_in};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

async fn captive(permissions: Value) -> Fixture {
    common::captive("Captive", json!({"permissions": permissions})).await
}

fn assert_denied(result: Result<Value>, permission: &str) -> PluginError {
    let error = result.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Denied, "{error:?}");
    assert!(error.help().unwrap_or_default().contains(permission), "{error:?}");
    error
}

#[tokio::test]
async fn ordinary_plugin_work_succeeds() {
    let sample = captive(json!({})).await;
    assert_eq!(sample.ask("at_home", &[]).await.unwrap(), json!("ran\n"));
    assert_eq!(sample.ask("imports", &[]).await.unwrap(), json!(["Europe/Berlin", 4]));
    let made = sample.plugin.execute(Call::new().method("make").arg("made")).await.unwrap();
    assert_eq!(std::fs::read(made.blobs[0].path()).unwrap(), b"made");
}

#[tokio::test]
async fn files_outside_are_out_of_reach() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    std::fs::write(dir.path().join("other"), "secret").unwrap();
    let sample = captive(json!({})).await;
    if !sample.holds_files() {
        return;
    }
    // Another plugin's blob, and the directories beside the worker's own part of the exchange.
    let other = sample.exchange.write(b"other", "text/plain").unwrap();
    let session = &sample.exchange.directories()[0];
    let path = json!(secret);
    for method in ["read", "write", "truncate", "remove", "through_a_link"] {
        assert_denied(sample.ask(method, std::slice::from_ref(&path)).await, "permissions.filesystem");
    }
    // On another file system it fails for that reason; in both cases there is no hard link.
    sample.ask("hard_link", std::slice::from_ref(&path)).await.unwrap_err();
    assert_eq!(std::fs::metadata(&secret).unwrap().nlink(), 1);
    assert_denied(sample.ask("move_out", &[json!(dir.path().join("out"))]).await, "permissions.filesystem");
    let new = dir.path().join("new");
    let error = assert_denied(sample.ask("write", &[json!(new)]).await, "permissions.filesystem");
    let help = error.help().unwrap();
    assert!(help.contains(new.to_str().unwrap()) && !help.contains("mode"), "nothing is granted there: {help}");
    assert_eq!(sample.ask("by_a_child", &[path]).await.unwrap(), json!([1, ""]));
    for path in [json!(dir.path()), json!("/root"), json!("/")] {
        assert_denied(sample.ask("list", &[path]).await, "permissions.filesystem");
    }
    // In a root of its own it sees the path to its own part of the exchange, and nothing else.
    for (path, way) in [(json!(session), "areas"), (json!("/dev/shm"), session.file_name().unwrap().to_str().unwrap())]
    {
        match sample.ask("list", &[path]).await {
            Ok(found) => assert_eq!(found, json!([way])),
            denied => drop(assert_denied(denied, "permissions.filesystem")),
        }
    }
    let host = std::process::id();
    for path in [json!(other.path()), json!("/etc/shadow"), json!(format!("/proc/{host}/environ"))] {
        assert_denied(sample.ask("read", &[path]).await, "permissions.filesystem");
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_granted_directory_is_read_or_written_as_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let (read, write) = (dir.path().join("read"), dir.path().join("write"));
    for path in [&read, &write] {
        std::fs::create_dir(path).unwrap();
        std::fs::write(path.join("file"), "here").unwrap();
    }
    let directory = |path, guest, mode| json!({"path": path, "guest": guest, "mode": mode});
    let directories = [directory(&read, "/r", "read"), directory(&write, "/w", "write")];
    let sample = captive(json!({"filesystem": directories})).await;
    for path in [&read, &write] {
        assert_eq!(sample.ask("read", &[json!(path.join("file"))]).await.unwrap(), json!("here"));
    }
    sample.ask("write", &[json!(write.join("new"))]).await.unwrap();
    assert_eq!(std::fs::read_to_string(write.join("new")).unwrap(), "written");
    sample.ask("move_out", &[json!(write.join("moved"))]).await.unwrap();
    if sample.holds_files() {
        for method in ["write", "remove"] {
            let help = assert_denied(sample.ask(method, &[json!(read.join("file"))]).await, "\"mode\": \"write\"");
            assert!(
                help.help().unwrap().contains(&format!("{} is granted for reading only", read.display())),
                "{help:?}"
            );
        }
        // The path that a component would use for it.
        let error = sample.ask("read", &[json!("/w/file")]).await.unwrap_err();
        let there = format!("use {} in place of /w/file", write.join("file").display());
        assert!(error.help().unwrap_or_default().contains(&there), "{error:?}");
        match sample.ask("list", &[json!(dir.path())]).await {
            // The path to what is granted, in a /tmp of its own.
            Ok(found) => assert_eq!(found, json!(["read", "write"])),
            denied => drop(assert_denied(denied, "permissions.filesystem")),
        }
    }

    drop(sample);
    std::fs::remove_dir_all(&read).unwrap();
    let sample = captive(json!({"filesystem": [directory(&read, "/r", "read")]})).await;
    let error = sample.ask("imports", &[]).await.unwrap_err();
    assert!(error.message().contains("permissions.filesystem"), "{error}");
}

#[tokio::test]
async fn a_grant_above_the_hosts_directories_leaves_those_out() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "here").unwrap();
    let everything = json!({"filesystem": [{"path": "/", "guest": "/all", "mode": "write"}]});
    let manifest = captive_manifest("Captive", json!({"permissions": everything}));
    let context = context(&manifest);
    let sample = match load_in(manifest, context).await {
        Ok(sample) => sample,
        // Without a mount namespace they cannot be covered.
        Err(error) => {
            assert!(error.message().contains("mount namespace"), "{error}");
            return;
        }
    };
    assert_eq!(sample.ask("read", &[json!(dir.path().join("file"))]).await.unwrap(), json!("here"));
    let other = sample.exchange.write(b"other", "text/plain").unwrap();
    sample.ask("read", &[json!(other.path())]).await.unwrap_err();
    for path in sample.exchange.directories() {
        // The path to its own part, if it has one there.
        let found = sample.ask("list", &[json!(path)]).await.unwrap_or_else(|_| json!([]));
        assert!(found == json!([]) || found == json!(["areas"]), "{found}");
    }
    assert_denied(sample.ask("list", &[json!("/sys/class")]).await, "permissions.filesystem");
    let devices = sample.ask("list", &[json!("/dev")]).await.unwrap();
    assert!(!devices.as_array().unwrap().contains(&json!("kmsg")), "{devices}");
    let host = std::process::id();
    sample.ask("read", &[json!(format!("/proc/{host}/environ"))]).await.unwrap_err();
    // A blob beneath the grant, in a covered directory, can still be an argument.
    let call = Call::new().method("read").blob("path", other);
    assert_eq!(sample.plugin.execute(call).await.unwrap().json, json!("other"));

    for refused in ["/proc/self", "/dev/shm", "/sys/kernel"] {
        let grant = json!({"filesystem": [{"path": refused, "guest": "/g", "mode": "read"}]});
        let error = load_from(captive_manifest("Captive", json!({"permissions": grant}))).await.err().unwrap();
        assert!([ErrorCode::Denied, ErrorCode::InvalidManifest].contains(&error.code()), "{error:?}");
        // A link in /proc is reported by its target.
        assert!(error.message().contains("permissions.filesystem grants /"), "{refused}: {error}");
    }
}

#[tokio::test]
async fn without_network_permissions_there_is_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    let unix = dir.path().join("socket");
    let _unix = UnixListener::bind(&unix).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = json!(listener.local_addr().unwrap().port());
    let sample = captive(json!({})).await;
    for (method, argument) in
        [("connect", port.clone()), ("fast_open", port.clone()), ("multipath", port.clone()), ("datagram", port)]
    {
        assert_denied(sample.ask(method, &[argument]).await, "permissions.network");
    }
    assert_denied(sample.ask("serve", &[]).await, "permissions.network");
    // An abstract socket, the error of a library, and a socket in a granted directory.
    for method in ["of_the_machine", "machine"] {
        assert_denied(sample.ask(method, &[json!(unix)]).await, "Unix socket");
    }
    let directory = json!({"path": dir.path(), "guest": "/d", "mode": "write"});
    let granted = captive(json!({"filesystem": [directory]})).await;
    match granted.ask("of_the_machine", &[json!(unix)]).await {
        Ok(_) => {}
        // Without a root of its own.
        denied => drop(assert_denied(denied, "a confined plugin cannot use Unix sockets")),
    }
    assert_eq!(sample.ask("ring", &[]).await.unwrap_err().code(), ErrorCode::Denied);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody has connected");
}

#[tokio::test]
async fn a_denial_is_found_behind_what_libraries_make_of_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("model"), "here").unwrap();
    let sample = captive(json!({})).await;
    if !sample.holds_files() {
        return;
    }
    let denied = async |method: &str, argument: Value, permission: &str, behind: &str| {
        let error = assert_denied(sample.ask(method, &[argument]).await, permission);
        assert!(error.help().unwrap().contains(behind), "{error:?}");
        error
    };
    let error = denied("model", json!(dir.path().join("model")), "permissions.filesystem", "it was caused by ").await;
    assert_eq!(error.message(), "the model cannot be loaded");
    denied("database", json!(dir.path().join("data.db")), "permissions.filesystem", "SQLite").await;
    denied("fetch", json!("http://bivium.invalid/"), "permissions.network", "gaierror").await;
    denied("fetch", json!("http://127.0.0.1:9/"), "permissions.network", "it was caused by PermissionError").await;
    denied("by_name", json!("bivium.invalid"), "permissions.network", "names").await;
    match sample.ask("lock", &[]).await {
        Ok(locked) => assert_eq!(locked, json!("locked")),
        denied => drop(assert_denied(denied, "/dev/shm")),
    }
}

#[tokio::test]
async fn what_libraries_keep_lasts_and_goes_to_no_other_form_or_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let places = WorkerPlaces { cache: Some(dir.path().to_owned()), ..WorkerPlaces::default() };
    let start = async |more: Value| {
        let manifest = captive_manifest("Captive", more);
        load_at(manifest.clone(), context(&manifest), &places).await.unwrap()
    };
    let confined = start(json!({"permissions": {}})).await;
    let path = confined.ask("keep", &[json!("hub/model")]).await.unwrap();
    let path = Path::new(path.as_str().unwrap());
    assert!(
        path.starts_with(dir.path().join("plugins")),
        "it must be on disk, not in the exchange: {}",
        path.display()
    );
    drop(confined);
    let confined = start(json!({"permissions": {}})).await;
    assert_eq!(confined.ask("kept", &[json!("hub/model")]).await.unwrap(), json!("kept"), "another worker finds it");

    // The same plugin, trusted; and another, confined.
    let trusted = start(json!({})).await;
    trusted.ask("kept", &[json!("hub/model")]).await.unwrap_err();
    let kept = trusted.ask("keep", &[json!("hub/model")]).await.unwrap();
    let other = start(json!({"permissions": {}, "name": "other"})).await;
    other.ask("kept", &[json!("hub/model")]).await.unwrap_err();
    if confined.holds_files() {
        for (sample, path) in [(&confined, &kept), (&other, &kept), (&other, &json!(path))] {
            assert_denied(sample.ask("read", std::slice::from_ref(path)).await, "permissions.filesystem");
            assert_denied(sample.ask("write", std::slice::from_ref(path)).await, "permissions.filesystem");
        }
    }
    let found = kept_caches(places.cache.as_deref()).unwrap();
    assert_eq!(
        found.iter().map(|one| (one.plugin.as_deref(), one.confined)).collect::<Vec<_>>(),
        [(Some("other"), true), (Some("sample"), false), (Some("sample"), true),]
    );
    assert!(found.iter().all(|one| one.in_use && !remove_cache(one).unwrap()));
}

#[tokio::test]
async fn a_granted_port_is_the_only_one() {
    let dir = tempfile::tempdir().unwrap();
    let unix = dir.path().join("socket");
    let _unix = UnixListener::bind(&unix).unwrap();
    let [granted, other] = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let [granted, other, udp] =
        [granted.local_addr(), other.local_addr(), udp.local_addr()].map(|address| json!(address.unwrap().port()));
    let sample = captive(json!({"network": [format!("tcp://127.0.0.1:{granted}")]})).await;
    assert_eq!(sample.ask("connect", std::slice::from_ref(&granted)).await.unwrap(), json!("connected"));
    for method in ["fast_open", "multipath"] {
        assert_denied(sample.ask(method, std::slice::from_ref(&other)).await, "permissions.network");
    }
    assert_denied(sample.ask("datagram", &[udp]).await, "permissions.network");
    assert_denied(sample.ask("of_the_machine", &[json!(unix)]).await, "permissions.network");
    assert_denied(sample.ask("serve", &[]).await, "permissions.network");
    let told = sample.log.tail(100).iter().map(|record| record.message.clone()).collect::<String>();
    assert!(told.contains("the kernel can restrict ports but not hosts"), "{told}");
    if sample.holds_files() && !told.contains("before 6.7") {
        assert_denied(sample.ask("connect", &[other]).await, "permissions.network");
    }
}

#[tokio::test]
async fn other_processes_cannot_be_signalled() {
    let [one, other] = [captive(json!({})).await, captive(json!({})).await];
    let is_told = one.log.tail(100).iter().any(|record| record.message.contains("before 6.12"));
    if !one.holds_files() || is_told {
        skipped("this kernel cannot restrict signals");
        return;
    }
    other.ask("by_pid", &[]).await.unwrap();
    // The process id that the host sees.
    let sibling = json!(other.plugin.stats().await.unwrap().instances[0].id);
    let guard = one.ask("parent", &[]).await.unwrap();
    for (what, pid) in [("host", json!(std::process::id())), ("sibling", sibling), ("guard", guard)] {
        let error = one.ask("signal", &[pid]).await.unwrap_err();
        // It may not signal the process, or does not see it.
        let refused = ["Operation not permitted", "No such process"];
        assert!(refused.iter().any(|refused| error.message().contains(refused)), "{what}: {error}");
    }
}

#[tokio::test]
async fn no_privileges_can_be_gained_and_limits_are_set() {
    let more = json!({
        "permissions": {}, "limits": {"memory_mb": 512, "files": 100, "blob_mb": 3},
    });
    let sample = common::captive("Captive", more).await;
    let status = sample.ask("status", &[]).await.unwrap();
    for (name, value) in [("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapEff", "0000000000000000")] {
        assert_eq!(status[name], json!(value), "{name}");
    }
    let expected = json!({"RLIMIT_DATA": 512 << 20, "RLIMIT_NOFILE": 196, "RLIMIT_FSIZE": 3 << 20, "RLIMIT_CORE": 1});
    assert_eq!(sample.ask("limits", &[]).await.unwrap(), expected);
}

#[tokio::test]
async fn a_confined_plugin_that_needs_a_gpu_gets_a_warning() {
    let gpu = json!({"requires_gpu": true});
    for (more, told) in [(json!({"resources": gpu, "permissions": {}}), true), (json!({"permissions": {}}), false)] {
        let sample = common::captive("Captive", more).await;
        let records = sample.log.tail(100);
        assert_eq!(records.iter().any(|record| record.message.contains("CUDA")), told, "{records:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_enforced_is_logged_and_refused_with_enforce() {
    let sample = captive(json!({"network": ["https://api.example.com"], "clocks": true})).await;
    let records = sample.log.tail(100);
    assert!(records.iter().all(|record| record.level < LogLevel::Warn), "each run would show it: {records:?}");
    let told = records.iter().find(|record| record.message.contains("cannot enforce")).unwrap();
    for part in ["permissions.random: a process always has", "permissions.network: the kernel can restrict ports"] {
        assert!(told.message.contains(part), "{told:?}");
    }
    assert!(!told.message.contains("permissions.clocks"));

    let refused = |more: Value| async move {
        let error = load_from(captive_manifest("Captive", more)).await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::Denied);
        error.message().to_owned()
    };
    let message = refused(json!({"permissions": {}, "enforce": true})).await;
    assert!(message.contains("permissions.clocks") && message.contains("permissions.random"), "{message}");

    // A host that trusts no plugin refuses a manifest without permissions.
    let trusting = captive_manifest("Captive", json!({}));
    let strict = HostPolicy::deny_all().grant(&trusting);
    let context = PluginContext { granted: Arc::new(strict), ..context(&trusting) };
    assert_eq!(load_in(trusting, context).await.err().unwrap().code(), ErrorCode::Denied);

    // A program in the manifest's directory would run before it could be confined.
    let message = refused(json!({"permissions": {}, "python_path": "sample.py"})).await;
    assert!(message.contains("python_path"), "{message}");

    let elsewhere = tempfile::tempdir().unwrap();
    let message = refused(json!({"permissions": {}, "source": elsewhere.path()})).await;
    assert!(message.contains("`source`"), "{message}");
}

/// The worker's own modules that have bytecode in this directory, and how many should have.
fn compiled(package: &Path) -> (Vec<std::path::PathBuf>, usize) {
    let entries = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let modules = entries(package).iter().filter(|path| path.extension().is_some_and(|end| end == "py")).count() - 1;
    (entries(&package.join("__pycache__")), modules)
}

#[tokio::test]
async fn bytecode_of_the_workers_files_is_made_for_those_that_may_not_write_it() {
    let cache = tempfile::tempdir().unwrap();
    let places = WorkerPlaces { cache: Some(cache.path().to_owned()), ..WorkerPlaces::default() };
    // Python may write bytecode, if the confinement lets it.
    let manifest = || captive_manifest("Captive", json!({"permissions": {}, "env_vars": {}}));
    let load = async || {
        let manifest = manifest();
        let context = context(&manifest);
        load_at(manifest, context, &places).await.unwrap()
    };
    let sample = load().await;
    let ask = async |sample: &Fixture| sample.ask("bytecode", &[json!("codec")]).await.unwrap();
    let place = ask(&sample).await[0].clone();
    if !sample.holds_files() {
        return;
    }
    let package = Path::new(place.as_str().unwrap()).ancestors().nth(2).unwrap().to_owned();
    assert!(package.starts_with(cache.path()), "{}", package.display());
    let all_are_there = || {
        let (found, modules) = compiled(&package);
        found.iter().filter(|path| path.extension().is_some_and(|end| end == "pyc")).count() == modules
    };
    assert!(eventually(60, all_are_there).await, "{:?}", compiled(&package));
    assert_eq!(compiled(&package).0.len(), compiled(&package).1, "nothing else is left there");
    // The worker that runs sees it, and can neither change nor add any.
    assert_eq!(ask(&sample).await, json!([place, true, null]));
    for name in [place.clone(), json!(package.join("__pycache__/other.pyc")), json!(package.join("other.py"))] {
        assert_denied(sample.ask("write", &[name]).await, "permissions.filesystem");
    }
    drop(sample);

    // The next one loads it: one file is replaced by the bytecode of another text, with the hash of this one.
    let mark = "import marshal, sys
with open(sys.argv[1]) as file:
    code = compile(file.read() + '\\nMARK = 1', sys.argv[1], 'exec')
with open(sys.argv[2], 'r+b') as file:
    file.truncate(16)
    file.seek(16)
    file.write(marshal.dumps(code))";
    let python = std::process::Command::new("python3")
        .args(["-c", mark])
        .arg(package.join("codec.py"))
        .arg(place.as_str().unwrap())
        .status();
    assert!(python.unwrap().success());
    let sample = load().await;
    assert_eq!(ask(&sample).await, json!([place, true, 1]));
    drop(sample);

    // Not if the source has changed meanwhile: then all of it is written anew.
    std::fs::write(package.join("codec.py"), "changed").unwrap();
    let sample = load().await;
    assert_eq!(ask(&sample).await[2], Value::Null);
    assert!(eventually(60, all_are_there).await, "{:?}", compiled(&package));
}

#[tokio::test]
async fn a_plugin_that_can_be_confined_starts_with_enforce() {
    let sample = captive(json!({})).await;
    if !sample.holds_files() {
        return;
    }
    let more = json!({
        "permissions": {"clocks": true, "random": true}, "limits": {"files": 100}, "enforce": true,
    });
    let sample = common::captive("Captive", more).await;
    assert_eq!(sample.ask("at_home", &[]).await.unwrap(), json!("ran\n"));
}

#[derive(Default)]
struct Records(Mutex<Vec<AuditRecord>>);

impl AuditSink for Records {
    fn record(&self, record: &AuditRecord) -> bivium_interface::Result<()> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }
}

#[tokio::test]
async fn secrets_come_by_name_and_the_audit_log_tells() {
    let dir = tempfile::tempdir().unwrap();
    let permissions = json!({
        "filesystem": [{"path": dir.path(), "guest": "/d", "mode": "write"}],
        "env": ["CARGO_PKG_NAME"],
        "secrets": [{"name": "API_KEY", "header": "X", "hosts": ["a.example.com"]}],
    });
    let manifest = captive_manifest("Captive", json!({"permissions": permissions}));
    let records = Arc::new(Records::default());
    let mut context = context(&manifest);
    context.audit = Auditor::new("sample", Some(records.clone() as Arc<dyn AuditSink>), context.log.clone());
    context.secrets = Secrets::default().with("API_KEY", "k-1234567890").with("OTHER", "o-1234567890");
    let sample = load_in(manifest, context).await.unwrap();

    assert_eq!(sample.ask("variable", &[json!("API_KEY")]).await.unwrap(), json!("k-1234567890"));
    assert_eq!(sample.ask("variable", &[json!("OTHER")]).await.unwrap(), Value::Null);
    assert_eq!(sample.ask("variable", &[json!("CARGO_PKG_NAME")]).await.unwrap(), json!("bivium-worker"));
    let pid = json!(sample.plugin.stats().await.unwrap().instances[0].id);
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("k-1234567890"), "started without it");

    let records = records.0.lock().unwrap();
    let told: Vec<String> = records.iter().map(|record| format!("{} {}", record.permission, record.resource)).collect();
    let expected = [
        format!("permissions.filesystem read and write {}", dir.path().display()),
        "permissions.env CARGO_PKG_NAME".to_owned(),
        "permissions.secrets API_KEY".to_owned(),
    ];
    assert_eq!(told, expected);
    // The process id of the worker's guard: it is recorded before the worker itself exists.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let guard = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().to_owned();
    assert!(records.iter().all(|record| record.instance.to_string() == guard), "{guard}: {records:?}");
}

#[tokio::test]
async fn denials_are_in_the_audit_log_and_in_the_plugins() {
    let manifest = captive_manifest("Captive", json!({"permissions": {}}));
    let records = Arc::new(Records::default());
    let mut context = context(&manifest);
    context.audit = Auditor::new("sample", Some(records.clone() as Arc<dyn AuditSink>), context.log.clone());
    let sample = load_in(manifest, context).await.unwrap();
    if !sample.holds_files() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    std::fs::write(&path, "here").unwrap();
    let call = Call::new().method("model").arg(json!(path));
    let id = call.id();
    sample.plugin.execute(call).await.unwrap_err();
    let mut stream = sample.plugin.execute_stream(Call::new().method("model").arg(json!(path))).await.unwrap();
    while stream.next().await.is_some_and(|item| item.is_ok()) {}
    sample.ask("fetch", &[json!("http://127.0.0.1:9/")]).await.unwrap_err();
    sample.ask("fetch", &[json!("http://bivium.invalid/")]).await.unwrap_err();
    let records = records.0.lock().unwrap();
    let told: Vec<String> = records.iter().map(|record| format!("{} {}", record.permission, record.resource)).collect();
    let file = format!("permissions.filesystem {}", path.display());
    let expected = [&file, &file, "permissions.network tcp://127.0.0.1:9", "permissions.network dns://bivium.invalid"];
    assert_eq!(told, expected);
    assert!(records.iter().all(|record| record.decision == Decision::Denied && record.instance != 0));
    assert_eq!((records[0].call, records[0].plugin.as_str()), (Some(id), "sample"));
    let log = sample.log.tail(100);
    assert_eq!(log.iter().filter(|record| record.message.starts_with(&format!("denied: {file}: "))).count(), 2);
}

#[tokio::test]
async fn a_secret_that_the_host_has_not_is_told_at_load_of_a_worker() {
    let secret = json!({"name": "ABSENT", "header": "X", "hosts": ["a.example.com"]});
    let manifest = captive_manifest("Captive", json!({"permissions": {"secrets": [secret]}}));
    let without = context(&manifest);
    let mut with = without.clone();
    with.secrets = Secrets::default().with("ABSENT", "k-1234567890");
    let error = load_in(manifest.clone(), without).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.plugin()), (ErrorCode::InvalidConfig, Some("sample")));
    assert_eq!(error.message(), "the plugin is granted the secret `ABSENT`, but this host does not have it");
    assert!(error.help().unwrap_or_default().contains("BIVIUM_SECRET_ABSENT"), "{error:?}");
    let sample = load_in(manifest, with).await.unwrap();
    assert_eq!(sample.ask("variable", &[json!("ABSENT")]).await.unwrap(), json!("k-1234567890"));
}

/// Gives a confined worker a blob of each kind.
#[tokio::test]
async fn blobs_can_be_read_and_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clip.txt");
    std::fs::write(&file, "by reference").unwrap();
    let sample = captive(json!({})).await;
    let owned = sample.exchange.write(b"owned", "text/plain").unwrap();
    let by_reference = Blob::by_reference(&file, None).unwrap();
    for (blob, text) in [(&owned, "owned"), (&by_reference, "by reference")] {
        let call = Call::new().method("read").blob("path", blob.clone());
        assert_eq!(sample.plugin.execute(call).await.unwrap().json, json!(text));
        if sample.holds_files() {
            let call = Call::new().method("write").blob("path", blob.clone());
            assert_denied(sample.plugin.execute(call).await.map(|payload| payload.json), "permissions.filesystem");
        }
        assert_eq!(std::fs::read_to_string(blob.path()).unwrap(), text);
        // When handed back, it is the same blob, and still exists after the worker has ended.
        let call = Call::new().method("give_back").blob("path", blob.clone());
        let back = sample.plugin.execute(call).await.unwrap();
        assert_eq!(back.blobs[0].path(), blob.path());
    }
    // Files that the worker may read anyway are not copied or linked for it.
    let directory = json!({"path": dir.path(), "guest": "/d"});
    let sample = captive(json!({"filesystem": [directory]})).await;
    let call = Call::new().method("where").blob("path", by_reference.clone());
    assert_eq!(sample.plugin.execute(call).await.unwrap().json, json!(by_reference.path()));
}
