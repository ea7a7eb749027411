//! `bivium compile`, the compiler's process, and components that are made to use it up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bivium::manifest::Limits;
use bivium::{Call, ErrorCode, Exchange, HostPolicy, Manifest, PluginInterface as _};
use bivium_instances::PluginContext;
use bivium_records::PluginLog;
use bivium_wasm::{Compiler, WasmConfig, WasmEngine};
use serde_json::{Value, json};

use crate::place::{LONG, Place, until};

#[path = "../../../bivium-wasm/tests/common/slow.rs"]
mod slow;

/// Compiles for much longer than any test waits.
const FOR_EVER: u32 = 5000;

impl Place {
    /// A plugin that returns its arguments.
    pub(crate) fn echo(&self) {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/target/guests/echo.wasm");
        assert!(guest.is_file(), "{} is not built: run `cargo xtask guests`", guest.display());
        fs::copy(guest, self.path("manifests/echo.wasm")).unwrap();
        self.component("echo", json!({}));
    }

    /// A plugin that never finishes compiling.
    pub(crate) fn endless(&self, limits: Value) {
        fs::write(self.path("manifests/endless.wasm"), slow::slow_to_compile(FOR_EVER)).unwrap();
        self.component("endless", json!({"limits": limits}));
    }

    fn manifest(&self, name: &str) -> Manifest {
        bivium::Manifest::read(&self.path(&format!("manifests/{name}.json"))).unwrap()
    }

    /// The engine of an embedder that uses the program as its compiler. The mark distinguishes its compilers from those of other tests.
    fn engine(&self, config: WasmConfig) -> (WasmEngine, Mark) {
        let mark = self.path("mark");
        let args = ["compiler".into(), "--cache".into(), mark.clone().into_os_string()];
        let child = Compiler::Child { program: env!("CARGO_BIN_EXE_bivium").into(), args: args.into() };
        let engine = WasmEngine::new(config.instances(4).cache_dir(self.path("cache")).compiler(child)).unwrap();
        (engine, Mark(mark))
    }

    /// Entries of the cache that are being made.
    fn drafts(&self) -> usize {
        let names = fs::read_dir(self.path("cache/components")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with('.')).count()
    }
}

/// A text in the command lines of the compilers of one test.
struct Mark(PathBuf);

impl Mark {
    fn compilers(&self) -> usize {
        let mark = self.0.to_str().unwrap().as_bytes();
        let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("cmdline"));
        let marked = |path: PathBuf| fs::read(path).is_ok_and(|line| line.windows(mark.len()).any(|part| part == mark));
        processes.filter(|path| marked(path.clone())).count()
    }
}

async fn compile(engine: &WasmEngine, manifest: &Manifest) -> bivium::Result<bivium::Compilation> {
    bivium_wasm::compile(engine, &manifest.name, manifest.wasm().unwrap(), &Limits::default()).await
}

#[test]
fn a_component_is_compiled_ahead_and_mapped_by_every_later_run() {
    let place = Place::new();
    place.echo();
    let first = place.run(&["compile", "echo", "--output", "json"]);
    let first = first.assert_status(0).json();
    assert_eq!((&first["name"], &first["cached"]), (&json!("echo"), &json!(false)), "{first}");
    let cache = place.path(".cache/bivium/components");
    assert_eq!(first["cache"], cache.to_str().unwrap().replace(place.path("").to_str().unwrap(), "[DIR]/"), "{first}");
    let codes = || {
        let codes = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path().join("code"));
        codes.filter_map(|code| code.metadata().ok()).map(|code| code.len()).collect::<Vec<u64>>()
    };
    assert_eq!(codes(), [first["bytes"].as_u64().unwrap()]);

    place.run(&["run", "echo", "text=hello"]).assert_status(0);
    let again = place.run(&["compile", "manifests/echo.wasm"]);
    let bytes = first["bytes"].as_u64().unwrap().div_ceil(1000);
    let expected =
        format!("manifests/echo.wasm: already compiled, {bytes} kB of code in [DIR]/.cache/bivium/components\n");
    assert_eq!(again.assert_status(0).stdout, expected);
    assert_eq!(codes().len(), 1);
    // Code that counts fuel is different code, and the compiler in its process is told which is wanted.
    place.component("echo", json!({"limits": {"fuel": 1_000_000_000}}));
    assert!(place.run(&["compile", "echo"]).assert_status(0).stdout.contains("compiled in "));
    place.run(&["run", "echo", "text=hello"]).assert_status(0);
    assert_eq!(codes().len(), 2);
    place.run(&["compile", "manifests/echo.json", "--cache", "other"]).assert_status(0);
    assert!(place.path("other/components").is_dir());
    let doctor = place.run(&["doctor"]);
    assert!(doctor.stdout.contains("cache: 2 compiled components, "), "{}", doctor.all());
    place.assert_clean();
}

