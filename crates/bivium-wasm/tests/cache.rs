//! Compiled components on disk: they are reused by the next host and never run after they were changed, whatever happens to the
//! component's own file meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;
#[path = "../../../tests/support/skipped.rs"]
mod skipped;
#[path = "../../../tests/support/small_disk.rs"]
mod small_disk;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bivium_interface::manifest::Limits;
use bivium_interface::{Call, ErrorCode, PluginInterface};
use bivium_wasm::{Compilation, WasmConfig, WasmEngine, compile};
use common::{Loaded, guest, manifest, says, try_load};
use serde_json::{Value, json};
use small_disk::SmallDisk;
use tempfile::TempDir;

/// A directory with a component and a cache.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::copy(guest("echo"), place.component()).unwrap();
        place
    }

    fn component(&self) -> PathBuf {
        self.0.path().join("p.wasm")
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("cache/components")
    }

    /// The engine of a new host.
    fn engine(&self) -> WasmEngine {
        WasmEngine::new(WasmConfig::new().instances(4).cache_dir(self.0.path().join("cache"))).unwrap()
    }

    async fn compile(&self) -> Compilation {
        let manifest = manifest("p", &self.component(), json!({}));
        compile(&self.engine(), &manifest.name, manifest.wasm().unwrap(), &Limits::default()).await.unwrap()
    }

    /// The only file of compiled code.
    fn code(&self) -> PathBuf {
        let entries = fs::read_dir(self.cache()).unwrap().map(|entry| entry.unwrap().path().join("code"));
        let codes: Vec<PathBuf> = entries.filter(|code| code.exists()).collect();
        assert_eq!(codes.len(), 1, "{codes:?}");
        codes[0].clone()
    }
}

async fn load(engine: &WasmEngine, component: &Path, more: Value) -> Loaded {
    let loaded = try_load(engine, component, more).await.unwrap();
    loaded.plugin.initialize(json!({"greeting": "> "})).await.unwrap();
    loaded
}

async fn echoes(loaded: &Loaded, text: &str) {
    let result = loaded.plugin.execute(Call::new().named("text", text)).await.unwrap();
    assert_eq!(result.json, json!({"text": format!("> {text}")}));
}

#[tokio::test]
async fn the_next_host_maps_what_the_first_compiled() {
    let place = Place::new();
    let first = place.compile().await;
    assert!(!first.was_cached && first.bytes > 10_000, "{first:?}");
    assert_eq!(first.cache, Some(place.cache()));
    let second = place.compile().await;
    assert!(second.was_cached, "{second:?}");
    assert_eq!(second.bytes, first.bytes);

    let engine = place.engine();
    let usage = engine.cache().unwrap();
    assert_eq!((usage.directory, usage.entries, usage.bytes), (place.cache(), 1, first.bytes));
    echoes(&load(&engine, &place.component(), json!({})).await, "from the cache").await;
    // A copy elsewhere is the same component.
    fs::rename(place.component(), place.0.path().join("moved.wasm")).unwrap();
    fs::copy(place.0.path().join("moved.wasm"), place.component()).unwrap();
    assert!(place.compile().await.was_cached);
}

#[tokio::test]
async fn a_full_or_read_only_disk_is_done_without_and_filled_once_there_is_room() {
    let Some(disk) = SmallDisk::new() else { return };
    let place = Place::new();
    let engine = || WasmEngine::new(WasmConfig::new().instances(4).cache_dir(disk.path().join("cache"))).unwrap();
    // With a cache that was opened before the disk was full, and after.
    let early = engine();
    disk.fill();
    for engine in [early, engine()] {
        for _ in 0..2 {
            echoes(&load(&engine, &place.component(), json!({})).await, "without room").await;
        }
        let usage = engine.cache().unwrap();
        assert_eq!(usage.entries, 0);
    }
    let names = |path: PathBuf| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    let left = names(disk.path().join("cache/components"));
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with('.')), "{left:?}");
    // A cache that was removed while the host runs does not stop it either.
    let cleaned = engine();
    fs::remove_dir_all(disk.path().join("cache")).unwrap();
    echoes(&load(&cleaned, &place.component(), json!({})).await, "without a directory").await;
    drop(cleaned);
    disk.make_read_only();
    echoes(&load(&engine(), &place.component(), json!({})).await, "read-only").await;
}

