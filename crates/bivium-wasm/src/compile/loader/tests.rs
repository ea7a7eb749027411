use std::time::Duration;

use bivium_interface::ErrorCode;

use super::*;

#[path = "../../../tests/common/slow.rs"]
mod slow;

fn request(path: &Path, time: Duration) -> ComponentRequest {
    let limits = CompileLimits { component_bytes: 1 << 20, time, memory_bytes: 1 << 30 };
    ComponentRequest { path: path.to_owned(), bytes: None, sha256: None, limits, log: None }
}

#[tokio::test]
async fn a_thread_that_compiles_too_long_keeps_its_slot_until_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let [slow, quick] = ["slow.wasm", "quick.wasm"].map(|name| directory.path().join(name));
    std::fs::write(&slow, slow::slow_to_compile(300)).unwrap();
    std::fs::write(&quick, wat::parse_str("(component)").unwrap()).unwrap();
    let loader = Loader::new(None, Compiler::InProcess);
    let engine = Engine::default();
    let short = Duration::from_millis(20);
    for left_behind in 1..=AT_ONCE {
        let error = loader.component(&engine, request(&slow, short)).await.err().unwrap();
        assert_eq!(error.code(), ErrorCode::Timeout);
        assert!(error.to_string().contains("limits.compile_s"), "{error}");
        assert_eq!(loader.slots.available_permits(), AT_ONCE - left_behind);
    }
    // No more than that: the next one waits for its turn, within its own limit.
    let error = loader.component(&engine, request(&quick, short)).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(error.to_string().contains("it waited"), "{error}");
    let compiled = loader.component(&engine, request(&quick, Duration::from_secs(300))).await.unwrap();
    assert!(!compiled.was_cached && compiled.bytes > 0);
}

#[tokio::test]
async fn only_the_compilation_of_a_large_component_is_mentioned_in_the_plugins_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.wasm");
    let engine = Engine::default();
    let loader = Loader::new(Some((&directory.path().join("cache"), 1 << 20)), Compiler::InProcess);
    let said = async |text: &str| {
        std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        let log = PluginLog::new("p");
        loader.component(&engine, request(&path, Duration::from_secs(300)).with_log(&log)).await.unwrap();
        log.tail(10).into_iter().map(|record| record.message).collect::<Vec<_>>()
    };
    let large = format!(r#"(component (@custom "x" "{}"))"#, "x".repeat(400_000));
    assert!(said("(component)").await.is_empty());
    assert_eq!(said(&large).await, ["compiling 401 kB of WebAssembly"]);
    assert!(said(&large).await.is_empty(), "it lies in the cache");
}

#[test]
fn sizes_are_for_people() {
    for (bytes, shown) in [(1, "1 kB"), (999_999, "1000 kB"), (1_000_000, "1.0 MB"), (12_340_000, "12.3 MB")] {
        assert_eq!(size(bytes), shown);
    }
}
