//! Command components: programs, which export `wasi:cli/run` and nothing that a host calls more than once.
//!
//! A call runs the program in an instance of its own, since the run-time library of a program starts once. The call's
//! arguments are the program's, its text or its blob is the standard input, and the standard output is the result. What the
//! program writes on standard error goes to the log, as with any component; a status other than 0 is the plugin's failure.

use std::io::Read as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bivium_instances::document::{self, DocumentLimits};
use bivium_interface::{Blob, Call, Failure, MethodInfo, Payload, PluginError, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime::component::{Component, ComponentExportIndex, Instance, InstancePre};
use wasmtime::{Engine, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::state::HostState;
use crate::store::Printed;
use crate::{guest, refusal, text};

/// The interface of a program, without its version.
const RUN: &str = "wasi:cli/run@0.2.";
/// Another name of the one method.
const METHOD: &str = "run";
/// Bytes that one write may bring.
const MAX_WRITE: usize = 64 << 10;

/// A program's `run`, if the component is one.
pub(crate) fn find(component: &Component, engine: &Engine) -> Option<ComponentExportIndex> {
    let ty = component.component_type();
    let (name, _) = ty.exports(engine).find(|(name, _)| name.starts_with(RUN))?;
    let interface = component.get_export_index(None, name)?;
    component.get_export_index(Some(&interface), "run")
}

/// The one method, for people and programs.
pub(crate) fn methods() -> Vec<MethodInfo> {
    let blob = json!({
        "type": "object",
        "properties": {"$blob": {"type": "integer", "minimum": 0}},
        "required": ["$blob"],
        "additionalProperties": false,
    });
    let output = json!({"anyOf": [{"type": "string"}, blob]});
    let parameters = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "args": {
                "type": "array",
                "items": {"type": ["string", "number", "boolean"]},
                "description": "The program's arguments, after its own name; also given by position.",
            },
            "stdin": {"anyOf": [{"type": "string"}, blob], "description": "The program's standard input."},
        },
        "additionalProperties": false,
    });
    let execute = MethodInfo::new(Call::EXECUTE)
        .with_description("Runs the program; what it writes on standard output is the result.")
        .with_parameters(parameters)
        .with_returns(output);
    vec![execute]
}

/// What a program has of its call.
pub(crate) struct Command(Mutex<Streams>);

struct Streams {
    arguments: Vec<String>,
    input: Bytes,
    output: Vec<u8>,
    /// The longest output.
    most: usize,
}

impl Command {
    fn new(limits: DocumentLimits) -> Self {
        let (arguments, input, output) = (Vec::new(), Bytes::new(), Vec::new());
        Self(Mutex::new(Streams { arguments, input, output, most: limits.text }))
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The arguments, after the program's name.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.streams().arguments.clone()
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut streams = self.streams();
        if streams.output.len() + bytes.len() > streams.most {
            return Err(PluginError::resource_exhausted(format!(
                "the program wrote more than {} MiB on standard output",
                streams.most >> 20
            ))
            .with_help(
                "raise `limits.payload_mb` in its manifest, or have it write into a file of `permissions.filesystem`",
            ));
        }
        streams.output.extend_from_slice(bytes);
        Ok(())
    }
}

/// A program's standard input. All streams on it read on where the others have stopped.
pub(crate) struct Stdin(pub(crate) Arc<Command>);

/// A program's standard output.
#[derive(Clone)]
pub(crate) struct Stdout(pub(crate) Arc<Command>);

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(Self(Arc::clone(&self.0)))
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

impl Stdin {
    fn take(&self, most: usize) -> Bytes {
        let input = &mut self.0.streams().input;
        input.split_to(most.min(input.len()))
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {}
}

impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.take(size);
        if bytes.is_empty() && size > 0 { Err(StreamError::Closed) } else { Ok(bytes) }
    }
}

impl AsyncRead for Stdin {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        into.put_slice(&self.take(into.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {}
}

impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes).map_err(|error| StreamError::Trap(wasmtime::Error::new(error)))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE)
    }
}

