//! Pipelines: several plugins, one after another, in whichever runtimes. Blobs are passed between them as files.
//!
//! A pipeline is a JSON document. Each step calls one plugin. Its arguments are a template, in which `{"$from": "PLACE"}` stands for a
//! value that exists when the step runs: `inputs/NAME`, the result of an earlier step (`STEP`, or a part of it by JSON Pointer:
//! `STEP/words/0`), or `item/…` in a step with `for_each`. Such a step runs once for each result of an earlier step, or for each item
//! of a list in a result (`STEP/words`) or an input (`inputs/files`). A step with `"stream": true` or `for_each` has a list of
//! results. A step that runs for each of these results starts with the first one while the earlier step still makes the next.
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
    description = "Several plugins, one after another. Relative paths are relative to this file."
)]
#[non_exhaustive]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// A description in one sentence.
    #[serde(default)]
    pub description: String,
    /// Its inputs.
    #[serde(default)]
    pub inputs: BTreeMap<String, Input>,
    /// Configurations by plugin name, for plugins that are not loaded yet.
    #[serde(default)]
    pub configs: BTreeMap<String, Value>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// Its outputs: a template.
    #[serde(default)]
    pub outputs: Map<String, Value>,
    /// The directory that files are relative to.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// An input of a pipeline. It is required if it has neither `default` nor `file`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Input {
    /// A description in one sentence.
    pub description: String,
    /// The value if the input is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The file that becomes the input's blob if the input is not given, relative to the pipeline's file.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "bivium_interface::lossy::optional")]
    pub file: Option<PathBuf>,
}

/// One step.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Step {
    /// The id by which later steps refer to its result.
    pub id: String,
    /// The plugin that it calls.
    pub plugin: String,
    /// The method; `execute` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Whether it makes a streaming call and uses all its results.
    #[serde(default)]
    pub stream: bool,
    /// A list: the step runs once for each of its items. The results of an earlier step (its id), or the place of a list in a result or an
    /// input (`STEP/words`, `inputs/files`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<String>,
    /// The named arguments: a template.
    #[serde(default)]
    pub args: Map<String, Value>,
    /// Whether it replaces a step of the file that is not valid.
    #[serde(skip)]
    is_broken: bool,
}

/// Options of one run of a pipeline.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RunOptions {
    /// The time limit for the whole run.
    pub timeout: Option<Duration>,
    /// Cancels the whole run.
    pub cancellation: CancellationToken,
}

impl RunOptions {
    /// No timeout and no cancellation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time limit for the whole run; `None` means no limit.
    #[must_use]
    pub fn timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self { timeout: timeout.into(), ..self }
    }

    /// Makes this token cancel the whole run.
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
        /// The progress.
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
    /// A step has failed, and so has the run. This is the last event.
    Failed {
        /// The steps that had started, in order.
        steps: &'a [StepReport],
        /// Wall-clock time of all steps, in seconds, without loading plugins.
        wall_s: f64,
        /// Time for loading the plugins, in seconds.
        load_s: f64,
    },
}

/// The outputs of a run, and the time that it took.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// The outputs.
    pub payload: Payload,
    /// Each step, in order.
    pub steps: Vec<StepReport>,
    /// Wall-clock time of all steps, in seconds, without loading plugins.
    pub wall_s: f64,
    /// Time for loading the plugins that were not loaded yet, in seconds.
    pub load_s: f64,
}

/// The calls of a step, and the time that they took.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StepReport {
    /// The step.
    pub id: String,
    /// Its plugin.
    pub plugin: String,
    /// The plugin's runtime; none for a type of the host's own.
    pub runtime: Option<RuntimeKind>,
    /// The number of calls.
    pub calls: u32,
    /// The number of results.
    pub results: u32,
    /// Time spent waiting for the plugin, in seconds. Steps overlap, so the sum may exceed the wall time.
    pub busy_s: f64,
}

impl StepReport {
    /// A report of a step that has not run.
    #[must_use]
    pub fn new(id: impl Into<String>, plugin: impl Into<String>, runtime: Option<RuntimeKind>) -> Self {
        Self { id: id.into(), plugin: plugin.into(), runtime, calls: 0, results: 0, busy_s: 0.0 }
    }
}