#[test]
fn a_component_that_cannot_be_compiled_is_one_clear_sentence() {
    let place = Place::new();
    place.write("manifests/text.wasm", "no component");
    let python = json!({"name": "python", "version": "1", "module": "m", "class": "C"});
    place.write("manifests/python.json", &python.to_string());
    for (what, status, said) in [
        ("manifests/text.wasm", 4, "the file is not WebAssembly"),
        ("manifests/none.wasm", 3, "cannot read the component manifests/none.wasm"),
        ("none", 3, "there is no plugin"),
        ("python", 4, "a Python plugin has no component to compile"),
    ] {
        let ran = place.run(&["compile", what]);
        assert!(ran.assert_status(status).stderr.contains(said), "{}", ran.all());
    }
    // A user who starts the compiler by hand is told what it is.
    let ran = place.run_with_input(&["compiler"], "hello\n");
    assert!(ran.assert_status(3).stderr.contains("only a host may run this command"), "{}", ran.all());
}

#[test]
fn hostile_a_component_made_to_compile_for_ever() {
    let place = Place::new();
    place.endless(json!({"compile_s": 1}));
    let ran = place.run(&["run", "endless"]);
    insta::assert_snapshot!(ran.all(), @"
    124
    --- stdout
    --- stderr
    bivium: endless: [DIR]/manifests/endless.wasm: compilation exceeded its limit of 1 s; raise `limits.compile_s` in its manifest
    ");
    place.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_compiling_for_ever_beside_a_well_behaved_plugin() {
    let place = Place::new();
    place.echo();
    place.endless(json!({"compile_s": 2}));
    let (engine, mark) = place.engine(WasmConfig::new());
    let exchange = Exchange::builder().root(place.path("tmp")).open().unwrap();
    let load = async |name: &str| {
        let manifest = place.manifest(name);
        let context = PluginContext::new(PluginLog::new(name), HostPolicy::default().grant(&manifest));
        bivium_wasm::load(&engine, &manifest, manifest.wasm().unwrap(), &exchange, context).await
    };
    let echo = load("echo").await.unwrap();
    echo.initialize(json!({"greeting": "> "})).await.unwrap();
    let calls = async {
        for n in 0..100 {
            let result = echo.execute(Call::new().named("text", n.to_string())).await.unwrap();
            assert_eq!(result.json, json!({"text": format!("> {n}")}));
        }
    };
    let start = Instant::now();
    let (error, ()) = tokio::join!(load("endless"), calls);
    let error = error.err().unwrap();
    assert_eq!((error.code(), error.plugin()), (ErrorCode::Timeout, Some("endless")));
    assert!(error.to_string().contains("its limit of 2 s; raise `limits.compile_s`"), "{error}");
    assert!(start.elapsed() < LONG);
    assert_eq!(mark.compilers(), 0, "it was killed and waited for");
    assert_eq!(place.drafts(), 0);
}

#[tokio::test]
async fn hostile_a_component_that_takes_all_memory_to_compile() {
    let place = Place::new();
    place.echo();
    place.endless(json!({}));
    let (engine, mark) = place.engine(WasmConfig::new().compile_memory_bytes(64 << 20));
    compile(&engine, &place.manifest("echo")).await.unwrap();
    let error = compile(&engine, &place.manifest("endless")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
    assert!(error.to_string().contains("its limit of 64 MiB"), "{error}");
    assert_eq!((mark.compilers(), place.drafts()), (0, 0));
}

#[tokio::test]
async fn a_load_that_is_dropped_kills_its_compiler() {
    let place = Place::new();
    place.endless(json!({}));
    let (engine, mark) = place.engine(WasmConfig::new());
    let manifest = place.manifest("endless");
    let load = tokio::spawn({
        let (engine, manifest) = (engine.clone(), manifest.clone());
        async move { compile(&engine, &manifest).await.map(drop) }
    });
    let so = async |so: &dyn Fn() -> bool| {
        let waited = async {
            while !so() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, waited).await.unwrap();
    };
    so(&|| mark.compilers() == 1).await;
    load.abort();
    assert!(load.await.unwrap_err().is_cancelled());
    so(&|| mark.compilers() == 0).await;
    assert_eq!(place.drafts(), 0);
}

/// The first child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    // Any of its threads may have started the child.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let of_threads = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    std::iter::once(children).chain(of_threads).find_map(|list| list.split_whitespace().next()?.parse().ok())
}

fn is_compiler(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0compiler\0"))
}

#[test]
fn a_compiler_ends_with_its_host_however_that_ends() {
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::INT] {
        let place = Place::new();
        place.endless(json!({}));
        let host = place.command(&["compile", "endless"]).spawn().unwrap();
        let mut compiler = 0;
        until("the compiler", || {
            compiler = child_of(host.id()).unwrap_or_default();
            is_compiler(compiler)
        });
        let pid = rustix::process::Pid::from_raw(host.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        until("its end", || !is_compiler(compiler));
        let mut host = host;
        let status = host.wait().unwrap();
        let killed = signal == rustix::process::Signal::KILL;
        assert_eq!(status.code(), (!killed).then_some(130));
    }
}

#[test]
fn with_little_address_space_components_run_without_pools() {
    let place = Place::new();
    place.echo();
    // In KiB: too little for the pools and for the usual reservation of one memory; then too little only for the pools.
    for limit in [2 << 20, 80 << 20] {
        let limited = |args: &[&str]| {
            let own = place.command(args);
            let mut command = std::process::Command::new("sh");
            command.args(["-c", &format!("ulimit -v {limit} && exec \"$0\" \"$@\"")]).arg(own.get_program());
            command.args(args).envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
            place.ran(command.current_dir(place.path("")).output().unwrap())
        };
        let ran = limited(&["run", "echo", "text=hello"]);
        assert_eq!(ran.assert_status(0).json(), json!({"text": "hello"}));
        assert!(ran.stderr.contains("not enough address space for pools of component memory"), "{}", ran.all());
        let doctor = limited(&["doctor"]);
        assert!(
            doctor
                .stdout
                .contains("warn  WebAssembly: the engine starts, but too little address space is allowed for pools"),
            "{}",
            doctor.all()
        );
    }
    // Their code is different: neither was used for the other.
    let entries = fs::read_dir(place.path(".cache/bivium/components")).unwrap();
    assert_eq!(entries.filter(|entry| entry.as_ref().unwrap().path().join("code").exists()).count(), 2);
}

/// Shared by several loads of one component at once.
#[tokio::test]
async fn plugins_of_one_component_share_a_compilation() {
    let place = Place::new();
    place.echo();
    let (engine, _mark) = place.engine(WasmConfig::new());
    let manifest = Arc::new(place.manifest("echo"));
    let loads = (0..6).map(|_| {
        let (engine, manifest) = (engine.clone(), Arc::clone(&manifest));
        tokio::spawn(async move { compile(&engine, &manifest).await.unwrap() })
    });
    let mut compiled = 0;
    for load in loads.collect::<Vec<_>>() {
        compiled += usize::from(!load.await.unwrap().was_cached);
    }
    // Two are compiled at the same time, and the others use their code.
    assert!((1..=2).contains(&compiled), "{compiled}");
}