#[tokio::test]
async fn without_a_cache_nothing_is_kept() {
    let engine = WasmEngine::new(WasmConfig::new().instances(4).no_cache()).unwrap();
    assert!(engine.cache().is_none());
    let manifest = manifest("p", &guest("echo"), json!({}));
    for _ in 0..2 {
        let compilation = compile(&engine, &manifest.name, manifest.wasm().unwrap(), &Limits::default()).await.unwrap();
        assert!(!compilation.was_cached && compilation.cache.is_none());
    }
}

#[tokio::test]
async fn hostile_tampered_and_truncated_cache_file() {
    type Spoil = fn(&[u8]) -> Vec<u8>;
    let spoils: [Spoil; 4] = [
        |code| code[..code.len() / 2].to_vec(),
        |_| Vec::new(),
        |code| {
            let mut code = code.to_vec();
            let middle = code.len() / 2;
            code[middle] ^= 0xff;
            code
        },
        // Like an attacker's program: a complete file of the engine, but of another component.
        |_| {
            let engine = wasmtime::Engine::default();
            engine.precompile_component(&wat::parse_str("(component)").unwrap()).unwrap()
        },
    ];
    let place = Place::new();
    place.compile().await;
    for spoil in spoils {
        let code = place.code();
        let (whole, times) = (fs::read(&code).unwrap(), fs::metadata(&code).unwrap().modified().unwrap());
        let running = load(&place.engine(), &place.component(), json!({})).await;
        // As by somebody who can write there and knows how to hide it.
        fs::remove_file(&code).unwrap();
        fs::write(&code, spoil(&whole)).unwrap();
        fs::File::options().write(true).open(&code).unwrap().set_modified(times).unwrap();
        fs::set_permissions(&code, Permissions::from_mode(0o400)).unwrap();

        let compilation = place.compile().await;
        assert!(!compilation.was_cached, "{compilation:?}");
        assert!(fs::read(place.code()).unwrap().len() as u64 == compilation.bytes);
        echoes(&load(&place.engine(), &place.component(), json!({})).await, "compiled anew").await;
        echoes(&running, "as before").await;
        assert!(place.compile().await.was_cached);
    }
}

#[tokio::test]
async fn hostile_a_cache_that_others_can_write_to_is_not_used() {
    let place = Place::new();
    place.compile().await;
    fs::set_permissions(place.cache(), Permissions::from_mode(0o777)).unwrap();
    let engine = place.engine();
    assert!(engine.cache().is_none());
    echoes(&load(&engine, &place.component(), json!({})).await, "compiled at each load").await;
}

