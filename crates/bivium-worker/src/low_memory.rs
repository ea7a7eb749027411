//! [`name_memory_limit`]: finds out whether a worker did not start because `limits.memory_mb` is too low for it.
//!
//! The limit is set before the interpreter starts, so the error may come from the dynamic linker, the interpreter, the worker's
//! own modules or the plugin's modules.

use bivium_interface::manifest::Limits;
use bivium_interface::{ErrorCode, PluginError};

/// How the last output of a worker mentions memory: at the beginning of a line, or anywhere in it.
const BEGINNINGS: &[&str] = &["MemoryError", "object type name: MemoryError", "OSError: [Errno 12]"];
const PARTS: &[&str] = &[
    "cannot allocate memory",
    "cannot map zero-fill pages",
    "failed to map segment",
    // OpenBLAS, the linear algebra of numpy.
    "memory allocation still failed",
    "std::bad_alloc",
];
/// A thread's stack needs memory, too. Another limit may also be the cause.
const NO_THREAD: &[&str] = &["can't start new thread", "process count limits are big enough (ulimit -a)"];

/// The error of a start: one that names the limit if that is the cause, otherwise the error itself.
pub(crate) fn name_memory_limit(error: PluginError, limits: &Limits) -> PluginError {
    let Some(limit) = limits.memory_mb.filter(|_| lacked_memory(&error, limits)) else { return error };
    let message = format!("the worker does not start with {limit} MiB of memory (limits.memory_mb)");
    let low = PluginError::resource_exhausted(message)
        .with_help("raise `limits.memory_mb` in its manifest, or in the host's policy if that is lower");
    match error.failure() {
        Some(failure) => low.with_failure(failure.clone()),
        None => low,
    }
}

/// The error of a call during which the worker ended; it names the limit if that is the cause, as it seems.
pub(crate) fn name_memory_limit_in_call(error: PluginError, limits: &Limits) -> PluginError {
    match limits.memory_mb.filter(|_| error.code() == ErrorCode::Crashed && lacked_memory(&error, limits)) {
        Some(limit) => error.and_help(format!("it lacked memory, as it says: limits.memory_mb is {limit}")),
        None => error,
    }
}

fn lacked_memory(error: &PluginError, limits: &Limits) -> bool {
    if ![ErrorCode::Crashed, ErrorCode::PluginFailed, ErrorCode::ResourceExhausted].contains(&error.code()) {
        return false;
    }
    let said = error.failure().map_or("", |failure| &failure.traceback);
    let is_told = |line: &str| {
        let lower = line.to_lowercase();
        BEGINNINGS.iter().any(|beginning| line.starts_with(beginning))
            || PARTS.iter().any(|part| lower.contains(part))
            || limits.processes.is_none() && NO_THREAD.iter().any(|end| line.ends_with(end))
    };
    error.help().is_some_and(|help| help.contains("limits.memory_mb is ")) || said.lines().any(is_told)
}

#[cfg(test)]
mod tests {
    use bivium_interface::Failure;

    use super::*;

    #[test]
    fn only_errors_about_memory_name_the_limit() {
        let mut limits = Limits::default();
        limits.memory_mb = Some(8);
        let code = |said: &str, limits: &Limits| {
            let failure = Failure::new("exit status 1", "").with_traceback(said);
            name_memory_limit(PluginError::crashed("the worker exited").with_failure(failure), limits).code()
        };
        for said in [
            "python3: error while loading shared libraries: libpython3.11.so.1.0: cannot map zero-fill pages",
            "Traceback (most recent call last):\n  File \"m.py\", line 1\nMemoryError",
            "OSError: [Errno 12] Cannot allocate memory: '/x'",
            "object type name: MemoryError\nlost sys.stderr",
            "RuntimeError: can't start new thread",
            "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.",
            "OpenBLAS blas_thread_init: ensure that your address space and process count limits are big enough (ulimit -a)",
        ] {
            let failure = Failure::new("exit status 1", "").with_traceback(said);
            let in_call =
                name_memory_limit_in_call(PluginError::crashed("the worker exited").with_failure(failure), &limits);
            assert_eq!(in_call.code(), ErrorCode::Crashed);
            assert!(in_call.help().is_some_and(|help| help.ends_with("limits.memory_mb is 8")), "{in_call}");
            assert_eq!(code(said, &limits), ErrorCode::ResourceExhausted, "{said}");
            assert_eq!(code(said, &Limits::default()), ErrorCode::Crashed, "{said}");
        }
        for said in ["", "    except MemoryError:\nValueError: no", "ImportError: libx.so: no such file"] {
            assert_eq!(code(said, &limits), ErrorCode::Crashed, "{said}");
        }
        limits.processes = Some(4);
        assert_eq!(code("RuntimeError: can't start new thread", &limits), ErrorCode::Crashed);
        let denied = PluginError::denied("no").with_failure(Failure::new("", "").with_traceback("MemoryError"));
        assert_eq!(name_memory_limit(denied, &limits).code(), ErrorCode::Denied);
    }
}
