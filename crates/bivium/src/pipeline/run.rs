//! Runs a pipeline. Every step is a future. Each result is passed to the next steps as soon as it exists.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use bivium_interface::{Blob, Call, CallHandle, Payload, PluginError, Progress, Result, escape};
use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use serde_json::Value;
use tokio::sync::{SetOnce, mpsc, watch};
use tokio::time::Instant;

use super::template::{Location, at, fill, gather, kind_of, places};
use super::{Event, Outcome, Pipeline, RunOptions, Step, StepReport};
use crate::PluginManager;

/// One run.
struct Run<'a> {
    manager: &'a PluginManager,
    pipeline: &'a Pipeline,
    inputs: Payload,
    deadline: Option<Instant>,
    on_event: &'a (dyn Fn(Event<'_>) + Send + Sync),
    /// The complete result of each step that has ended.
    results: BTreeMap<&'a str, SetOnce<Payload>>,
    /// The report of each step that has started.
    reports: Vec<Mutex<Option<StepReport>>>,
}

/// A step's channels for lists of results between steps. They are unbounded: if a step waited for later steps, it would wait for ever for
/// one that needs the whole list first, or something made from it.
struct Lists {
    source: Option<mpsc::UnboundedReceiver<Payload>>,
    followers: Vec<mpsc::UnboundedSender<Payload>>,
}