#[tokio::test]
async fn hostile_component_swapped_on_disk_while_in_use() {
    let place = Place::new();
    let digest = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        sha2::Digest::finalize(sha2::Digest::chain_update(<sha2::Sha256 as sha2::Digest>::new(), bytes))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let pinned = json!({"sha256": digest(&place.component())});
    // Until its digest is remembered by its stamp, which takes as long as a file counts as just written.
    let notes = || fs::read_dir(place.cache().join("digests")).map_or(0, Iterator::count);
    while notes() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        place.compile().await;
    }
    let old = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    for engine in [place.engine(), WasmEngine::new(WasmConfig::new().instances(4).no_cache()).unwrap()] {
        let running = load(&engine, &place.component(), pinned.clone()).await;
        let original = fs::read(place.component()).unwrap();
        let other = fs::read(guest("twin")).unwrap();

        // Changed in place with the old times; then replaced by another file; then removed.
        fs::write(place.component(), &other).unwrap();
        fs::File::options().write(true).open(place.component()).unwrap().set_times(old).unwrap();
        for swap in 0..3 {
            for n in 0..10 {
                echoes(&running, &format!("{swap} {n}")).await;
            }
            let error = try_load(&engine, &place.component(), pinned.clone()).await.err().unwrap();
            let code = if swap < 2 { ErrorCode::InvalidManifest } else { ErrorCode::NotFound };
            assert_eq!(error.code(), code, "{error}");
            match swap {
                0 => {
                    says(&error, &["SHA-256", "`sha256`"]);
                    fs::write(place.0.path().join("new"), &other).unwrap();
                    fs::rename(place.0.path().join("new"), place.component()).unwrap();
                    let name = try_load(&engine, &place.component(), json!({})).await.unwrap();
                    name.plugin.initialize(json!({})).await.unwrap();
                }
                _ => drop(fs::remove_file(place.component())),
            }
        }
        // A new instance also uses the component that was loaded.
        running.plugin.initialize(json!({"greeting": "> "})).await.unwrap();
        echoes(&running, "to the end").await;
        fs::write(place.component(), original).unwrap();
    }
}

#[tokio::test]
async fn hosts_that_start_at_the_same_time_compile_once_or_more_and_all_run() {
    let place = Place::new();
    let engines: Vec<WasmEngine> = (0..4).map(|_| place.engine()).collect();
    let component = place.component();
    let runs = engines.iter().map(|engine| async {
        let loaded = load(engine, &component, json!({})).await;
        echoes(&loaded, "side by side").await;
    });
    futures_util::future::join_all(runs).await;
    assert!(place.compile().await.was_cached);
    place.code();
}

/// Makes pseudo-random numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_malformed_truncated_and_bit_flipped_binaries() {
    let place = Place::new();
    let engine = place.engine();
    let good = load(&engine, &guest("echo"), json!({})).await;
    let whole = fs::read(guest("echo")).unwrap();
    let mut dice = Dice(0x5eed_5eed_5eed_5eed);
    let mut binaries: Vec<Vec<u8>> = Vec::new();
    for _ in 0..20 {
        binaries.push(whole[..dice.roll(whole.len())].to_vec());
    }
    for _ in 0..30 {
        let mut flipped = whole.clone();
        // One to four bits, some of them in the first kilobyte, where the structure is.
        for _ in 0..=dice.roll(4) {
            let within = if dice.roll(2) == 0 { 1024 } else { whole.len() };
            flipped[dice.roll(within)] ^= 1 << dice.roll(8);
        }
        binaries.push(flipped);
    }
    for _ in 0..10 {
        // The header is right, the rest is noise.
        let mut noise = whole[..8].to_vec();
        noise.extend((0..dice.roll(5000)).map(|_| dice.roll(256) as u8));
        binaries.push(noise);
    }
    let well_behaved = async {
        for n in 0..100 {
            echoes(&good, &n.to_string()).await;
        }
    };
    let hostile = async {
        let mut refused = 0;
        for bytes in &binaries {
            let path = place.0.path().join("hostile.wasm");
            fs::write(&path, bytes).unwrap();
            match try_load(&engine, &path, json!({"limits": {"call_ms": 1000}})).await {
                Err(error) => {
                    assert_eq!((error.code(), error.plugin()), (ErrorCode::InvalidManifest, Some("p")), "{error}");
                    assert_eq!(error.to_string().lines().count(), 1, "{error}");
                    refused += 1;
                }
                // The changed bits are data or code that is still valid: the sandbox confines it as any other.
                Ok(loaded) => drop(loaded.plugin.initialize(json!({})).await),
            }
        }
        assert!(refused >= 30, "{refused} of {} were refused", binaries.len());
    };
    tokio::join!(well_behaved, hostile);
}
