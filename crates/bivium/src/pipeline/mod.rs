//! Pipelines: several plugins in a row, whichever roads they are on, with blobs passed on by file.
//!
//! A pipeline is a JSON document. Each step calls one plugin; its arguments are a template in which
//! `{"$from": "PLACE"}` stands for a value that exists by then: `inputs/NAME`, the result of an earlier step
//! (`STEP`, or a part of it by JSON Pointer: `STEP/words/0`), or `item/…` in a step that runs once `for_each`
//! result of an earlier one, or item of a list in a result (`STEP/words`) or an input (`inputs/files`). A step with
//! `"stream": true` has a list of results, and so has a step with `for_each`; one that runs for the results of such a
//! step starts on the first while its source still works on the next.
//!
//! ```json
//! { "name": "captions",
//!   "inputs": { "audio": { "file": "speech.wav" } },
//!   "steps": [
//!     { "id": "segments", "plugin": "audio-prep", "stream": true, "args": { "audio": { "$from": "inputs/audio" } } },
//!     { "id": "words", "plugin": "transcribe", "for_each": "segments", "args": { "audio": { "$from": "item/audio" } } },
//!     { "id": "captions", "plugin": "subtitles", "args": { "segments": { "$from": "words" } } } ],
//!   "outputs": { "srt": { "$from": "captions/srt" } } }
//! ```

mod read;
mod run;
mod template;

pub use read::Draft;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bivium_interface::manifest::RuntimeKind;
use bivium_interface::{CancellationToken, Payload, Progress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A pipeline that has been read and checked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    title = "Bivium pipeline",
    description = "Several plugins in a row. Relative paths are relative to this file."
)]
#[non_exhaustive]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// What it takes.
    #[serde(default)]
    pub inputs: BTreeMap<String, Input>,
    /// Configurations for its plugins, by name, where they are not loaded yet.
    #[serde(default)]
    pub configs: BTreeMap<String, Value>,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// What it gives: a template.
    #[serde(default)]
    pub outputs: Map<String, Value>,
    /// The directory that files are relative to.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// One thing that a pipeline takes. Without `default` and `file` it must be given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Input {
    /// One sentence.
    pub description: String,
    /// The value if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The file to take as a blob if none is given, relative to the pipeline's own.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "bivium_interface::lossy::optional")]
    pub file: Option<PathBuf>,
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Step {
    /// The name by which later steps refer to its result.
    pub id: String,
    /// The plugin that it calls.
    pub plugin: String,
    /// The method; `execute` unless named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Whether it takes all results of a streaming call.
    #[serde(default)]
    pub stream: bool,
    /// The list for each of whose items it runs once: the results of a step (its id), or the place of a list in a
    /// result or an input (`STEP/words`, `inputs/files`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<String>,
    /// The named arguments: a template.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// Whether it stands for a step of the file that makes no sense.
    #[serde(skip)]
    is_broken: bool,
}

/// How one run of a pipeline is steered and watched.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// Time for the whole.
    pub timeout: Option<Duration>,
    /// Cancels the whole.
    pub cancellation: CancellationToken,
}

impl RunOptions {
    /// Without a timeout, and not to be cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the whole this much time; none for as much as it takes.
    #[must_use]
    pub fn timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self { timeout: timeout.into(), ..self }
    }

    /// Lets this token cancel the whole.
    #[must_use]
    pub fn cancellation(self, cancellation: CancellationToken) -> Self {
        Self { cancellation, ..self }
    }
}

/// What happens during a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step's plugin is ready and its first call begins.
    Started {
        /// The step.
        step: &'a Step,
    },
    /// A step's plugin reports progress of its running call.
    Progress {
        /// The step.
        step: &'a Step,
        /// How far it is.
        progress: Progress,
    },
    /// A step has a result, or one more of several.
    Result {
        /// The step.
        step: &'a Step,
        /// The result.
        payload: &'a Payload,
    },
    /// A step has all its results.
    Finished {
        /// The step.
        step: &'a Step,
    },
    /// A step has failed, and with it the run. The last event.
    Failed {
        /// The steps that had begun, in order.
        steps: &'a [StepReport],
        /// Wall time of the steps together, in seconds; loading plugins is not in it.
        wall_s: f64,
        /// Time that it took to load the plugins, in seconds.
        load_s: f64,
    },
}

/// What a run gave and where its time went.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// The outputs.
    pub payload: Payload,
    /// Each step, in order.
    pub steps: Vec<StepReport>,
    /// Wall time of the steps together, in seconds; loading plugins is not in it.
    pub wall_s: f64,
    /// Time that it took to load the plugins that were not loaded yet, in seconds.
    pub load_s: f64,
}

/// Where a step's time went.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StepReport {
    /// The step.
    pub id: String,
    /// Its plugin.
    pub plugin: String,
    /// The road that the plugin takes; none for a type of the host's own.
    pub runtime: Option<RuntimeKind>,
    /// Calls made.
    pub calls: u32,
    /// Results got.
    pub results: u32,
    /// Time spent waiting for the plugin, in seconds. Steps overlap, so the sum may exceed the wall time.
    pub busy_s: f64,
}

impl StepReport {
    /// Of a step that has not been called.
    #[must_use]
    pub fn new(id: impl Into<String>, plugin: impl Into<String>, runtime: Option<RuntimeKind>) -> Self {
        Self { id: id.into(), plugin: plugin.into(), runtime, calls: 0, results: 0, busy_s: 0.0 }
    }
}
