//! Signals: the first asks the running work to stop, so that plugins are unloaded and files deleted; the second
//! ends the program at once. Workers notice that their host is gone, and the next host deletes its files.

use bivium::{CancellationToken, ErrorCode, PluginError, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit;
use crate::output::Screen;

/// Has the kernel keep how children end until that is asked for, also where whoever started the program has it ignore SIGCHLD.
pub(crate) fn heed_children() {
    // It listens for as long as the program lives. An error means that SIGCHLD stays as it was.
    let _ = signal(SignalKind::child());
}

/// From now on signals do not end the program by themselves; the first cancels the token. To be called when nothing
/// blocks for ever any more (reading arguments from a terminal, for one).
pub(crate) fn watch(screen: &Screen) -> Result<CancellationToken> {
    let mut signals = listen()?;
    let token = CancellationToken::new();
    let (stop, screen) = (token.clone(), screen.clone());
    tokio::spawn(async move {
        next(&mut signals).await;
        stop.cancel();
        // Beside, since nobody may be reading it.
        let noted = screen.clone();
        tokio::task::spawn_blocking(move || noted.note("stopping; once more to stop at once"));
        next(&mut signals).await;
        screen.end_bars();
        std::process::exit(i32::from(exit::status(ErrorCode::Cancelled)));
    });
    Ok(token)
}

/// From now on signals do not end the program by themselves; the future is ready when the first has come.
pub(crate) fn first() -> Result<impl Future<Output = ()>> {
    let mut signals = listen()?;
    Ok(async move { next(&mut signals).await })
}

/// From now on a file that would become larger than `ulimit -f` allows is an error of whoever writes it, and does not end the
/// program.
pub(crate) fn outlive_size_limit() -> Option<Signal> {
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
