//! The sample pipeline from speech to subtitles, as in `cargo xtask demo`: in how much of the time does no plugin work?
//!
//! The plugins' own times are not measured by the host. The recognizer's time is measured in its Python code, in the same run
//! (`bench/python/timed_transcribe.py`), because it varies more from run to run than all the rest takes. The components' times are
//! measured with bare wasmtime on the same data. A run cannot end before the first segment is cut, all segments are recognized (meanwhile
//! the others are cut), the numbers are masked and the captions are written. The sum of these four times is the work; the rest of the run
//! is outside the plugins' work.
//!
//! Loading is measured separately, because it is done once, and mostly loads the recognizer's models. The environment already exists and
//! the components are already compiled, as in every run but the first on a machine.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bivium::pipeline::{Event, Pipeline, RunOptions};
use bivium::{Call, PluginManager};
use serde_json::{Value, json};

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::component_files::FileComponent;
use crate::peers::driver::{Asked, Driver};
use crate::site::Site;
use crate::stats::Stats;

pub const NAME: &str = "whole pipeline";

/// How often a component's own time is measured in a round.
const REPEATS: usize = 5;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let work = Rc::new(Cell::new(0.0));
    let mut ours = Ours::new(site, &work).await?;
    let cjm = peer(site, &mut ours).await;
    let measures = vec![
        Measure::lower("outside", "time outside the plugins' own work, in percent of it", "%")
            .goal(Against::Value, 1.0),
        Measure::lower("run", "a minute of speech to subtitles; floor: the plugins' own work", "s"),
        Measure::lower("load", "loading its plugins, models included", "s"),
    ];
    Contest::new(NAME, measures)
        .side(Role::Ours, Ok(ours))
        .side(Role::Floor, Ok(Work(work)))
        .side(Role::Peer("cjm-plugin-system manager".to_owned()), cjm)
        .run(if site.quick { 1 } else { 3 })
        .await
}

/// Three Python steps. The middle one is that of our example, and the first is told where our component cuts.
async fn peer(site: &Site, ours: &mut Ours) -> Result<Asked> {
    let cuts = ours.cuts()?;
    let driver = Driver::start(site.cjm.as_ref(), "pipeline_cjm.py", &site.directory()?)?;
    let load = json!({"do": "load", "examples": site.repository("examples/plugins/transcribe").canonicalize()?});
    Asked::new(&Asked::share(driver, load).await, json!({"do": "run", "audio": ours.speech, "cuts": cuts}))
}

struct Ours {
    manager: PluginManager,
    pipeline: Pipeline,
    speech: PathBuf,
    cut: FileComponent,
    mask: FileComponent,
    write: FileComponent,
    /// The plugins' own work in the last run, in seconds.
    work: Rc<Cell<f64>>,
}

impl Ours {
    async fn new(site: &Site, work: &Rc<Cell<f64>>) -> Result<Self> {
        let directory = site.directory()?;
        let examples = site.repository("examples/plugins");
        let transcribe = std::fs::read_to_string(examples.join("transcribe/transcribe.json"))?;
        let mut transcribe: Value = serde_json::from_str(&transcribe)?;
        transcribe["module"] = "timed_transcribe".into();
        transcribe["class"] = "TimedTranscribe".into();
        transcribe["source"] = json!(site.repository("bench/python"));
        transcribe["env_vars"] = json!({"PYTHONPATH": examples.join("transcribe")});
        std::fs::write(directory.join("transcribe.json"), transcribe.to_string())?;
        let pipelines = site.repository("examples/pipelines/transcribe");
        let bare = |name: &str| {
            let directory = site.directory()?;
            FileComponent::load(&examples.join(format!("target/guests/{name}.wasm")), &directory)
        };
        // If two manifests have the same name, the one in the first directory is used.
        let manager = PluginManager::builder()
            .manifests(&directory)
            .manifests(&examples)
            .data_dir(directory.join("data"))
            .build()?;
        let pipeline = Pipeline::read(&pipelines.join("pipeline.json"))?;
        // Makes the environment and compiles the components, which happens once on a machine.
        for step in &pipeline.steps {
            manager.load(&step.plugin).await?;
        }
        manager.unload_all().await;
        Ok(Self {
            manager,
            pipeline,
            speech: pipelines.join("speech.wav"),
            cut: bare("audio-prep")?,
            mask: bare("redact")?,
            write: bare("subtitles")?,
            work: Rc::clone(work),
        })
    }

    /// The beginning and end of each segment, in seconds.
    fn cuts(&mut self) -> Result<Vec<Value>> {
        let mut segments = self.cut.stream(&json!({"audio": {"$blob": 0}}), &self.speech)?;
        let mut cuts = Vec::new();
        while let Some(segment) = segments.next()? {
            cuts.push(json!([segment["start_s"], segment["end_s"]]));
        }
        Ok(cuts)
    }

    /// The components' own times in seconds for these words of the recognizer: until the first segment, and from the words to the captions.
    /// Also returns the captions.
    fn components(&mut self, words: &Value) -> Result<(f64, Value)> {
        let mut times = Vec::new();
        let mut captions = Value::Null;
        for _ in 0..REPEATS {
            let begun = Instant::now();
            let mut segments = self.cut.stream(&json!({"audio": {"$blob": 0}}), &self.speech)?;
            segments.next()?.context("there is no segment")?;
            let first = begun.elapsed();
            while segments.next()?.is_some() {}
            let begun = Instant::now();
            let masked = self.mask.execute(&json!({"segments": words}))?;
            captions = self.write.execute(&json!({"segments": masked["segments"]}))?;
            times.push((first + begun.elapsed()).as_secs_f64());
        }
        Ok((Stats::of(&times).context("nothing was measured")?.median, captions))
    }
}

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let results: Mutex<BTreeMap<String, Vec<Value>>> = Mutex::default();
        let note = |event: Event<'_>| {
            if let Event::Result { step, payload } = event {
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                results.entry(step.id.clone()).or_default().push(payload.json.clone());
            }
        };
        let begun = Instant::now();
        let outcome = self.pipeline.run(&self.manager, json!({}).into(), &RunOptions::default(), &note).await?;
        let run = begun.elapsed().as_secs_f64() - outcome.load_s;
        if !samples.contains_key("load") {
            samples.insert("load".to_owned(), vec![outcome.load_s]);
        }
        let spent = self.manager.execute("transcribe", Call::new().method("take_spent")).await?;
        let spent = spent.json.get("spent_s").and_then(Value::as_f64).context("no time was told")?;
        let words = results.into_inner().unwrap_or_else(PoisonError::into_inner).remove("words");
        let (components, captions) = self.components(&words.map(Value::Array).context("there are no words")?)?;
        ensure!(outcome.payload.json["text"] == captions["text"], "the bare components give other captions");
        let work = spent + components;
        samples.entry("run".to_owned()).or_default().push(run);
        samples.entry("outside".to_owned()).or_default().push(100.0 * (run - work) / work);
        self.work.set(work);
        Ok(())
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.manager.unload_all().await;
        Ok(())
    }
}

/// Returns the work of the previous run.
struct Work(Rc<Cell<f64>>);

#[async_trait(?Send)]
impl Side for Work {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        samples.entry("run".to_owned()).or_default().push(self.0.get());
        Ok(())
    }
}
