//! The memory and time that values cost the host while they are passed.
//!
//! The cases of a kind run one after another in a process of their own. Its peak resident memory is read before and after each call. It may
//! grow by twice what memory and payloads may take together, with the guest's own memory, the JSON and its text; and the call must end
//! soon after its deadline or its cancel.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod arguments;
#[path = "../common/mod.rs"]
mod common;
mod guest;
mod results;
mod world;

use std::future::poll_fn;
use std::pin::pin;
use std::process::Command;
use std::time::{Duration, Instant};

use bivium_interface::{Call, ErrorCode, Payload, PluginInterface};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// One call and how it must end.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) ask: Ask,
    /// The component as text; its function is `f`.
    pub(crate) component: String,
    pub(crate) arguments: Value,
    pub(crate) memory_mb: u64,
    pub(crate) payload_mb: u64,
    pub(crate) end: End,
}

/// What is asked of the component.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    Call,
    /// The first item of its stream.
    Stream,
    Configuration,
    Schema,
}

/// How a call ends.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// With a result.
    Fits,
    /// With `resource-exhausted`, and with this limit's name in the message.
    Refused(&'static str),
    /// With an error of the plugin.
    Failed,
    /// At its deadline.
    Late(Duration),
    /// Soon after it is cancelled.
    Cancelled(Duration),
}

/// How late a call may end on a machine that is busy with other tests: lifting a value goes on for a few thousand values after the
/// deadline, and its memory is freed.
const GRACE: Duration = Duration::from_secs(5);

/// The variable that gives a child the kind of its cases: the beginning of their names.
const KIND: &str = "BIVIUM_TYPED_COST_KIND";

/// Code, stacks and tables of the engine that are first touched in the call.
const ASIDE: u64 = 4 << 20;

fn cases() -> Vec<Case> {
    let mut cases = results::cases();
    cases.extend(arguments::cases());
    cases.extend(world::cases());
    cases
}

/// Runs the cases of a kind in a child.
fn all(kind: &str) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child", "--nocapture"])
        .env(KIND, kind)
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&child.stdout));
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

#[test]
fn results_take_no_more_than_they_may() {
    all("result ");
}

#[test]
fn arguments_take_no_more_than_they_may() {
    all("argument ");
}

#[test]
fn deadlines_and_cancels_hold_while_values_cross() {
    all("in time ");
}

#[test]
fn texts_of_plugins_of_the_world_take_no_more_than_they_may() {
    all("world ");
}

/// While a long result is read, the thread that drives the call runs other tasks.
#[tokio::test]
async fn others_go_on_while_a_long_result_is_read() {
    let case = world::slow();
    let loaded = load(&case).await.unwrap();
    let start = Instant::now();
    let mut call = pin!(loaded.plugin.execute(Call::new()));
    let (mut looked, mut longest) = (start, Duration::ZERO);
    let result = poll_fn(|cx| {
        longest = longest.max(looked.elapsed());
        looked = Instant::now();
        let polled = call.as_mut().poll(cx);
        cx.waker().wake_by_ref();
        polled
    });
    assert_eq!(result.await.unwrap().json[0], json!(0.123_456_789e-300));
    longest = longest.max(looked.elapsed());
    let took = start.elapsed();
    assert!(longest < took / 2, "for {longest:?} of {took:?} nothing else ran");
}

/// Runs the cases that the environment names; does nothing on its own.
#[test]
fn a_child() {
    let Ok(kind) = std::env::var(KIND) else { return };
    // A single thread: only the work itself can check the clock.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut failed = Vec::new();
    for case in cases().into_iter().filter(|case| case.name.starts_with(&kind)) {
        let name = case.name.clone();
        if let Err(what) = runtime.block_on(run(case)) {
            failed.push(format!("{name}: {what}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

async fn load(case: &Case) -> Result<common::Loaded, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.wasm");
    let component = wat::parse_str(&case.component).map_err(|error| error.to_string())?;
    std::fs::write(&path, component).unwrap();
    let limits = json!({"limits": {"memory_mb": case.memory_mb, "payload_mb": case.payload_mb}});
    common::try_load(common::engine(), &path, limits).await.map_err(|error| error.to_string())
}

async fn ask(plugin: &dyn PluginInterface, ask: Ask, call: Call) -> bivium_interface::Result<Payload> {
    match ask {
        Ask::Call => plugin.execute(call).await,
        Ask::Stream => plugin.execute_stream(call).await?.next().await.expect("an item"),
        Ask::Configuration => plugin.current_config().await.map(Payload::from),
        Ask::Schema => plugin.config_schema().await.map(Payload::from),
    }
}

async fn run(case: Case) -> Result<(), String> {
    let loaded = load(&case).await?;
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let mut call = Call::new().method("f").named_from(case.arguments.into()).unwrap();
    let (mut allowed, mut cancel) = (Duration::MAX, Duration::MAX);
    match case.end {
        End::Late(after) => (allowed, call) = (after, call.timeout(after)),
        End::Cancelled(after) => (allowed, cancel) = (after, after),
        End::Fits | End::Refused(_) | End::Failed => {}
    }
    let handle = call.handle().clone();
    if cancel < Duration::MAX {
        std::thread::spawn(move || {
            std::thread::sleep(cancel);
            handle.cancel();
        });
    }

    let before = resident();
    let start = Instant::now();
    let result = ask(plugin, case.ask, call).await;
    let took = start.elapsed();
    // As a caller would print it.
    let result = result.map(|payload| (payload.json.to_string().len(), payload));
    let grown = most_resident().saturating_sub(before);

    let bound = 2 * ((case.memory_mb + case.payload_mb) << 20);
    let end = match &result {
        Ok((text, _)) => format!("{text} bytes of JSON"),
        Err(error) => error.to_string(),
    };
    println!("case {}: {} of {} MiB, {} ms: {end}", case.name, grown >> 20, bound >> 20, took.as_millis());
    if grown > bound + ASIDE {
        return Err(format!("it took {grown} bytes, over {bound}: {end}"));
    }
    if took > allowed.saturating_add(GRACE) {
        return Err(format!("it took {took:?}: {end}"));
    }
    let is_right = match (case.end, &result) {
        (End::Fits, Ok(_)) => true,
        (End::Refused(limit), Err(error)) => {
            error.code() == ErrorCode::ResourceExhausted && end.contains(limit) && error.help().is_some()
        }
        (End::Failed, Err(error)) => error.code() == ErrorCode::PluginFailed,
        (End::Late(_), Err(error)) => error.code() == ErrorCode::Timeout,
        (End::Cancelled(_), Err(error)) => error.code() == ErrorCode::Cancelled,
        _ => false,
    };
    if is_right { Ok(()) } else { Err(format!("it should have ended in another way: {end}")) }
}

/// The resident memory now; from here on the peak is counted from zero.
#[allow(unsafe_code, reason = "what the allocator keeps would hide what the call takes")]
fn resident() -> u64 {
    // SAFETY: it has no preconditions.
    unsafe { libc::malloc_trim(0) };
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS:")
}

fn most_resident() -> u64 {
    status("VmHWM:")
}

fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
