//! `bivium run` and `bivium stream`: one call of one plugin.

use bivium::{Call, CallHandle};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::advice::{self, Text};
use crate::args::{Global, Run};
use crate::arguments;
use crate::exit::Failure;
use crate::host::Host;
use crate::output::{Output, Shelf, follow};
use crate::settings::{self, patch};

/// What `run` and `stream` prepare and clean up alike.
struct Prepared {
    host: Host,
    name: String,
    call: Call,
    changes: Option<Value>,
    /// What was given as text.
    texts: Vec<Text>,
    shelf: Shelf,
}

pub(super) async fn run(global: &Global, output: &Output, args: Run) -> Result<(), Failure> {
    let work = async |host: &Host, name: &str, call: Call, shelf: &mut Shelf| {
        let mut result = host.manager.execute(name, call).await?;
        output.value(&block_in_place(|| shelf.present(&mut result, ""))?)
    };
    prepare(global, output, args)?.finish(output, work).await
}

pub(super) async fn stream(global: &Global, output: &Output, args: Run) -> Result<(), Failure> {
    let work = async |host: &Host, name: &str, call: Call, shelf: &mut Shelf| {
        let handle = call.handle().clone();
        let mut results = host.manager.execute_stream(name, call).await?;
        let mut n = 0_u64;
        while let Some(result) = results.next().await {
            let shown = block_in_place(|| shelf.present(&mut result?, &format!("{n:04}")))?;
            // Its reader may have stopped: the deadline is the stream's all the same.
            let printed = handle.unless_interrupted(output.chunk(&shown)).await;
            printed.map_err(|error| error.with_plugin(name))??;
            n += 1;
        }
        Ok(())
    };
    prepare(global, output, args)?.finish(output, work).await
}

/// Reads everything that is to be read before the signals are taken over.
fn prepare(global: &Global, output: &Output, args: Run) -> Result<Prepared, Failure> {
    let call = arguments::call(&args)?;
    let shelf = Shelf::new(args.keep.out.as_deref(), args.keep.force)?;
    let (host, name) = Host::for_plugin(global, output, &args.named)?;
    let mut call = call.cancellation(host.stop.child_token());
    if let Some(timeout) = args.timeout.timeout {
        call = call.timeout(timeout);
    }
    let mut texts = arguments::texts(&args.inputs.assignments);
    texts.extend(settings::texts(&args.config));
    Ok(Prepared { host, name, call, changes: patch(args.config), texts, shelf })
}

impl Prepared {
    /// Loads the plugin and does `work` under a progress bar; unloads it however that ended.
    async fn finish(
        self,
        output: &Output,
        work: impl AsyncFnOnce(&Host, &str, Call, &mut Shelf) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { host, name, call, changes, texts, mut shelf } = self;
        let handle: CallHandle = call.handle().clone();
        host.scope(async |host: &Host| {
            let screen = output.screen();
            let all = async {
                screen.phase("loading");
                host.load(&name, changes, &handle).await?;
                screen.phase("running");
                work(host, &name, call, &mut shelf).await
            };
            follow(screen, &name, &handle, all).await
        })
        .await
        .map_err(|failure| failure.map(|error| advice::on_texts(error, &texts)))?;
        if shelf.has_unkept() {
            output.hint("The result's files are gone by now: --out DIR keeps them.");
        }
        Ok(())
    }
}