impl AsyncWrite for Stdout {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(self.0.write(bytes).map(|()| bytes.len()).map_err(std::io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A program whose imports are resolved.
pub(crate) struct GuestPre {
    instance: InstancePre<HostState>,
    run: ComponentExportIndex,
    /// Its first argument.
    name: String,
}

impl GuestPre {
    pub(crate) fn new(instance: InstancePre<HostState>, run: ComponentExportIndex, name: String) -> Self {
        Self { instance, run, name }
    }
}

#[async_trait]
impl guest::GuestPre for GuestPre {
    async fn instantiate(
        &self,
        store: &mut Store<HostState>,
    ) -> wasmtime::Result<wasmtime::Result<Box<dyn guest::Guest>>> {
        let state = store.data_mut();
        let command = Arc::new(Command::new(state.store.limits.document));
        state.command = Some(Arc::clone(&command));
        let instance = self.instance.instantiate_async(store).await?;
        Ok(Ok(Box::new(Guest { instance, run: self.run, name: self.name.clone(), command })))
    }

    fn is_single_use(&self) -> bool {
        true
    }
}

struct Guest {
    instance: Instance,
    run: ComponentExportIndex,
    name: String,
    command: Arc<Command>,
}

/// What a call passes to a program.
struct Invocation {
    arguments: Vec<String>,
    input: Bytes,
}

impl Guest {
    /// Takes the arguments out of a call. What is wrong with them is its caller's fault.
    async fn invocation(&self, call: &mut Call, limits: DocumentLimits) -> Result<Invocation> {
        if call.method != Call::EXECUTE && call.method != METHOD {
            let method = &call.method;
            return Err(PluginError::not_found(format!("there is no method `{}`", text::name(method)))
                .with_help("the component is a program: a call that names no method runs it"));
        }
        let blobs = Payload { json: Value::Null, blobs: std::mem::take(&mut call.blobs) };
        let mut named = std::mem::take(&mut call.named);
        let mut values = std::mem::take(&mut call.positional);
        match named.swap_remove("args") {
            Some(Value::Array(more)) => values.extend(more),
            Some(_) => return Err(wrong("`args` is no array")),
            None => {}
        }
        let input = match named.swap_remove("stdin") {
            None | Some(Value::Null) => Bytes::new(),
            Some(Value::String(text)) => text.into(),
            Some(value) => {
                let blob = blobs.blob(&value).ok_or_else(|| wrong("`stdin` is neither a text nor a blob"))?.clone();
                document::aside(true, move || read(&blob, limits)).await??
            }
        };
        if let Some(unknown) = named.keys().next() {
            return Err(wrong(&format!("the program has no argument `{}`", text::name(unknown))));
        }
        let (mut arguments, mut size) = (vec![self.name.clone()], input.len());
        for (n, value) in values.into_iter().enumerate() {
            let argument = match value {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(bool) => bool.to_string(),
                _ => return Err(wrong(&format!("the argument {n} is neither a text nor a number"))),
            };
            if argument.contains('\0') {
                return Err(wrong(&format!("the argument {n} has a NUL character in it")));
            }
            size = size.saturating_add(argument.len());
            arguments.push(argument);
        }
        if size > limits.text {
            return Err(limits.too_long("the arguments are", &format!("{} MiB", size >> 20)));
        }
        Ok(Invocation { arguments, input })
    }
}

fn wrong(what: &str) -> PluginError {
    PluginError::invalid_input(what.to_owned())
        .with_help("give the program's arguments by position or as `args`, and its standard input as `stdin`")
}

/// A blob's bytes.
fn read(blob: &Blob, limits: DocumentLimits) -> Result<Bytes> {
    let over = || {
        PluginError::resource_exhausted(format!(
            "the blob for standard input has more than {} MiB, as much as a payload may have",
            limits.text >> 20
        ))
        .with_help("raise `limits.payload_mb`, or have the program read the file in /blobs (`permissions.blob_files`)")
    };
    let most = limits.text as u64;
    if blob.size() > most {
        return Err(over());
    }
    let mut bytes = Vec::new();
    blob.open()
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| PluginError::unavailable(format!("cannot read the blob for standard input: {error}")))?;
    if bytes.len() as u64 > most { Err(over()) } else { Ok(bytes.into()) }
}

/// The failure of a program that ended with another status than 0.
fn failed(status: i32, state: &HostState) -> PluginError {
    let (sentence, said) = state.store.log.last_words(|words| (words.sentence(), words.text()));
    let message = sentence.unwrap_or_else(|| "it wrote nothing on standard error".to_owned());
    let failure = Failure::new(format!("exit status {status}"), message);
    PluginError::plugin_failed(failure.with_traceback(said.unwrap_or_default()))
}

#[async_trait]
impl guest::Guest for Guest {
    async fn methods(&self, _store: &mut Store<HostState>) -> wasmtime::Result<Vec<MethodInfo>> {
        Ok(methods())
    }

    async fn config_schema(&self, _store: &mut Store<HostState>) -> wasmtime::Result<String> {
        Ok(guest::NO_CONFIG_SCHEMA.to_owned())
    }

    async fn current_config(&self, _store: &mut Store<HostState>) -> wasmtime::Result<String> {
        Ok("{}".to_owned())
    }

    async fn initialize(&self, _store: &mut Store<HostState>, config: String) -> wasmtime::Result<Result<()>> {
        Ok(guest::no_config("a program", &config))
    }

    async fn execute(
        &self,
        store: &mut Store<HostState>,
        call: &mut Call,
        result: &mut Payload,
    ) -> wasmtime::Result<Result<()>> {
        let limits = store.data().store.limits.document;
        let invocation = match self.invocation(call, limits).await {
            Ok(invocation) => invocation,
            Err(error) => return Ok(Err(error)),
        };
        {
            let mut streams = self.command.streams();
            (streams.arguments, streams.input) = (invocation.arguments, invocation.input);
        }
        let run = match self.instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, self.run) {
            Ok(run) => run,
            Err(error) => return Ok(Err(refusal::wrong_type(&error))),
        };
        let status = match run.call_async(&mut *store, ()).await {
            Ok((Ok(()),)) => 0,
            Ok((Err(()),)) => 1,
            // The end of most programs, though it comes as a trap.
            Err(trap) => match trap.downcast_ref::<I32Exit>() {
                Some(I32Exit(status)) => *status,
                None => return Err(trap),
            },
        };
        let output = std::mem::take(&mut self.command.streams().output);
        let state = store.data_mut();
        if status != 0 {
            state.store.log.print(Printed::Stdout, &output);
            return Ok(Err(failed(status, state)));
        }
        let pace = state.store.pace();
        Ok(match String::from_utf8(output) {
            Ok(output) => {
                let json = Value::String(output);
                document::measure(&json, limits.text, &pace)
                    .map_err(|why| limits.unwritten("the program's output is", why))
                    .map(|()| *result = Payload { json, blobs: Vec::new() })
            }
            Err(bytes) => {
                let HostState { store, blobs, .. } = state;
                let kept = blobs.keep(store, vec![bytes.into_bytes()]).await;
                kept.map(|blobs| *result = Payload { json: json!({"$blob": 0}), blobs })
            }
        })
    }

    async fn cleanup(&self, _store: &mut Store<HostState>) -> wasmtime::Result<()> {
        Ok(())
    }
}
