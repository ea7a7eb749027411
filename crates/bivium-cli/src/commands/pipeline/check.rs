//! `bivium pipeline check`: reports all problems of a pipeline, and everything that it names and that does not exist.

use std::collections::BTreeMap;

use bivium::pipeline::{Draft, Pipeline, Step};
use bivium::{Call, ErrorCode, Inspection, MethodInfo, PluginError, Problem};
use bivium_interface::{nearest, reference_token};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::argument::{Argument, Given};
use super::find::find;
use crate::args::{Global, NamedPipeline};
use crate::failure::Failure;
use crate::host::Host;
use crate::output::{Output, short};

/// Checks whether everything that a pipeline names exists. Runs nothing.
pub(in super::super) async fn check(global: &Global, output: &Output, named: &NamedPipeline) -> Result<(), Failure> {
    let file = &named.pipeline;
    let host = Host::open(global, output)?;
    let draft = Draft::read(&find(&host, file)?)?;
    let Found { problems: found, unknown } = match draft.pipeline() {
        Some(pipeline) => look_for_problems(&host, pipeline).await,
        None => Found::default(),
    };
    let pipeline = draft.finish(found).map_err(|error| {
        let message = format!("the pipeline {} would not run", file.display());
        PluginError::invalid_input(message).with_problems(error.problems().to_vec())
    })?;
    if output.is_json() {
        return output.value(&json!({"name": pipeline.name, "valid": true, "not_checked": unknown}));
    }
    output.line(&format!("{}: ok, pipeline {}", file.display(), short(&pipeline.name)))?;
    if !unknown.is_empty() {
        output.hint(&format!(
            "Not checked: the methods and arguments of {}. They are not known before the plugin runs.",
            unknown.join(", ")
        ));
    }
    Ok(())
}

/// What a check found.
#[derive(Default)]
struct Found {
    /// What does not exist, or does not fit a step.
    problems: Vec<Problem>,
    /// The plugins whose methods are not known, in the order of the steps.
    unknown: Vec<String>,
}

async fn look_for_problems(host: &Host, pipeline: &Pipeline) -> Found {
    let Found { mut problems, mut unknown } = Found::default();
    for (name, input) in &pipeline.inputs {
        if let Some(path) = input.file.as_ref().map(|path| pipeline.dir.join(path)).filter(|path| !path.is_file()) {
            problems.push(Problem::new(
                format!("/inputs/{}/file", reference_token(name)),
                format!("there is no file {}", path.display()),
            ));
        }
    }
    for (name, config) in &pipeline.configs {
        problems.extend(unfit_config(host, name, config));
    }
    let mut known: BTreeMap<&str, (Option<Inspection>, Vec<String>)> = BTreeMap::new();
    for (n, step) in pipeline.steps.iter().enumerate().filter(|(_, step)| !step.plugin.is_empty()) {
        if !known.contains_key(step.plugin.as_str()) {
            known.insert(&step.plugin, look(host, &step.plugin).await);
        }
        let Some((inspection, wrong)) = known.get(step.plugin.as_str()) else { continue };
        problems.extend(wrong.iter().map(|message| Problem::new(format!("/steps/{n}/plugin"), message)));
        let methods = inspection.as_ref().and_then(|inspection| inspection.methods.as_deref());
        if methods.is_none() && !unknown.contains(&step.plugin) {
            unknown.push(step.plugin.clone());
        }
        problems.extend(unfit(pipeline, n, step, methods.unwrap_or_default(), is_component(host, &step.plugin)));
    }
    Found { problems, unknown }
}

/// Where a configuration does not fit its plugin's schema. If the plugin is missing or its schema is not valid, the problem is
/// reported for its steps, not here.
fn unfit_config(host: &Host, name: &str, config: &Value) -> Vec<Problem> {
    let Err(error) = host.manager.check_config(name, config.clone()) else { return Vec::new() };
    let place = |problem: &Problem| {
        Problem::new(format!("/configs/{}{}", reference_token(name), problem.location), &problem.message)
    };
    error.problems().iter().filter(|_| error.code() == ErrorCode::InvalidConfig).map(place).collect()
}

