//! `bivium pipeline check`: what a pipeline names and is not there.

use bivium::{PluginError, Problem};
use serde_json::json;

use crate::args::{Global, NamedPipeline};
use crate::exit::Failure;
use crate::host::Host;
use crate::output::Output;

/// Looks whether what a pipeline names is there, and runs nothing.
pub(in super::super) async fn check(global: &Global, output: &Output, named: &NamedPipeline) -> Result<(), Failure> {
    let file = &named.pipeline;
    let host = Host::open(global, output)?;
    let pipeline = super::read(&host, file)?;
    let mut problems = Vec::new();
    let mut report = |location: String, message: String| problems.push(Problem::new(location, message));
    for (name, input) in &pipeline.inputs {
        if let Some(path) = input.file.as_ref().map(|path| pipeline.dir.join(path)).filter(|path| !path.is_file()) {
            report(format!("/inputs/{name}/file"), format!("there is no file {}", path.display()));
        }
    }
    for (n, step) in pipeline.steps.iter().enumerate() {
        let inspection = match host.manager.inspect(&step.plugin).await {
            Ok(inspection) => inspection,
            Err(error) => {
                report(format!("/steps/{n}/plugin"), error.to_string());
                continue;
            }
        };
        if let Some(error) = inspection.problem {
            report(format!("/steps/{n}/plugin"), error.to_string());
        }
        if let (Some(method), Some(methods)) = (&step.method, &inspection.methods)
            && !methods.iter().any(|known| known.name == *method)
        {
            let known: Vec<&str> = methods.iter().map(|known| known.name.as_str()).collect();
            let message = format!("{} has no method {method:?}; it has {}", step.plugin, known.join(", "));
            report(format!("/steps/{n}/method"), message);
        }
    }
    if !problems.is_empty() {
        let message = format!("the pipeline {} would not run", file.display());
        return Err(PluginError::invalid_input(message).with_problems(problems).into());
    }
    if output.is_json() {
        return output.value(&json!({"name": pipeline.name, "valid": true}));
    }
    output.line(&format!("{}: ok, pipeline {}", file.display(), pipeline.name))
}
