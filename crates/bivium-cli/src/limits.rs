//! The resource limits of this process (`ulimit`). If one is too low, the error says which one to raise.

use std::fs::File;
use std::sync::mpsc;
use std::thread;

use bivium::{PluginError, Result};
use rustix::process::{Resource, getrlimit};

/// The stack size of the thread that the program runs in, whatever `ulimit -s` says.
pub(crate) const STACK: usize = 8 << 20;
/// The number of files that the program opens when it starts.
const FILES: usize = 24;
/// The number of threads that it starts at once.
const THREADS: usize = 24;

const RAISE_FILES: &str = "raise the limit of open files (`ulimit -n`)";
const RAISE_THREADS: &str = "raise the limit of processes and threads (`ulimit -u`)";

/// Fails if the limits are so low that libraries would panic.
pub(crate) fn check() -> Result<()> {
    let files: std::io::Result<Vec<File>> = (0..FILES).map(|_| File::open("/dev/null")).collect();
    if let Err(error) = files {
        let message = format!("the program cannot open {FILES} files: {error}");
        return Err(PluginError::resource_exhausted(message).with_help(RAISE_FILES));
    }
    // Threads cost more to try than files, and are rarely limited.
    if getrlimit(Resource::Nproc).current.is_some_and(|most| most < 1 << 12) {
        check_threads()?;
    }
    Ok(())
}

fn check_threads() -> Result<()> {
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let wait = || {
        let held = std::sync::Arc::clone(&held);
        // Ends with an error when the sender is dropped.
        thread::Builder::new().stack_size(64 << 10).spawn(move || held.lock().map(|held| held.recv()).is_ok())
    };
    let threads: std::io::Result<Vec<_>> = (0..THREADS).map(|_| wait()).collect();
    drop(hold);
    threads.map(drop).map_err(|error| no_threads(&error))
}

/// The error for a thread that could not be started.
pub(crate) fn no_threads(error: &std::io::Error) -> PluginError {
    PluginError::resource_exhausted(format!("the program cannot start threads: {error}")).with_help(RAISE_THREADS)
}

/// Adds to an error which limit caused it.
pub(crate) fn advise(error: PluginError) -> PluginError {
    let said = error.message();
    if error.help().is_some_and(|help| help.contains("ulimit")) {
        return error;
    }
    let is_limited = |resource| getrlimit(resource).current.is_some();
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    let advice = if has(&["(os error 24)"]) {
        RAISE_FILES
    } else if has(&["(os error 27)"]) && is_limited(Resource::Fsize) {
        "raise the limit of file size (`ulimit -f`)"
    } else if has(&["(os error 11)", "can't start new thread", "spawn"]) && is_limited(Resource::Nproc) {
        RAISE_THREADS
    } else if has(&["(os error 12)", "memory allocation"]) && is_limited(Resource::As) {
        "raise the limit of address space (`ulimit -v`)"
    } else {
        return error;
    };
    error.and_help(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_limit_that_caused_it() {
        let error =
            advise(PluginError::internal("cannot run x: Too many open files (os error 24)").with_help("mend it"));
        assert_eq!(error.help(), Some("mend it; raise the limit of open files (`ulimit -n`)"));
        assert_eq!(advise(error.clone()).help(), error.help());
        assert_eq!(advise(PluginError::internal("no")).help(), None);
        assert!(check().is_ok() && check_threads().is_ok());
    }
}