/// What is known about a plugin, and why calls to it would fail.
async fn look(host: &Host, name: &str) -> (Option<Inspection>, Vec<String>) {
    let inspection = match host.manager.inspect(name).await {
        Ok(inspection) => inspection,
        Err(error) => return (None, vec![error.to_string()]),
    };
    let mut wrong: Vec<String> = match host.manager.is_enabled(name) {
        Ok(true) => Vec::new(),
        Ok(false) => vec![format!("{name} is disabled; `bivium enable {name}` enables it")],
        Err(error) => vec![error.to_string()],
    };
    wrong.extend(block_in_place(|| host.manager.call_refusal(name)).ok().flatten().map(|refusal| refusal.to_string()));
    wrong.extend(host.manager.refusals(name).unwrap_or_default().iter().map(ToString::to_string));
    wrong.extend(inspection.problem.as_ref().map(ToString::to_string));
    (Some(inspection), wrong)
}

/// Whether the plugin is a component: the list of its methods, where it is known, is complete.
fn is_component(host: &Host, name: &str) -> bool {
    host.manager.manifest(name).is_ok_and(|manifest| manifest.wasm().is_some())
}

/// Where a step does not fit its plugin's methods, as far as these are known. `is_exact` tells whether there are no others.
fn unfit(pipeline: &Pipeline, n: usize, step: &Step, methods: &[MethodInfo], is_exact: bool) -> Vec<Problem> {
    let name = step.method.as_deref().unwrap_or(Call::EXECUTE);
    let Some(method) = methods.iter().find(|method| method.name == name) else {
        let known: Vec<&str> = methods.iter().map(|known| known.name.as_str()).collect();
        // The default method of a Python class may exist although the list does not have it.
        if known.is_empty() || step.method.is_none() && !is_exact {
            return Vec::new();
        }
        let message = format!("{} has no method {name:?}; {}", step.plugin, meant(name, "has", &known));
        let place = if step.method.is_none() { "" } else { "/method" };
        return vec![Problem::new(format!("/steps/{n}{place}"), message)];
    };
    if let Some(why) = &method.not_callable {
        return vec![Problem::new(format!("/steps/{n}"), format!("{name} of {} cannot be called: {why}", step.plugin))];
    }
    let of_form = step.args.iter().filter_map(|(argument, value)| {
        let misfit = Argument::of(pipeline, &Given::default(), value)?.misfit(method, argument)?;
        let message = format!("{name} of {} {misfit}", step.plugin);
        Some(Problem::new(format!("/steps/{n}/args/{}", reference_token(argument)), message))
    });
    let mut problems: Vec<Problem> = of_form.collect();
    let schema = method.parameters.as_ref();
    let properties = schema.and_then(|schema| schema.get("properties")?.as_object());
    let taken: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let is_closed = schema.is_some_and(|schema| schema.get("additionalProperties") == Some(&false.into()));
    let unknown = step.args.keys().filter(|argument| is_closed && !taken.contains(&argument.as_str()));
    problems.extend(unknown.clone().map(|argument| {
        let message = format!(
            "{name} of {} takes no argument {:?}; {}",
            step.plugin,
            short(argument),
            meant(argument, "takes", &taken)
        );
        Problem::new(format!("/steps/{n}/args/{}", reference_token(argument)), message)
    }));
    let required = schema.and_then(|schema| schema.get("required")?.as_array());
    let required = required.into_iter().flatten().filter_map(Value::as_str);
    // One that is meant by an unknown argument is told with that.
    let is_meant =
        |wanted: &str| unknown.clone().any(|argument| nearest(argument, taken.iter().copied()) == Some(wanted));
    let lacking = required.filter(|wanted| !step.args.contains_key(*wanted) && !is_meant(wanted));
    let place = if step.args.is_empty() { format!("/steps/{n}") } else { format!("/steps/{n}/args") };
    problems.extend(lacking.map(|wanted| {
        Problem::new(place.as_str(), format!("{name} of {} needs the argument {:?}", step.plugin, short(wanted)))
    }));
    problems
}

/// Suggests the most similar name, or else lists all names.
fn meant(given: &str, verb: &str, known: &[&str]) -> String {
    match nearest(given, known.iter().copied()) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None if known.is_empty() => format!("it {verb} none"),
        None => format!("it {verb} {}", known.join(", ")),
    }
}
