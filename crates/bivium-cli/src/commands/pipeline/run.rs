//! `bivium pipeline run`: several plugins, one after another. Their results are printed as they arrive, and at the end a table of
//! the time that each step took.

use bivium::pipeline::{Event, Outcome, Pipeline, RunOptions, Step, StepReport};
use bivium::{Call, Payload, PluginError};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::argument::{Argument, Given};
use super::find::read;
use crate::advice::Meant;
use crate::args::{Global, PipelineRun};
use crate::arguments;
use crate::failure::Failure;
use crate::host::Host;
use crate::output::{Bars, Output, ResultFiles, Table, on_one_line};
use crate::wanted;

pub(in super::super) async fn run(global: &Global, output: &Output, args: &PipelineRun) -> Result<(), Failure> {
    let inputs = arguments::named(&args.inputs)?;
    let given = Given::new(&inputs, arguments::texts(&args.inputs.assignments));
    let host = Host::open(global, output)?;
    let pipeline = read(&host, &args.pipeline.pipeline)?;
    let mut result_files = ResultFiles::new(args.keep.out.as_deref(), args.keep.force)?;
    host.discover(global, output);
    let options = RunOptions::new().timeout(args.timeout.timeout).cancellation(host.stop.child_token());
    host.scope(async |host: &Host| {
        for step in &pipeline.steps {
            // What else keeps a plugin from being loaded is told by the run.
            if let Ok(Some(refusal)) = block_in_place(|| host.manager.call_refusal(&step.plugin)) {
                return Err(refusal.with_step(&step.id, None).into());
            }
        }
        let mut outcome = {
            let watcher = Watcher { output, bars: Bars::new(output.screen()) };
            let ended = pipeline.run(&host.manager, inputs, &options, &|event| watcher.show(&event)).await;
            match ended {
                Ok(outcome) => outcome,
                Err(error) => return Err(advised(host, &pipeline, &given, error).await.into()),
            }
        };
        let outputs = block_in_place(|| result_files.present(&mut outcome.payload, ""))?;
        show(output, &outcome, outputs)
    })
    .await?;
    if result_files.has_unkept() {
        output.hint("The files of the outputs were not kept; --out DIR keeps them.");
    }
    Ok(())
}

/// Adds to a step's error which method it should name, and which of its arguments the plugin expects in another form.
async fn advised(host: &Host, pipeline: &Pipeline, given: &Given, error: PluginError) -> PluginError {
    let failed = error.step();
    let Some(step) = failed.and_then(|failed| pipeline.steps.iter().find(|step| step.id == failed.id)) else {
        return error;
    };
    let name = step.method.as_deref().unwrap_or(Call::EXECUTE);
    if let Some(meant) = Meant::by(host, &step.plugin, name, &error).await {
        return error.and_help(meant.in_a_step());
    }
    if !wanted::may_be_of_arguments(&error) {
        return error;
    }
    let Some(method) = wanted::method(host, &step.plugin, name).await else { return error };
    let advice = step.args.iter().filter_map(|(argument, value)| {
        Some(format!("{name} {}", Argument::of(pipeline, given, value)?.misfit(&method, argument)?))
    });
    advice.fold(error, PluginError::and_help)
}

/// Shows what happens during a run.
struct Watcher<'a> {
    output: &'a Output,
    bars: Bars<'a>,
}

impl Watcher<'_> {
    fn show(&self, event: &Event<'_>) {
        match event {
            Event::Started { step } => self.bars.show(&step.id, &bivium::Progress::default()),
            Event::Progress { step, progress } => self.bars.show(&step.id, progress),
            Event::Result { step, payload } => self.result(step, payload),
            Event::Finished { step } => self.bars.end(&step.id),
            Event::Failed { steps, wall_s, load_s } => {
                for line in times(steps, *wall_s, *load_s) {
                    self.output.hint(&line);
                }
            }
            // Kinds of events that are added later are not shown until this function has a form for them.
            _ => {}
        }
    }

    /// Shows the text of a result, if it has one.
    fn result(&self, step: &Step, payload: &Payload) {
        if let Some(text) = payload.json.get("text").and_then(Value::as_str) {
            self.output.hint(&format!("{}: {}", on_one_line(&step.id), on_one_line(text)));
        }
    }
}

fn show(output: &Output, outcome: &Outcome, outputs: Value) -> Result<(), Failure> {
    if output.is_json() {
        return output.value(&json!({
            "outputs": outputs,
            "steps": outcome.steps,
            "wall_s": outcome.wall_s,
            "load_s": outcome.load_s,
        }));
    }
    for line in times(&outcome.steps, outcome.wall_s, outcome.load_s) {
        output.hint(&line);
    }
    output.value(&outputs)
}

/// The time that each step took. Steps overlap, so the shares may add up to more than 100 %.
fn times(steps: &[StepReport], wall_s: f64, load_s: f64) -> Vec<String> {
    let mut table = Table::new(["STEP", "PLUGIN", "RUNTIME", "CALLS", "RESULTS", "BUSY", "SHARE"]).numbers_from(3);
    for step in steps {
        let runtime = step.runtime.map_or("host", bivium::manifest::RuntimeKind::as_str);
        let share = if wall_s > 0.0 { 100.0 * step.busy_s / wall_s } else { 0.0 };
        let (calls, results) = (step.calls.to_string(), step.results.to_string());
        let (busy, share) = (format!("{:.2} s", step.busy_s), format!("{share:.0}%"));
        table.row([&step.id, &step.plugin, runtime, &calls, &results, &busy, &share]);
    }
    let mut lines = table.lines();
    lines.push(format!("{:.2} s in all, after {:.2} s of loading", wall_s, load_s));
    lines
}

#[cfg(test)]
mod tests {
    use bivium::manifest::RuntimeKind;

    use super::*;

    #[test]
    fn the_table_says_where_the_time_went() {
        let step = |id: &str, runtime, calls, busy_s| {
            let mut step = StepReport::new(id, format!("{id}-plugin"), runtime);
            (step.calls, step.results, step.busy_s) = (calls, 12, busy_s);
            step
        };
        let steps = [step("words", Some(RuntimeKind::Python), 12, 7.5), step("captions", None, 1, 0.004)];
        insta::assert_snapshot!(times(&steps, 8.0, 1.25).join("\n"), @"
        STEP      PLUGIN           RUNTIME  CALLS  RESULTS    BUSY  SHARE
        words     words-plugin     python      12       12  7.50 s    94%
        captions  captions-plugin  host         1       12  0.00 s     0%
        8.00 s in all, after 1.25 s of loading
        ");
    }
}
