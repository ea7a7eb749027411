//! What `execute` does wrong, by method.

use std::cell::RefCell;
use std::hint::black_box;

use crate::blobs::{Blob, BlobWriter, Payload};
use crate::types::{Error, Failure};
use crate::{arguments, host, json, streams};

type Behaviour = fn(Payload) -> Result<Payload, Error>;

pub(crate) const METHODS: &[(&str, Behaviour)] = &[
    // Not wrong at all, to see whether the instance still serves.
    ("echo", |input| json(input.json)),
    ("context", context),
    ("drops", |_| json(streams::drops().to_string())),
    // Never ends.
    ("spin", |_| spin()),
    ("spin-until-cancelled", |_| spin_until_cancelled()),
    ("write-for-ever", |_| write_for_ever()),
    // Takes too much.
    ("memory-bomb", |_| memory_bomb()),
    ("ask-for-too-much-memory", ask_for_too_much_memory),
    ("recurse", |_| json(recurse(0).to_string())),
    ("flood-log", flood_log),
    ("leak-handles", leak_handles),
    ("huge-result", huge_result),
    ("huge-log", |_| {
        host::log(host::Level::Info, &"x".repeat(1 << 20));
        json("null")
    }),
    // Crashes.
    ("trap", |_| trap()),
    ("panic", |_| panic!("as it was asked to")),
    ("fail", |_| {
        let failure = Failure { kind: "Sulk".into(), message: "does not want to".into(), trace: "at home".into() };
        Err(Error::PluginFailed(failure))
    }),
    // Says what is not so.
    ("not-json", |_| json("{\"a\":")),
    ("foreign-index", |_| json("{\"audio\":{\"$blob\":3}}")),
    ("wild-progress", |_| {
        host::report_progress(Some(f64::NAN), "nowhere");
        host::report_progress(Some(7.5), &"far ".repeat(10_000));
        json("null")
    }),
    // Keeps what it was lent.
    ("keep", keep),
    ("read-kept", |_| read_kept()),
    ("return-kept", |_| return_kept()),
    ("read-dropped", read_dropped),
];

thread_local! {
    static KEPT: RefCell<Vec<Blob>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

pub(crate) fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn spin_until_cancelled() -> Result<Payload, Error> {
    while !host::is_cancelled() {
        black_box(());
    }
    Err(Error::Cancelled("noticed it".into()))
}

/// Spends its time in host calls that wait for another thread.
fn write_for_ever() -> Result<Payload, Error> {
    let bytes = vec![0; 1 << 20];
    loop {
        BlobWriter::new("application/octet-stream").write(&bytes)?;
    }
}

fn memory_bomb() -> Result<Payload, Error> {
    let mut all = Vec::new();
    loop {
        all.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Asks, takes the no, and goes on.
fn ask_for_too_much_memory(_: Payload) -> Result<Payload, Error> {
    let mut bytes: Vec<u8> = Vec::new();
    let refused = bytes.try_reserve_exact(1 << 30).is_err();
    json(refused.to_string())
}

#[inline(never)]
fn recurse(n: u64) -> u64 {
    let frame = black_box([n; 64]);
    // Never so deep, but the compiler does not know.
    if black_box(n) == u64::MAX { 0 } else { black_box(recurse(n + 1)) + frame[0] }
}

fn flood_log(input: Payload) -> Result<Payload, Error> {
    for n in 0..arguments(&input)["records"].as_u64().unwrap_or_default() {
        host::log(host::Level::Info, &format!("record {n}"));
    }
    json("null")
}

fn leak_handles(input: Payload) -> Result<Payload, Error> {
    for blob in &input.blobs {
        loop {
            std::mem::forget(blob.clone());
        }
    }
    json("null")
}

fn huge_result(input: Payload) -> Result<Payload, Error> {
    let megabytes = arguments(&input)["megabytes"].as_u64().unwrap_or_default();
    json(format!("\"{}\"", "x".repeat(usize::try_from(megabytes).unwrap_or_default() << 20)))
}

fn context(_: Payload) -> Result<Payload, Error> {
    let remaining = host::remaining_ms().map_or("null".to_owned(), |ms| ms.to_string());
    json(format!("{{\"call\":\"{}\",\"remaining\":{remaining}}}", host::call_id()))
}

fn keep(input: Payload) -> Result<Payload, Error> {
    let size = input.blobs.iter().map(Blob::size).sum::<u64>();
    KEPT.set(input.blobs);
    json(size.to_string())
}

fn read_kept() -> Result<Payload, Error> {
    KEPT.with_borrow(|kept| match kept.first() {
        Some(blob) => json(blob.clone().read(0, 10)?.len().to_string()),
        None => json("null"),
    })
}

fn return_kept() -> Result<Payload, Error> {
    Ok(Payload { json: "{\"$blob\":0}".into(), blobs: KEPT.take() })
}

/// Reads by a handle that it has let go of: a second owner of the same number, such as no safe code makes.
#[allow(unsafe_code, reason = "what the bindings forbid is what is tried")]
fn read_dropped(mut input: Payload) -> Result<Payload, Error> {
    let Some(blob) = input.blobs.pop() else { return json("null") };
    let number = blob.take_handle();
    // SAFETY: the number is that of a handle of ours; the host is asked what it does about the second use.
    let (first, second) = unsafe { (Blob::from_handle(number), Blob::from_handle(number)) };
    drop(first);
    json(second.read(0, 10)?.len().to_string())
}