impl Pipeline {
    /// Runs the pipeline with these inputs (an object, and its blobs). Plugins that are not loaded are loaded first, at the same time, and
    /// stay loaded. `on_event` is called for each event and must not block. Dropping the future cancels every call.
    ///
    /// # Errors
    /// `invalid-input` if an input is missing or unknown; the first error of a step, which names the step, its plugin and the item
    /// ([`PluginError::step`]). Before that, `on_event` gets the reports of the steps.
    pub async fn run(
        &self,
        manager: &PluginManager,
        inputs: Payload,
        options: &RunOptions,
        on_event: &(dyn Fn(Event<'_>) + Send + Sync),
    ) -> Result<Outcome> {
        let inputs = self.complete_inputs(inputs)?;
        let start = Instant::now();
        let deadline = options.timeout.and_then(|timeout| start.checked_add(timeout));
        // A call for the pipeline itself, because loading plugins and waiting for other steps belong to no step's call.
        let whole = until(deadline, Call::new().cancellation(options.cancellation.clone())).handle().clone();
        self.load(manager, &whole).await?;
        let loaded = Instant::now();
        let run = Run {
            manager,
            pipeline: self,
            inputs,
            deadline,
            on_event,
            results: self.steps.iter().map(|step| (step.id.as_str(), SetOnce::new())).collect(),
            reports: self.steps.iter().map(|_| Mutex::default()).collect(),
        };
        let steps = self.steps.iter().zip(run.lists()).map(|(step, lists)| run.step(step, lists));
        let done = whole.guard(try_join_all(steps)).await;
        let payload = done.and_then(|_| fill("outputs", &self.outputs, &|source| run.known(source, None)));
        let (wall_s, load_s) = (loaded.elapsed().as_secs_f64(), (loaded - start).as_secs_f64());
        let reports = run.reports.into_iter();
        let steps: Vec<StepReport> =
            reports.filter_map(|report| report.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
        match payload {
            Ok(payload) => Ok(Outcome { payload, steps, wall_s, load_s }),
            Err(error) => {
                on_event(Event::Failed { steps: &steps, wall_s, load_s });
                Err(error)
            }
        }
    }

    /// Loads the plugins that are not loaded yet. Stops when the call is interrupted.
    async fn load(&self, manager: &PluginManager, whole: &CallHandle) -> Result<()> {
        let names = self.steps.iter().map(|step| step.plugin.as_str());
        let names: BTreeSet<&str> = names.filter(|name| !manager.is_loaded(name)).collect();
        if names.is_empty() {
            return Ok(());
        }
        // Checked before anything is started.
        names.iter().try_for_each(|name| manager.check_enabled(name))?;
        let loads = names.into_iter().map(|name| async move {
            match self.configs.get(name) {
                Some(config) => manager.load_with(name, config.clone()).await,
                None => manager.load(name).await,
            }
        });
        // Waits for all of them, because a plugin whose loading is stopped midway would be loaded again by the next run.
        whole.guard(async { join_all(loads).await.into_iter().collect() }).await
    }

    /// Completes the inputs with their defaults and files.
    fn complete_inputs(&self, inputs: Payload) -> Result<Payload> {
        let inputs = inputs.checked()?;
        let Payload { json: Value::Object(mut given), mut blobs } = inputs else {
            return Err(PluginError::invalid_input("the inputs are not a JSON object"));
        };
        if let Some(unknown) = given.keys().find(|name| !self.inputs.contains_key(*name)) {
            return Err(PluginError::invalid_input(format!("the pipeline has no input {unknown:?}"))
                .with_help(self.meant_input(unknown)));
        }
        for (name, input) in &self.inputs {
            if given.contains_key(name) {
                continue;
            }
            let value = match (&input.default, &input.file) {
                (Some(default), _) => escape(default.clone()),
                (None, Some(file)) => {
                    let blob = Blob::by_reference(self.dir.join(file), None);
                    blobs.push(blob.map_err(|error| at(&format!("inputs.{name}"), &error))?);
                    Payload::reference(blobs.len() - 1)
                }
                (None, None) => {
                    let what = format!("the pipeline {:?} needs the input {name:?}", self.name);
                    return Err(PluginError::invalid_input(what)
                        .with_help("give it, or set a `default` or a `file` for it in the pipeline"));
                }
            };
            given.insert(name.clone(), value);
        }
        Ok(Payload { json: Value::Object(given), blobs })
    }
}

fn until(deadline: Option<Instant>, call: Call) -> Call {
    match deadline {
        Some(deadline) => call.deadline(deadline),
        None => call,
    }
}

impl<'a> Run<'a> {
    /// The channels between the steps.
    fn lists(&self) -> Vec<Lists> {
        let steps = &self.pipeline.steps;
        let mut lists: Vec<Lists> = steps.iter().map(|_| Lists { source: None, followers: Vec::new() }).collect();
        for (n, step) in steps.iter().enumerate() {
            let source = step.for_each.as_ref().and_then(|id| steps.iter().position(|earlier| earlier.id == *id));
            let Some(source) = source else { continue };
            let (sender, receiver) = mpsc::unbounded_channel();
            if let Some(list) = lists.get_mut(source) {
                list.followers.push(sender);
            }
            if let Some(list) = lists.get_mut(n) {
                list.source = Some(receiver);
            }
        }
        lists
    }

    /// The value of a source that a template names, if it exists.
    fn known<'s>(&'s self, source: &str, item: Option<&'s Payload>) -> Option<&'s Payload> {
        match source {
            "item" => item,
            "inputs" => Some(&self.inputs),
            step => self.results.get(step)?.get(),
        }
    }

    async fn step(&self, step: &'a Step, mut lists: Lists) -> Result<()> {
        self.wait_for_sources(step).await;
        self.report(step, |_| {});
        (self.on_event)(Event::Started { step });
        let mut results = Vec::new();
        match (lists.source.take(), &step.for_each) {
            (None, None) => self.call(step, None, &lists, &mut results).await?,
            (Some(mut source), _) => {
                let mut n = 0;
                while let Some(item) = source.recv().await {
                    self.call(step, Some((n, &item)), &lists, &mut results).await?;
                    n += 1;
                }
            }
            (None, Some(place)) => {
                let list = self.list(step, place).await?;
                for (n, item) in list.iter().enumerate() {
                    self.call(step, Some((n, item)), &lists, &mut results).await?;
                }
            }
        }
        let result = if step.has_list() { gather(&results) } else { results.pop().unwrap_or_default() };
        if let Some(place) = self.results.get(step.id.as_str()) {
            // Set only once, because ids are unique.
            let _ = place.set(result);
        }
        (self.on_event)(Event::Finished { step });
        Ok(())
    }

    /// Waits until every step that the arguments name has its complete result.
    async fn wait_for_sources(&self, step: &Step) {
        let mut sources = Vec::new();
        for template in step.args.values() {
            places(template, &mut |place| sources.extend(place.ok().and_then(|place| self.results.get(place.source))));
        }
        for source in sources {
            source.wait().await;
        }
    }

    /// The items of a list in a result or an input.
    async fn list(&self, step: &Step, place: &str) -> Result<Vec<Payload>> {
        let Location { source, pointer } = Location::parse(place);
        if let Some(result) = self.results.get(source) {
            result.wait().await;
        }
        let list = self.known(source, None).and_then(|payload| payload.part(pointer));
        let items = list.as_ref().and_then(|list| {
            let count = list.json.as_array()?.len();
            (0..count).map(|n| list.part(&format!("/{n}"))).collect::<Option<Vec<Payload>>>()
        });
        items.ok_or_else(|| {
            let what = match &list {
                Some(list) => format!("that {}, not a list", kind_of(&list.json)),
                None => "there is nothing at that place".to_owned(),
            };
            PluginError::invalid_input(format!("it runs for each item of {place}, but {what}"))
                .with_help(self.cure_of_list(source, pointer))
                .with_plugin(&step.plugin)
                .with_step(&step.id, None)
        })
    }

    /// What to do if there is no list at a place.
    fn cure_of_list(&self, source: &str, pointer: &str) -> String {
        if source == "inputs" {
            let name = pointer.split('/').nth(1).unwrap_or_default();
            return format!("give a list as the input {name:?}; on a command line as JSON: {name}:='[…]'");
        }
        format!(
            "name a list in the result of {source:?}; if its method gives results one by one, write `\"stream\": true` in that \
             step and `\"for_each\": \"{source}\"` here"
        )
    }

    /// Makes one call of a step. Its results go to `results` and to the later steps.
    async fn call(
        &self,
        step: &'a Step,
        item: Option<(usize, &Payload)>,
        lists: &Lists,
        results: &mut Vec<Payload>,
    ) -> Result<()> {
        let in_step = |error: PluginError| {
            let item = item.map(|(n, item)| (n, &item.json));
            error.with_plugin(&step.plugin).with_step(&step.id, item)
        };
        let item = item.map(|(_, item)| item);
        let args: Payload = fill("args", &step.args, &|source| self.known(source, item)).map_err(in_step)?;
        let mut call = Call::new().named_from(args).map_err(in_step)?;
        if let Some(method) = &step.method {
            call = call.method(method.clone());
        }
        // Cancelling the whole run drops this future.
        let call = until(self.deadline, call);
        self.report(step, |report| report.calls += 1);
        // Subscribed before the call begins, because a runtime may leave out progress if nobody listens.
        let progress = call.handle().progress();
        let work = async {
            if !step.stream {
                let payload = self.timed(step, self.manager.execute(&step.plugin, call)).await?;
                self.deliver(step, payload, lists, results);
                return Ok(());
            }
            let mut stream = self.timed(step, self.manager.execute_stream(&step.plugin, call)).await?;
            while let Some(payload) = self.timed(step, stream.next()).await {
                self.deliver(step, payload?, lists, results);
            }
            Ok(())
        };
        tokio::select! {
            biased;
            result = work => result.map_err(in_step),
            never = self.watch_progress(step, progress) => never,
        }
    }

    fn deliver(&self, step: &'a Step, payload: Payload, lists: &Lists, results: &mut Vec<Payload>) {
        self.report(step, |report| report.results += 1);
        (self.on_event)(Event::Result { step, payload: &payload });
        for follower in &lists.followers {
            // If a later step no longer receives, it has failed, and its error ends the run.
            let _ = follower.send(payload.clone());
        }
        results.push(payload);
    }

    /// Reports the call's progress while it is polled.
    async fn watch_progress(&self, step: &Step, mut progress: watch::Receiver<Progress>) -> Result<()> {
        while progress.changed().await.is_ok() {
            let progress = progress.borrow_and_update().clone();
            (self.on_event)(Event::Progress { step, progress });
        }
        std::future::pending().await
    }

    async fn timed<T>(&self, step: &'a Step, work: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let done = work.await;
        self.report(step, |report| report.busy_s += start.elapsed().as_secs_f64());
        done
    }

    fn report(&self, step: &'a Step, change: impl FnOnce(&mut StepReport)) {
        let number = self.pipeline.steps.iter().position(|one| std::ptr::eq(one, step));
        let Some(report) = number.and_then(|number| self.reports.get(number)) else { return };
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || StepReport::new(&*step.id, &*step.plugin, self.manager.runtime_of(&step.plugin));
        change(report.get_or_insert_with(new));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use bivium_interface::{ErrorCode, PayloadStream, PluginInterface, async_trait};
    use futures_util::stream;
    use serde_json::json;

    use super::*;

    /// Streams `count` numbers, returns its arguments, or waits to be cancelled.
    struct Sample;

    #[async_trait]
    impl PluginInterface for Sample {
        fn name(&self) -> &str {
            "sample"
        }

        fn version(&self) -> &str {
            "1"
        }

        async fn initialize(&self, _config: Value) -> Result<()> {
            Ok(())
        }

        async fn execute(&self, call: Call) -> Result<Payload> {
            if &*call.method == "wait" {
                return Err(call.handle().interrupted().await);
            }
            call.handle().report(Progress::new(Some(1.0), "done"));
            Ok(Value::Object(call.named).into())
        }

        async fn execute_stream(&self, call: Call) -> Result<PayloadStream> {
            let count: u32 = call.argument("count")?;
            Ok(PayloadStream::new(stream::iter((0..count).map(|n| Ok(json!(n).into())))))
        }
    }

    async fn run(steps: Value, options: &RunOptions) -> Result<Outcome> {
        let last = steps.as_array().unwrap().last().unwrap()["id"].clone();
        run_whole(json!({"name": "p", "steps": steps, "outputs": {"last": {"$from": last}}}), options, &|_| {}).await
    }

    async fn run_whole(
        pipeline: Value,
        options: &RunOptions,
        on_event: &(dyn Fn(Event<'_>) + Send + Sync),
    ) -> Result<Outcome> {
        let dir = tempfile::tempdir().unwrap();
        let manager = PluginManager::builder().manifests(dir.path()).data_dir(dir.path()).build().unwrap();
        manager.register(Arc::new(Sample), json!({})).await.unwrap();
        let pipeline = Pipeline::parse(&pipeline.to_string(), Path::new("")).unwrap();
        pipeline.run(&manager, json!({}).into(), options, on_event).await
    }

    fn soon() -> RunOptions {
        RunOptions { timeout: Some(Duration::from_secs(10)), ..RunOptions::default() }
    }

    #[tokio::test]
    async fn a_list_is_worked_on_one_by_one_and_as_a_whole_by_the_same_step() {
        let steps = json!([
            {"id": "many", "plugin": "sample", "stream": true, "args": {"count": 10}},
            {"id": "each", "plugin": "sample", "for_each": "many",
             "args": {"n": {"$from": "item"}, "of": {"$from": "many"}}},
        ]);
        let outcome = run(steps, &soon()).await.unwrap();
        assert_eq!(outcome.payload.json["last"][9], json!({"n": 9, "of": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}));
        assert_eq!((outcome.steps[0].calls, outcome.steps[1].calls), (1, 10));
    }

    #[tokio::test]
    async fn an_empty_list_gives_an_empty_list() {
        let steps = json!([
            {"id": "none", "plugin": "sample", "stream": true, "args": {"count": 0}},
            {"id": "each", "plugin": "sample", "for_each": "none", "args": {}},
        ]);
        assert_eq!(run(steps, &soon()).await.unwrap().payload.json["last"], json!([]));
    }

    #[tokio::test]
    async fn cancel_deadline_and_the_first_error_end_the_whole() {
        let waiting = json!([{"id": "a", "plugin": "sample", "method": "wait", "args": {}}]);
        let cancelled = RunOptions::default();
        cancelled.cancellation.cancel();
        assert_eq!(run(waiting.clone(), &cancelled).await.unwrap_err().code(), ErrorCode::Cancelled);
        let late = RunOptions { timeout: Some(Duration::from_millis(20)), ..RunOptions::default() };
        assert_eq!(run(waiting.clone(), &late).await.unwrap_err().code(), ErrorCode::Timeout);
        let failing = json!([
            {"id": "a", "plugin": "sample", "stream": true, "args": {"count": "many"}},
            {"id": "b", "plugin": "sample", "args": {"whole": {"$from": "a"}}},
        ]);
        let error = run(failing, &soon()).await.unwrap_err();
        assert_eq!((error.code(), error.plugin()), (ErrorCode::InvalidInput, Some("sample")));
        let step = error.step().unwrap();
        assert_eq!((step.id.as_str(), step.index), ("a", None));
    }

    #[tokio::test]
    async fn a_list_in_a_result_or_an_input_is_walked() {
        let steps = json!([
            {"id": "one", "plugin": "sample", "args": {"words": ["a", {"b": 2}]}},
            {"id": "each", "plugin": "sample", "for_each": "one/words", "args": {"word": {"$from": "item"}}},
            {"id": "next", "plugin": "sample", "for_each": "each", "args": {"of": {"$from": "item/word"}}},
        ]);
        let outcome = run(steps, &soon()).await.unwrap();
        assert_eq!(outcome.payload.json["last"], json!([{"of": "a"}, {"of": {"b": 2}}]));

        let of_input = |list: Value| {
            json!({"name": "p", "inputs": {"files": {"default": list}}, "steps": [
                {"id": "each", "plugin": "sample", "for_each": "inputs/files", "args": {"n": {"$from": "item"}}}],
                "outputs": {"last": {"$from": "each"}}})
        };
        let outcome = run_whole(of_input(json!([1, 2])), &soon(), &|_| {}).await.unwrap();
        assert_eq!(outcome.payload.json["last"], json!([{"n": 1}, {"n": 2}]));
        let error = run_whole(of_input(json!({"no": "list"})), &soon(), &|_| {}).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        let told =
            "step \"each\": it runs for each item of inputs/files, but that is an object, not a list; give a list";
        assert!(error.to_string().contains(told), "{error}");
        let error = run_whole(of_input(json!("one")), &soon(), &|_| {}).await.unwrap_err();
        assert!(error.to_string().contains("is a text, not a list; give a list as the input \"files\""), "{error}");
        let steps = json!([
            {"id": "one", "plugin": "sample", "args": {"word": "a"}},
            {"id": "each", "plugin": "sample", "for_each": "one/word", "args": {"n": {"$from": "item"}}},
        ]);
        let error = run(steps, &soon()).await.unwrap_err();
        assert!(error.help().is_some_and(|help| help.contains("`\"stream\": true` in that step")), "{error}");
    }

    #[tokio::test]
    async fn an_error_names_its_step_and_item_and_says_how_far_the_steps_were() {
        let pipeline = json!({"name": "p", "steps": [
            {"id": "one", "plugin": "sample", "args": {"counts": [1, "x".repeat(200)]}},
            {"id": "each", "plugin": "sample", "for_each": "one/counts", "stream": true, "args": {"count": {"$from": "item"}}}]});
        let told = Mutex::new(Vec::new());
        let watch = |event: Event<'_>| {
            if let Event::Failed { steps, .. } = event {
                told.lock().unwrap().extend(steps.iter().map(|step| (step.id.clone(), step.calls, step.results)));
            }
        };
        let error = run_whole(pipeline, &soon(), &watch).await.unwrap_err();
        let step = error.step().unwrap();
        assert_eq!((step.id.as_str(), step.index), ("each", Some(1)));
        assert!(step.item.as_ref().is_some_and(|item| item.starts_with("\"xxx") && item.len() < 100), "{step:?}");
        assert!(error.message().starts_with("step \"each\", item 1 (\"xxx"), "{error}");
        assert_eq!(serde_json::to_value(&error).unwrap()["step"]["index"], 1);
        assert_eq!(*told.lock().unwrap(), [("one".to_owned(), 1, 1), ("each".to_owned(), 2, 1)]);
    }
}
