//! Signals. The first asks the running work to stop, so that plugins are unloaded and files deleted. The second ends the program
//! at once; then the workers notice that their host is gone, and the next host deletes its files.

use bivium::{CancellationToken, ErrorCode, PluginError, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit;
use crate::output::Screen;

/// Makes the kernel keep the exit status of child processes until it is asked for, even if the program was started with SIGCHLD
/// ignored.
pub(crate) fn keep_child_status() {
    // The handler stays for the program's whole life. An error means that SIGCHLD stays as it was.
    let _ = signal(SignalKind::child());
}

/// From now on signals do not end the program by themselves; the first cancels the token. Call it only after everything that can
/// block for ever (reading arguments from a terminal, for example).
pub(crate) fn watch(screen: &Screen) -> Result<CancellationToken> {
    let mut signals = listen()?;
    let token = CancellationToken::new();
    let (stop, screen) = (token.clone(), screen.clone());
    tokio::spawn(async move {
        next(&mut signals).await;
        stop.cancel();
        // On another thread, because nobody may be reading standard error.
        let noted = screen.clone();
        tokio::task::spawn_blocking(move || noted.note("stopping; interrupt again to stop at once"));
        next(&mut signals).await;
        screen.end_bars();
        std::process::exit(i32::from(exit::status(ErrorCode::Cancelled)));
    });
    Ok(token)
}

/// From now on signals do not end the program by themselves; the future is ready when the first signal has come.
pub(crate) fn first() -> Result<impl Future<Output = ()>> {
    let mut signals = listen()?;
    Ok(async move { next(&mut signals).await })
}

/// From now on, writing a file past the limit of `ulimit -f` is an error of that write, and does not end the program.
pub(crate) fn catch_size_signal() -> Option<Signal> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).ok()
}

fn listen() -> Result<[Signal; 3]> {
    let listen =
        |kind| signal(kind).map_err(|error| PluginError::internal(format!("cannot listen for signals: {error}")));
    Ok([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?])
}

async fn next([interrupt, terminate, hangup]: &mut [Signal; 3]) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
