//! `bivium validate`: everything that is wrong with manifests and pipelines, each with its line. Nothing that they
//! name is opened.

use std::path::Path;

use bivium::manifest::ManifestFile;
use bivium::pipeline::Pipeline;
use bivium::{ErrorCode, PluginError, SearchPath, discover};
use serde_json::{Value, json};

use crate::args::Validate;
use crate::exit::{DONE, Failure, status};
use crate::output::{Output, on_one_line};

/// What a file is found to be: a kind and a name, or what is wrong with it.
type Verdict = Result<(&'static str, String), PluginError>;

pub(super) fn validate(output: &Output, args: &Validate) -> Result<u8, Failure> {
    let mut verdicts = Vec::new();
    for path in &args.paths {
        if path.is_dir() {
            directory(path, &mut verdicts);
        } else {
            verdicts.push((path.display().to_string(), file(path)));
        }
    }
    if output.is_json() {
        output.value(&verdicts.iter().map(as_json).collect())?;
    } else {
        let lines: Vec<String> = verdicts.iter().flat_map(as_lines).collect();
        output.line(&lines.join("\n"))?;
    }
    let all_valid = verdicts.iter().all(|(_, verdict)| verdict.is_ok());
    Ok(if all_valid { DONE } else { status(ErrorCode::InvalidManifest) })
}

fn directory(path: &Path, verdicts: &mut Vec<(String, Verdict)>) {
    let discovery = discover(&[SearchPath::named(path)]);
    for manifest in discovery.found.values() {
        verdicts.push((manifest.path.display().to_string(), Ok(("plugin", manifest.name.clone()))));
    }
    for shadowed in discovery.shadowed {
        let error =
            PluginError::invalid_manifest("another manifest of the same directory declares a plugin of this name");
        verdicts.push((shadowed.path.display().to_string(), Err(error)));
    }
    for (file, error) in discovery.problems {
        verdicts.push((file.display().to_string(), Err(error)));
    }
}

fn file(path: &Path) -> Verdict {
    if is_pipeline(path) {
        return Pipeline::read(path).map(|pipeline| ("pipeline", pipeline.name));
    }
    ManifestFile::read(path).map(|file| match file {
        ManifestFile::Plugin(manifest) => ("plugin", manifest.name),
        ManifestFile::Adapter(adapter) => ("adapter", adapter.name),
    })
}

/// Whether a file is meant to be a pipeline. One that is no JSON is judged as a manifest.
fn is_pipeline(path: &Path) -> bool {
    let is_small = path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= 1 << 20);
    let text = if is_small { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    serde_json::from_str::<Value>(&text).is_ok_and(|value| value.get("steps").is_some())
}

fn as_json((path, verdict): &(String, Verdict)) -> Value {
    match verdict {
        Ok((kind, name)) => json!({"path": path, "valid": true, "kind": kind, "name": name}),
        Err(error) => json!({"path": path, "valid": false, "error": error}),
    }
}

fn as_lines((path, verdict): &(String, Verdict)) -> Vec<String> {
    match verdict {
        Ok((kind, name)) => vec![format!("{path}: ok, {kind} {name}")],
        Err(error) if error.problems().is_empty() => vec![on_one_line(&format!("{path}: {error}"))],
        Err(error) => error.problems().iter().map(|problem| on_one_line(&format!("{path}: {problem}"))).collect(),
    }
}
