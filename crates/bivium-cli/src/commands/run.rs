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
use crate::wanted;

/// What `run` and `stream` prepare and clean up alike.
struct Prepared {
    host: Host,
    name: String,
    call: Call,
    changes: Option<Value>,
    /// The arguments that were given as text or as a file.
    texts: Vec<Text>,
    /// The settings that were given as text.
    settings: Vec<Text>,
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
    let (texts, settings) = (arguments::texts(&args.inputs.assignments), settings::texts(&args.config));
    Ok(Prepared { host, name, call, changes: patch(args.config), texts, settings, shelf })
}

impl Prepared {
    /// Loads the plugin and does `work` under a progress bar; unloads it however that ended.
    async fn finish(
        self,
        output: &Output,
        work: impl AsyncFnOnce(&Host, &str, Call, &mut Shelf) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { host, name, call, changes, texts, settings, mut shelf } = self;
        let (handle, method): (CallHandle, _) = (call.handle().clone(), call.method.clone());
        host.scope(async |host: &Host| {
            let screen = output.screen();
            tell_of_files(host, output, &name, &method, &texts).await;
            let all = async {
                host.manager.check_enabled(&name)?;
                screen.phase("loading");
                host.load(&name, changes, &handle).await?;
                screen.phase("running");
                work(host, &name, call, &mut shelf).await
            };
            match follow(screen, &name, &handle, all).await {
                Err(Failure::Plugin(error)) => {
                    let error = advice::on_texts(error, &[texts.as_slice(), &settings].concat());
                    Err(advice::by_source(&host.manager, &name, &method, error, &texts).await.into())
                }
                ended => ended,
            }
        })
        .await?;
        if shelf.has_unkept() {
            output.hint("The result's files are gone by now: --out DIR keeps them.");
        }
        Ok(())
    }
}

/// Says of a file that is given where a Python method takes a plain text: the plugin would get the file's path for it.
async fn tell_of_files(host: &Host, output: &Output, name: &str, method: &str, texts: &[Text]) {
    if texts.iter().all(|text| text.value.is_some()) {
        return;
    }
    let Some(method) = wanted::python_method(&host.manager, name, method).await else { return };
    let files = texts.iter().filter(|text| text.value.is_none());
    for advice in files.filter_map(|text| advice::by_schema(&method, text)) {
        output.hint(&format!("{name} takes a text there: {advice}."));
    }
}
