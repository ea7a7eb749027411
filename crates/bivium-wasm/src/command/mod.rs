//! Command components: programs, which export `wasi:cli/run` and nothing that a host calls more than once.
//!
//! Each call runs the program in a new instance, since the runtime library of a program starts only once. The call's arguments are the
//! program's arguments, a text or a blob is its standard input, and its standard output is the result. What it writes on standard error
//! goes to the log, as with any component. An exit status other than 0 is an error of the plugin.

mod invocation;

use std::sync::Arc;

use async_trait::async_trait;
use bivium_instances::document;
use bivium_interface::{Call, Failure, MethodInfo, Payload, PluginError, Result};
use serde_json::{Value, json};
use wasmtime::component::{Component, ComponentExportIndex, Instance, InstancePre};
use wasmtime::{Engine, Store};
use wasmtime_wasi::I32Exit;

use crate::capability::cli::ProgramIo;
use crate::state::HostState;
use crate::store::StdStream;
use crate::{guest, refusal};
use invocation::Invocation;

/// The interface of a program, without its version.
const RUN: &str = "wasi:cli/run@0.2.";

/// A program's `run`, if the component is one.
pub(crate) fn find(component: &Component, engine: &Engine) -> Option<ComponentExportIndex> {
    let ty = component.component_type();
    let (name, _) = ty.exports(engine).find(|(name, _)| name.starts_with(RUN))?;
    let interface = component.get_export_index(None, name)?;
    component.get_export_index(Some(&interface), "run")
}

/// The description of the only method.
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

/// A program whose imports are resolved.
pub(crate) struct ProgramGuestPre {
    instance: InstancePre<HostState>,
    run: ComponentExportIndex,
    /// Its own name, which is its first argument.
    name: String,
}

impl ProgramGuestPre {
    pub(crate) fn new(instance: InstancePre<HostState>, run: ComponentExportIndex, name: String) -> Self {
        Self { instance, run, name }
    }
}

#[async_trait]
impl guest::GuestPre for ProgramGuestPre {
    async fn instantiate(
        &self,
        store: &mut Store<HostState>,
    ) -> wasmtime::Result<wasmtime::Result<Box<dyn guest::Guest>>> {
        let state = store.data_mut();
        let io = Arc::new(ProgramIo::new(state.store.limits.document.text));
        state.cli.program = Some(Arc::clone(&io));
        let instance = self.instance.instantiate_async(store).await?;
        Ok(Ok(Box::new(ProgramGuest { instance, run: self.run, name: self.name.clone(), io })))
    }

    fn is_single_use(&self) -> bool {
        true
    }
}

struct ProgramGuest {
    instance: Instance,
    run: ComponentExportIndex,
    name: String,
    io: Arc<ProgramIo>,
}

/// The error of a program that ended with a status other than 0.
fn failed(status: i32, state: &HostState) -> PluginError {
    let (sentence, said) = state.store.log.last_output(|last| (last.sentence(), last.text()));
    let message = sentence.unwrap_or_else(|| "it wrote nothing on standard error".to_owned());
    let failure = Failure::new(format!("exit status {status}"), message);
    PluginError::plugin_failed(failure.with_traceback(said.unwrap_or_default()))
}

#[async_trait]
impl guest::Guest for ProgramGuest {
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
        let invocation = match Invocation::take(&self.name, call, limits).await {
            Ok(invocation) => invocation,
            Err(error) => return Ok(Err(error)),
        };
        self.io.begin(invocation.arguments, invocation.input);
        let run = match self.instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, self.run) {
            Ok(run) => run,
            Err(error) => return Ok(Err(refusal::wrong_type(&error))),
        };
        let status = match run.call_async(&mut *store, ()).await {
            Ok((Ok(()),)) => 0,
            Ok((Err(()),)) => 1,
            // Most programs end this way, although it arrives as a trap.
            Err(trap) => match trap.downcast_ref::<I32Exit>() {
                Some(I32Exit(status)) => *status,
                None => return Err(trap),
            },
        };
        let output = self.io.take_output();
        let state = store.data_mut();
        if status != 0 {
            state.store.log.print(StdStream::Stdout, &output);
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
