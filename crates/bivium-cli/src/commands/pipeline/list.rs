//! `bivium pipeline list`: the pipelines in the directories of manifests.

use bivium::pipeline::Pipeline;
use serde_json::json;

use crate::args::Global;
use crate::failure::Failure;
use crate::host::{Host, search_paths};
use crate::output::{Output, Table, short};

pub(in super::super) fn list(global: &Global, output: &Output) -> Result<(), Failure> {
    let host = Host::open(global, output)?;
    let discovery = host.discover(global, output);
    let (mut pipelines, mut problems) = (Vec::new(), Vec::new());
    for path in discovery.pipelines() {
        match Pipeline::read(path) {
            Ok(pipeline) => pipelines.push((path, pipeline)),
            Err(error) => problems.push((path, error)),
        }
    }
    if output.is_json() {
        let pipelines: Vec<_> = pipelines
            .iter()
            .map(|(path, pipeline)| {
                let steps: Vec<_> = pipeline.steps.iter().map(|step| &step.plugin).collect();
                json!({
                    "name": pipeline.name, "description": pipeline.description, "inputs": pipeline.inputs,
                    "plugins": steps, "path": path.display().to_string(),
                })
            })
            .collect();
        let problems: Vec<_> =
            problems.iter().map(|(path, error)| json!({"path": path.display().to_string(), "error": error})).collect();
        return output.value(&json!({"pipelines": pipelines, "problems": problems}));
    }
    for (_, error) in &problems {
        output.warning(error);
    }
    if pipelines.is_empty() {
        let paths: Vec<String> = search_paths(global).iter().map(|place| place.path.display().to_string()).collect();
        output.hint(&format!("There is no pipeline in {}.", paths.join(" or ")));
        return Ok(());
    }
    let mut table = Table::new(["NAME", "STEPS", "INPUTS", "DESCRIPTION", "FILE"]);
    for (path, pipeline) in &pipelines {
        let steps = pipeline.steps.len().to_string();
        let inputs: Vec<&str> = pipeline.inputs.keys().map(String::as_str).collect();
        let inputs = if inputs.is_empty() { "-".to_owned() } else { inputs.join(", ") };
        table.row([&short(&pipeline.name), &steps, &inputs, &pipeline.description, &path.display().to_string()]);
    }
    output.line(&table.lines().join("\n"))
}
