//! The time from the request to cancel until the call returns, for a guest that computes without end.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use bivium::{Call, ErrorCode, PluginManager};

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::Entry;
use crate::peers::extism;
use crate::site::Site;
use crate::timing::ms;

pub const NAME: &str = "cancel";

/// How long the guest computes before it is cancelled. Not a multiple of a tick.
const BEFORE: Duration = Duration::from_millis(23);

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let manager = site.manager(&[site.echo()]).await?;
    let measure = Measure::lower("time", "component, busy loop", "ms");
    let compiled = extism::compile(&site.guest("echo-extism"));
    let entries = Contest::new(NAME, vec![measure])
        .side(Role::Ours, Ok(Target::Ours(manager.clone())))
        .side(Role::Peer(extism::NAME.to_owned()), compiled.map(|compiled| Target::Extism(Box::new(compiled))))
        .run(site.rounds(50))
        .await?;
    manager.unload_all().await;
    Ok(entries)
}

enum Target {
    Ours(PluginManager),
    Extism(Box<::extism::CompiledPlugin>),
}

#[async_trait(?Send)]
impl Side for Target {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let took = match self {
            Self::Ours(manager) => {
                let call = Call::new().method("spin");
                let handle = call.handle().clone();
                let manager = manager.clone();
                let running = tokio::spawn(async move { manager.execute("echo", call).await });
                tokio::time::sleep(BEFORE).await;
                let begun = Instant::now();
                handle.cancel();
                let ended = running.await?;
                let took = begun.elapsed();
                ensure!(ended.is_err_and(|error| error.code() == ErrorCode::Cancelled), "the call ended otherwise");
                took
            }
            Self::Extism(compiled) => {
                let mut plugin = ::extism::Plugin::new_from_compiled(compiled)?;
                let handle = plugin.cancel_handle();
                let (sender, receiver) = mpsc::channel();
                std::thread::scope(|scope| {
                    scope.spawn(move || {
                        let ended = plugin.call::<(), ()>("spin", ());
                        // The receiver waits for the result.
                        let _ = sender.send((Instant::now(), ended.is_err()));
                    });
                    std::thread::sleep(BEFORE);
                    let begun = Instant::now();
                    handle.cancel()?;
                    let (end, failed) = receiver.recv()?;
                    ensure!(failed, "the call ended otherwise");
                    anyhow::Ok(end.duration_since(begun))
                })?
            }
        };
        samples.entry("time".to_owned()).or_default().push(ms(took));
        Ok(())
    }
}
