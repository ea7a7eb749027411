//! What lies around a program: its environment, the time, chance.

use serde_json::json;

use crate::wasi::cli::{environment, exit, stdout};
use crate::wasi::clocks::{monotonic_clock, wall_clock};
use crate::wasi::random::{insecure, insecure_seed, random};
use crate::{Outcome, Probe};

pub(crate) const METHODS: &[(&str, Probe)] = &[
    ("environment", |_| {
        Ok(environment::get_environment().into_iter().map(|(name, value)| json!([name, value])).collect())
    }),
    ("arguments", |_| Ok(json!([environment::get_arguments(), environment::initial_cwd()]))),
    ("now", |_| now()),
    ("sleep", |arguments| {
        monotonic_clock::subscribe_duration(arguments["ns"].as_u64().unwrap_or_default()).block();
        now()
    }),
    ("random", |_| {
        let (low, high) = insecure_seed::insecure_seed();
        Ok(json!({
            "bytes": random::get_random_bytes(32),
            "number": random::get_random_u64(),
            "insecure-bytes": insecure::get_insecure_random_bytes(32),
            "insecure-number": insecure::get_insecure_random_u64(),
            "seed": [low, high],
        }))
    }),
    ("poll-spin", |_| {
        loop {
            // One that is ready at once.
            monotonic_clock::subscribe_duration(0).block();
        }
    }),
    ("print", |arguments| {
        let out = stdout::get_stdout();
        for _ in 0..arguments["lines"].as_u64().unwrap_or_default() {
            out.blocking_write_and_flush(b"a line\n").map_err(|error| format!("{error:?}"))?;
        }
        Ok(json!(null))
    }),
    ("exit", |_| {
        exit::exit(Err(()));
        Ok(json!(null))
    }),
];

fn now() -> Outcome {
    let wall = wall_clock::now();
    Ok(json!({"seconds": wall.seconds, "nanoseconds": wall.nanoseconds, "monotonic": monotonic_clock::now()}))
}
