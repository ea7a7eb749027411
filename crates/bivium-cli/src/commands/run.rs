//! `bivium run` and `bivium stream`: one call of one plugin.

use bivium::{Call, CallHandle};
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::advice::{self, Meant, Text};
use crate::args::{Global, Run};
use crate::arguments;
use crate::failure::Failure;
use crate::host::Host;
use crate::output::{Output, ResultFiles, follow};
use crate::settings::{self, patch};
use crate::wanted;

/// What `run` and `stream` prepare in the same way.
struct Prepared {
    host: Host,
    name: String,
    call: Call,
    changes: Option<Value>,
    /// The arguments that were given as text or as a file.
    texts: Vec<Text>,
    /// The settings that were given as text.
    settings: Vec<Text>,
    result_files: ResultFiles,
}

pub(super) async fn run(global: &Global, output: &Output, args: Run) -> Result<(), Failure> {
    let work = async |host: &Host, name: &str, call: Call, result_files: &mut ResultFiles| {
        let mut result = host.manager.execute(name, call).await?;
        output.value(&block_in_place(|| result_files.present(&mut result, ""))?)
    };
    prepare(global, output, args)?.finish(output, work).await
}

pub(super) async fn stream(global: &Global, output: &Output, args: Run) -> Result<(), Failure> {
    let work = async |host: &Host, name: &str, call: Call, result_files: &mut ResultFiles| {
        let handle = call.handle().clone();
        let mut results = host.manager.execute_stream(name, call).await?;
        let mut n = 0_u64;
        while let Some(result) = results.next().await {
            let shown = block_in_place(|| result_files.present(&mut result?, &format!("{n:04}")))?;
            // The reader of standard output may have stopped; the deadline of the stream holds here too.
            let printed = handle.unless_interrupted(output.chunk(&shown)).await;
            printed.map_err(|error| error.with_plugin(name))??;
            n += 1;
        }
        Ok(())
    };
    prepare(global, output, args)?.finish(output, work).await
}

/// Prepares a call. Reads all input before the host handles the signals.
fn prepare(global: &Global, output: &Output, args: Run) -> Result<Prepared, Failure> {
    let call = arguments::call(&args)?;
    let result_files = ResultFiles::new(args.keep.out.as_deref(), args.keep.force)?;
    let (host, name) = Host::for_plugin(global, output, &args.named)?;
    let mut call = call.cancellation(host.stop.child_token());
    if let Some(timeout) = args.timeout.timeout {
        call = call.timeout(timeout);
    }
    let (texts, settings) = (arguments::texts(&args.inputs.assignments), settings::texts(&args.config));
    Ok(Prepared { host, name, call, changes: patch(args.config), texts, settings, result_files })
}

impl Prepared {
    /// Loads the plugin and does `work` under a progress bar. Unloads the plugin, however the work ended.
    async fn finish(
        self,
        output: &Output,
        work: impl AsyncFnOnce(&Host, &str, Call, &mut ResultFiles) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let Self { host, name, call, changes, texts, settings, mut result_files } = self;
        let (handle, method): (CallHandle, _) = (call.handle().clone(), call.method.clone());
        host.scope(async |host: &Host| {
            let screen = output.screen();
            warn_of_files(host, output, &name, &method, &texts).await;
            let all = async {
                host.manager.check_enabled(&name)?;
                screen.phase("loading");
                host.load(&name, changes, &handle).await?;
                screen.phase("running");
                work(host, &name, call, &mut result_files).await
            };
            match follow(screen, &name, &handle, all).await {
                Err(Failure::Plugin(error)) => {
                    let error = match Meant::by(host, &name, &method, &error).await {
                        Some(meant) => error.and_help(meant.sentence()),
                        None => error,
                    };
                    let error = advice::on_texts(error, &[texts.as_slice(), &settings].concat());
                    Err(advice::by_source(&host.manager, &name, &method, error, &texts).await.into())
                }
                ended => ended,
            }
        })
        .await?;
        if result_files.has_unkept() {
            output.hint("The files of the result were not kept; --out DIR keeps them.");
        }
        Ok(())
    }
}

/// Warns if a file is given where a Python method takes a plain text: the plugin would get the file's path.
async fn warn_of_files(host: &Host, output: &Output, name: &str, method: &str, texts: &[Text]) {
    if texts.iter().all(|text| text.value.is_some()) {
        return;
    }
    let Some(method) = wanted::python_method(&host.manager, name, method).await else { return };
    let files = texts.iter().filter(|text| text.value.is_none());
    for advice in files.filter_map(|text| advice::by_schema(&method, text)) {
        output.hint(&format!("{name} expects a text there: {advice}."));
    }
}
