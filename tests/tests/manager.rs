//! The manager's interface, with a test for each row of `docs/manager.md` that the tests of both runtimes do not cover.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bivium::monitor::{Gpu, SimulatedMonitor, SystemSnapshot};
use bivium::scheduler::{Admission, Need, QueueScheduler, RefuseScheduler, Scheduler};
use bivium::{
    Call, CallHandle, ErrorCode, Payload, PluginError, PluginInterface, PluginManager, Result, Stats, async_trait,
};
use bivium_tests::{manager, plugin};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};

fn call() -> Call {
    Call::new().timeout(Duration::from_secs(20))
}

const ECHO: &str = "class P:\n    def execute(self, **kwargs):\n        return kwargs\n";

struct Own {
    dir: tempfile::TempDir,
    manager: PluginManager,
}

fn own() -> Own {
    let dir = tempfile::tempdir().unwrap();
    let manager = PluginManager::builder().manifests(dir.path()).data_dir(dir.path().join("data")).build().unwrap();
    Own { dir, manager }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_and_loaded_can_be_listed_by_category() {
    let own = tempfile::tempdir().unwrap();
    let manager = manager(own.path()).unwrap();
    assert!(manager.found().is_empty(), "nothing is searched before it is asked for");
    let discovery = manager.discover();
    assert!(discovery.problems.is_empty(), "{:?}", discovery.problems);
    let names: Vec<_> = manager.found().into_iter().map(|info| info.name).collect();
    assert!(names.contains(&"twin-python".to_owned()) && names.contains(&"twin-wasm".to_owned()), "{names:?}");
    assert!(manager.found_categories().contains("test"));
    assert!(manager.found_in_category("test").iter().all(|info| info.category.as_deref() == Some("test")));
    assert!(manager.list().is_empty() && manager.loaded_categories().is_empty());

    manager.load("twin-python").await.unwrap();
    let info = manager.loaded_info("twin-python").unwrap();
    assert!(info.loaded && info.enabled && info.version == "1.0.0");
    assert_eq!(manager.found_info("twin-python").unwrap(), info);
    assert!(!manager.found_info("twin-wasm").unwrap().loaded);
    assert_eq!(manager.loaded_in_category("test"), [info]);
    assert_eq!(manager.loaded_categories().len(), 1);
    assert_eq!(manager.configs().into_keys().collect::<Vec<_>>(), ["twin-python"]);
    assert_eq!(manager.config_schema("twin-python").unwrap()["type"], "object");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_unloaded_plugins_are_told_apart() {
    let own = tempfile::tempdir().unwrap();
    let manager = manager(own.path()).unwrap();
    let error = manager.execute("twin-pythn", call()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.to_string().contains("twin-python"), "{error}");
    let error = manager.execute("twin-python", call()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.to_string().contains("load it first"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_are_loaded_together_have_their_interpreter_asked_once() {
    let own = own();
    let (wrapper, notes) = (own.dir.path().join("python"), own.dir.path().join("notes"));
    let script = format!("#!/bin/sh\necho \"$1\" >>'{}'\nexec python3 \"$@\"\n", notes.display());
    // Another process writes it: if it were open for writing here, a worker that is started meanwhile would keep it open.
    let mut write = std::process::Command::new("sh");
    write.args(["-c", "printf %s \"$1\" >\"$2\" && chmod +x \"$2\"", "sh", &script]);
    assert!(write.arg(&wrapper).status().unwrap().success());
    for n in 0..8 {
        plugin(own.dir.path(), &format!("p{n}"), ECHO, json!({"python_path": wrapper}));
    }
    let reports = own.manager.load_all().await;
    assert!(reports.len() == 8 && reports.iter().all(|report| report.result.is_ok()), "{reports:?}");
    let notes = std::fs::read_to_string(notes).unwrap();
    let asked = notes.lines().filter(|first| *first == "-I").count();
    assert_eq!((asked, notes.lines().count()), (1, 9), "one question and eight workers");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_all_goes_on_past_a_failure_and_reports_each() {
    let own = own();
    plugin(own.dir.path(), "good", ECHO, json!({}));
    plugin(own.dir.path(), "bad", "raise ImportError('nothing here')\n", json!({}));
    plugin(own.dir.path(), "off", ECHO, json!({}));
    own.manager.disable("off").unwrap();
    let reports = own.manager.load_all().await;
    let names: Vec<_> = reports.iter().map(|report| report.name.as_str()).collect();
    assert_eq!(names, ["bad", "good"]);
    let error = reports[0].result.as_ref().unwrap_err();
    assert!(error.to_string().contains("nothing here"), "{error}");
    reports[1].result.as_ref().unwrap();
    let payload = own.manager.execute("good", call().named("a", 1)).await.unwrap();
    assert_eq!(payload.json, json!({"a": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_plugin_refuses_calls_until_enabled_also_in_later_hosts() {
    let own = own();
    plugin(own.dir.path(), "echo", ECHO, json!({}));
    own.manager.load("echo").await.unwrap();
    own.manager.disable("echo").unwrap();
    let error = own.manager.execute("echo", call()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.to_string().contains("bivium enable echo"), "{error}");

    let path = own.dir.path();
    let later = PluginManager::builder().manifests(path).data_dir(path.join("data")).build().unwrap();
    assert!(!later.is_enabled("echo").unwrap());
    later.enable("echo").unwrap();
    assert!(later.is_enabled("echo").unwrap());
    own.manager.enable("echo").unwrap();
    own.manager.execute("echo", call()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_configuration_is_read_by_later_hosts() {
    let own = tempfile::tempdir().unwrap();
    let first = manager(own.path()).unwrap();
    first.load("twin-python").await.unwrap();
    first.save_config("twin-python", json!({"greeting": "salve"})).await.unwrap();
    drop(first);
    let second = manager(own.path()).unwrap();
    second.load("twin-python").await.unwrap();
    assert_eq!(second.config("twin-python").unwrap()["greeting"], "salve");
    second.unload("twin-python").await.unwrap();
    second.load_with("twin-python", json!({"greeting": "ave"})).await.unwrap();
    assert_eq!(second.config("twin-python").unwrap()["greeting"], "ave");
    let error = second.unload("twin-python").await.and(second.unload("twin-python").await).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    let error = second.load_with("twin-python", json!({"greeting": 5})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    assert!(second.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_reaches_every_replica_or_none() {
    let own = own();
    // The second process that is configured with n = 2 refuses; it is counted by files, since replicas share no memory.
    let code = "
import os, time
class P:
    def initialize(self, config):
        if config.get('n') == 2:
            try:
                os.mkdir(config['mark'])
            except FileExistsError:
                raise ValueError('the second one refuses')
        self.config = config
    def get_current_config(self):
        return self.config
    def execute(self, mark, others):
        open(os.path.join(mark, str(os.getpid())), 'w').close()
        while len(os.listdir(mark)) < others:
            time.sleep(0.01)
        return {'n': self.config['n'], 'pid': os.getpid()}
";
    plugin(own.dir.path(), "many", code, json!({"replicas": 2}));
    let mark = own.dir.path().join("mark");
    let config = |n: u32| json!({"n": n, "mark": mark.to_str().unwrap()});
    own.manager.load_with("many", config(1)).await.unwrap();
    // Two calls that wait for each other: both replicas have started.
    let both = async |name: &str| {
        let dir = own.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let one = || call().named("mark", dir.to_str().unwrap()).named("others", 2);
        let (a, b) = tokio::join!(own.manager.execute("many", one()), own.manager.execute("many", one()));
        [a.unwrap().json, b.unwrap().json]
    };
    let first = both("first").await;
    assert_ne!(first[0]["pid"], first[1]["pid"]);
    let error = own.manager.update_config("many", config(2)).await.unwrap_err();
    assert!(error.to_string().contains("the second one refuses"), "{error}");
    assert!(both("second").await.iter().all(|result| result["n"] == 1));
    assert_eq!(own.manager.config("many").unwrap()["n"], 1);
    own.manager.update_config("many", config(3)).await.unwrap();
    assert!(both("third").await.iter().all(|result| result["n"] == 3));
}

const VERSIONED: &str = "
class P:
    def initialize(self, config):
        self.config = config
    def execute(self, marks, wait_for=None):
        import os, time
        open(marks + '/started', 'w').close()
        while wait_for and not os.path.exists(wait_for):
            time.sleep(0.01)
        return {'version': VERSION, 'config': self.config}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_swaps_the_new_one_in_and_lets_the_old_one_end_its_calls() {
    let own = own();
    let path = own.dir.path().to_owned();
    let marks = path.to_str().unwrap().to_owned();
    plugin(&path, "v", &format!("VERSION = 1{VERSIONED}"), json!({}));
    own.manager.load_with("v", json!({"kept": true})).await.unwrap();
    let waits_for = path.join("go");
    let slow = call().named("marks", marks.clone()).named("wait_for", waits_for.to_str().unwrap());
    let running = tokio::spawn({
        let manager = own.manager.clone();
        async move { manager.execute("v", slow).await }
    });
    wait_until(|| path.join("started").exists()).await;
    // With another length: Python does not notice a change that keeps the file's length and the second of its time.
    plugin(&path, "v", &format!("VERSION = 20{VERSIONED}"), json!({}));
    own.manager.reload("v").await.unwrap();
    let new = own.manager.execute("v", call().named("marks", marks)).await.unwrap();
    assert_eq!(new.json, json!({"version": 20, "config": {"kept": true}}));
    assert!(!running.is_finished());
    std::fs::write(&waits_for, "").unwrap();
    assert_eq!(running.await.unwrap().unwrap().json["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_leaves_the_old_one_also_where_a_gpu_is_required() {
    for (name, more) in [("light", json!({})), ("heavy", json!({"resources": {"requires_gpu": true}}))] {
        let dir = tempfile::tempdir().unwrap();
        let manager = PluginManager::builder()
            .manifests(dir.path())
            .data_dir(dir.path().join("data"))
            .monitor(Arc::new(SimulatedMonitor::new(gpu_machine(8))))
            .build()
            .unwrap();
        plugin(dir.path(), name, ECHO, more.clone());
        manager.load(name).await.unwrap();
        let manifest = dir.path().join(format!("{name}.json"));
        let good = std::fs::read_to_string(&manifest).unwrap();
        // The class does not exist in the new manifest: the old copy can be made again from the old manifest.
        std::fs::write(&manifest, good.replace("\"P\"", "\"Gone\"")).unwrap();
        let error = manager.reload(name).await.unwrap_err();
        assert!(error.to_string().contains("Gone"), "{error}");
        assert_eq!(manager.execute(name, call().named("a", 1)).await.unwrap().json, json!({"a": 1}), "{name}");
        std::fs::write(&manifest, "{").unwrap();
        assert_eq!(manager.reload(name).await.unwrap_err().code(), ErrorCode::InvalidManifest);
        std::fs::write(&manifest, good).unwrap();
        manager.reload(name).await.unwrap();
        assert_eq!(manager.execute(name, call().named("a", 2)).await.unwrap().json, json!({"a": 2}), "{name}");
    }
}

/// A plugin type of the host.
#[derive(Default)]
struct Native {
    cleaned: Arc<AtomicU32>,
}

#[async_trait]
impl PluginInterface for Native {
    fn name(&self) -> &str {
        "native"
    }

    fn version(&self) -> &str {
        "7"
    }

    async fn initialize(&self, config: Value) -> Result<()> {
        if config["bad"] == true { Err(PluginError::invalid_config("bad")) } else { Ok(()) }
    }

    async fn execute(&self, call: Call) -> Result<Payload> {
        if &*call.method == "wait" {
            return Err(call.handle().interrupted().await);
        }
        Ok(json!({"native": call.named}).into())
    }

    async fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        stats.calls = 42;
        Ok(stats)
    }

    async fn cleanup(&self) -> Result<()> {
        self.cleaned.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_of_the_hosts_own_is_a_plugin_like_any_other() {
    let own = own();
    let native = Native::default();
    let cleaned = Arc::clone(&native.cleaned);
    own.manager.register(Arc::new(native), json!({})).await.unwrap();
    let again = own.manager.register(Arc::new(Native::default()), json!({})).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::InvalidInput);
    let payload = own.manager.execute("native", call().named("a", 1)).await.unwrap();
    assert_eq!(payload.json, json!({"native": {"a": 1}}));
    let all: Vec<_> = own.manager.execute_stream("native", call()).await.unwrap().collect().await;
    assert_eq!(all.len(), 1);
    assert_eq!(own.manager.stats("native").await.unwrap().calls, 42);
    assert_eq!(own.manager.loaded_info("native").unwrap().version, "7");
    assert!(own.manager.update_config("native", json!({"bad": true})).await.is_err());
    assert_eq!(own.manager.reload("native").await.unwrap_err().code(), ErrorCode::InvalidInput);

    // Cancelled by its plugin's name, then by its own id.
    for by_name in [true, false] {
        let waiting = call().method("wait");
        let id = waiting.id();
        let cancel = async {
            while own.manager.calls("native").unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            assert!(own.manager.progress("native").unwrap().is_some());
            if by_name {
                assert_eq!(own.manager.cancel("native").unwrap(), 1);
            } else {
                own.manager.cancel_call(id).unwrap();
            }
        };
        let (result, ()) = tokio::join!(own.manager.execute("native", waiting), cancel);
        assert_eq!(result.unwrap_err().code(), ErrorCode::Cancelled);
        assert_eq!(own.manager.cancel_call(id).unwrap_err().code(), ErrorCode::NotFound);
    }
    own.manager.unload("native").await.unwrap();
    assert_eq!(cleaned.load(Ordering::SeqCst), 1);
}

fn gpu_machine(gib: u64) -> SystemSnapshot {
    SystemSnapshot::new(4, 0, 0).with_gpus(vec![Gpu::new(0, "", gib << 30, gib << 30)])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_refuses_or_queues_by_gpu_memory() {
    let dir = tempfile::tempdir().unwrap();
    let resources = json!({"resources": {"requires_gpu": true, "min_gpu_vram_mb": 5120}});
    let code = "
import time, os
class P:
    def execute(self, marks=None):
        if marks:
            open(marks + '/started', 'w').close()
            while not os.path.exists(marks + '/go'):
                time.sleep(0.01)
        return {}
";
    plugin(dir.path(), "model", code, resources.clone());
    plugin(dir.path(), "other", ECHO, resources);
    let monitor = Arc::new(SimulatedMonitor::new(gpu_machine(8)));
    let manager = |queue: bool| {
        let builder = PluginManager::builder().manifests(dir.path()).data_dir(dir.path().join("data"));
        let builder = builder.monitor(Arc::clone(&monitor) as _);
        let builder = if queue {
            builder.scheduler(Arc::new(QueueScheduler::new(Arc::clone(&monitor) as _, None)))
        } else {
            builder.scheduler(Arc::new(RefuseScheduler::new(Arc::clone(&monitor) as _, None)))
        };
        builder.build().unwrap()
    };
    let marks = dir.path().to_str().unwrap().to_owned();
    for queue in [false, true] {
        for mark in ["go", "started"] {
            let _ = std::fs::remove_file(dir.path().join(mark));
        }
        let manager = manager(queue);
        for report in manager.load_all().await {
            report.result.unwrap();
        }
        assert_eq!(manager.system().gpus.len(), 1);
        let first = tokio::spawn({
            let (manager, call) = (manager.clone(), call().named("marks", marks.clone()));
            async move { manager.execute("model", call).await }
        });
        wait_until(|| dir.path().join("started").exists()).await;
        if queue {
            let second = manager.execute("other", call());
            tokio::pin!(second);
            assert!((&mut second).now_or_never().is_none(), "it waits");
            std::fs::write(dir.path().join("go"), "").unwrap();
            second.await.unwrap();
        } else {
            let error = manager.execute("other", call()).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
            std::fs::write(dir.path().join("go"), "").unwrap();
        }
        first.await.unwrap().unwrap();
    }
}

/// A Python plugin whose call ends once the file `go` is there, and says before that it has begun.
const WAITS: &str = "
import time, os
class P:
    def execute(self, marks, own):
        open(marks + '/' + own, 'w').close()
        while not os.path.exists(marks + '/go'):
            time.sleep(0.01)
        return {}
";

/// A manager with two processor slots over three plugins that wait, with these keys in their manifests.
async fn three_that_wait(dir: &std::path::Path, keys: Value) -> PluginManager {
    let names = ["one", "two", "three"];
    for name in names {
        plugin(dir, name, WAITS, keys.clone());
    }
    let monitor = Arc::new(SimulatedMonitor::new(gpu_machine(8)));
    let builder = PluginManager::builder().manifests(dir).data_dir(dir.join("data"));
    let manager = builder.scheduler(Arc::new(QueueScheduler::new(monitor, Some(2)))).build().unwrap();
    assert!(manager.load_all().await.iter().all(|report| report.result.is_ok()));
    manager
}

fn waits(
    manager: &PluginManager,
    dir: &std::path::Path,
    name: &'static str,
) -> tokio::task::JoinHandle<Result<Payload>> {
    let (manager, call) = (manager.clone(), call().named("marks", dir.to_str().unwrap()).named("own", name));
    tokio::spawn(async move { manager.execute(name, call).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_delays_no_other_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let manager = three_that_wait(dir.path(), json!({})).await;
    let all = ["one", "two", "three"].map(|name| (name, waits(&manager, dir.path(), name)));
    for (name, _) in &all {
        wait_until(|| dir.path().join(name).exists()).await;
    }
    std::fs::write(dir.path().join("go"), "").unwrap();
    for (_, call) in all {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_the_processor_slots_that_its_manifest_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let manager = three_that_wait(dir.path(), json!({"resources": {"cpu_slots": 1}})).await;
    let first = ["one", "two"].map(|name| (name, waits(&manager, dir.path(), name)));
    for (name, _) in &first {
        wait_until(|| dir.path().join(name).exists()).await;
    }
    let third = manager.execute("three", call().named("marks", dir.path().to_str().unwrap()).named("own", "three"));
    tokio::pin!(third);
    assert!((&mut third).now_or_never().is_none());
    let running = manager.get("three").unwrap().stats().await.unwrap().running;
    assert_eq!(running, 0, "it waits for a slot");
    std::fs::write(dir.path().join("go"), "").unwrap();
    for (_, call) in first {
        call.await.unwrap().unwrap();
    }
    third.await.unwrap();
}

/// Records what calls need; admits every second one at once.
#[derive(Default)]
struct Notes(Mutex<Vec<Need>>);

impl Notes {
    fn note(&self, need: &Need) -> usize {
        let mut needs = self.0.lock().unwrap();
        needs.push(need.clone());
        needs.len()
    }
}

#[async_trait]
impl Scheduler for Notes {
    async fn admit(&self, need: &Need, _call: &CallHandle) -> Result<Admission> {
        self.note(need);
        Ok(Admission::default())
    }

    fn admit_at_once(&self, need: &Need) -> Option<Admission> {
        self.note(need).is_multiple_of(2).then(Admission::default)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_is_told_what_a_plugin_holds() {
    const MIB: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    plugin(dir.path(), "small", ECHO, json!({"resources": {"min_system_ram_mb": 1}}));
    plugin(dir.path(), "large", ECHO, json!({"resources": {"min_system_ram_mb": 4096}}));
    let notes = Arc::<Notes>::default();
    let builder = PluginManager::builder().manifests(dir.path()).data_dir(dir.path().join("data"));
    let manager = builder.scheduler(Arc::clone(&notes) as _).build().unwrap();
    for name in ["small", "large"] {
        manager.load(name).await.unwrap();
        for n in 0..5 {
            manager.execute(name, call().named("n", n)).await.unwrap();
        }
        let needs = std::mem::take(&mut *notes.0.lock().unwrap());
        assert!(needs.len() >= 5, "{needs:?}");
        for need in needs {
            assert!(need.plugin == name && !need.pids.is_empty() && need.held_bytes > MIB, "{need:?}");
            match name {
                "small" => assert_eq!(need.memory_bytes, 0, "it holds more than it asks for"),
                _ => assert_eq!(need.memory_bytes + need.held_bytes, 4096 * MIB),
            }
        }
        manager.unload(name).await.unwrap();
    }
}

/// Waits for something that another process does, checking often; fails the test after ten seconds.
async fn wait_until(condition: impl Fn() -> bool) {
    let look = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), look).await.expect("it happens within ten seconds");
}

#[test]
fn the_blocking_form_does_the_same_without_a_runtime_of_the_callers() {
    let dir = tempfile::tempdir().unwrap();
    let root = bivium_tests::root();
    let builder = PluginManager::builder().manifests(root.join("tests/plugins")).data_dir(dir.path());
    let manager = bivium::blocking::PluginManager::build(builder).unwrap();
    manager.load("twin-python").unwrap();
    let result = manager.execute("twin-python", call().named("text", "you")).unwrap();
    assert_eq!(result.json["text"], "hello you");
    let words: Vec<_> = manager.stream("twin-python", call().named("text", "a b")).unwrap().collect();
    assert_eq!(words.len(), 2);
    manager.update_config("twin-python", json!({"greeting": "bye"})).unwrap();
    assert_eq!(manager.manager().config("twin-python").unwrap()["greeting"], "bye");
    manager.reload("twin-python").unwrap();
    assert_eq!(manager.execute("twin-python", call().named("text", "x")).unwrap().json["text"], "bye x");
    assert!(manager.stats("twin-python").unwrap().calls > 0);
    assert!(manager.unload_all().unwrap().iter().all(|report| report.result.is_ok()));

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async { manager.load("twin-python") }).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable, "a blocking call from async code is an error, not a panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn unloading_ends_what_waits_for_a_call_without_a_deadline() {
    let own = own();
    own.manager.register(Arc::new(Native::default()), json!({})).await.unwrap();
    let waiting = tokio::spawn({
        let manager = own.manager.clone();
        async move { manager.execute("native", Call::new().method("wait")).await }
    });
    while own.manager.calls("native").unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    own.manager.unload("native").await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), ErrorCode::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_its_own_plugin_takes_no_slot_from_others() {
    let dir = tempfile::tempdir().unwrap();
    let code = "
import os, time
class P:
    def execute(self, marks):
        open(marks + '/started', 'w').close()
        while not os.path.exists(marks + '/go'):
            time.sleep(0.01)
";
    plugin(dir.path(), "slow", code, json!({}));
    plugin(dir.path(), "echo", ECHO, json!({}));
    let monitor = Arc::new(SimulatedMonitor::new(SystemSnapshot::new(2, 0, 0)));
    let builder = PluginManager::builder().manifests(dir.path()).data_dir(dir.path().join("data"));
    let manager = builder.monitor(monitor).build().unwrap();
    assert!(manager.load_all().await.iter().all(|report| report.result.is_ok()));
    let marks = dir.path().to_str().unwrap();
    let start = |_| {
        let (manager, call) = (manager.clone(), call().named("marks", marks));
        tokio::spawn(async move { manager.execute("slow", call).await })
    };
    let calls: Vec<_> = (0..2).map(start).collect();
    wait_until(|| dir.path().join("started").exists()).await;
    while manager.stats("slow").await.unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    manager.execute("echo", call()).await.unwrap();
    assert!(manager.execute("slow", call().named("marks", marks)).now_or_never().is_none());
    assert_eq!(manager.stats("slow").await.unwrap().waiting, 1, "one that is dropped waits no more");
    std::fs::write(dir.path().join("go"), "").unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}
