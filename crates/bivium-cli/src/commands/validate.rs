//! `bivium validate`: everything that is wrong with manifests and pipelines, each with its line, and what they name and is not
//! there. Nothing that they name is opened.

use std::path::Path;

use bivium::manifest::ManifestFile;
use bivium::pipeline::Pipeline;
use bivium::{ErrorCode, Manifest, PluginError, SearchPath, discover};
use serde_json::{Value, json};

use super::missing::missing;
use crate::args::Validate;
use crate::exit::{DONE, Failure, status};
use crate::host::is_pipeline;
use crate::output::{Output, on_one_line};

/// What a file is found to be, or what is wrong with it.
type Verdict = Result<Found, PluginError>;

/// What a file is found to be.
enum Found {
    /// A kind, a name, and what it names and is not there.
    Valid(&'static str, String, Vec<String>),
    /// What lies among manifests and is something else.
    PassedOver(&'static str),
}

impl Found {
    fn plugin(manifest: &Manifest) -> Self {
        Self::Valid("plugin", manifest.name.clone(), missing(manifest))
    }
}

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
        if lines.is_empty() {
            output.hint("There are no manifests and no pipelines there.");
        } else {
            output.line(&lines.join("\n"))?;
        }
    }
    let codes: Vec<ErrorCode> =
        verdicts.iter().filter_map(|(_, verdict)| verdict.as_ref().err()).map(PluginError::code).collect();
    Ok(if codes.is_empty() {
        DONE
    } else if codes.iter().all(|code| *code == ErrorCode::NotFound) {
        // Files that are not there have one status in every command.
        status(ErrorCode::NotFound)
    } else {
        status(ErrorCode::InvalidManifest)
    })
}

fn directory(path: &Path, verdicts: &mut Vec<(String, Verdict)>) {
    let discovery = discover(&[SearchPath::named(path)]);
    for manifest in discovery.found.values() {
        verdicts.push((manifest.path.display().to_string(), Ok(Found::plugin(manifest))));
    }
    for (path, kind) in discovery.passed_over {
        let verdict = if is_pipeline(&path) { file(&path) } else { Ok(Found::PassedOver(kind)) };
        verdicts.push((path.display().to_string(), verdict));
    }
    for (file, error) in discovery.problems {
        verdicts.push((file.display().to_string(), Err(error)));
    }
}

fn file(path: &Path) -> Verdict {
    if is_pipeline(path) {
        return Pipeline::read(path).map(|pipeline| Found::Valid("pipeline", pipeline.name, Vec::new()));
    }
    ManifestFile::read(path).map(|file| match file {
        ManifestFile::Plugin(manifest) => Found::plugin(&manifest),
        ManifestFile::Adapter(adapter) => Found::Valid("adapter", adapter.name, Vec::new()),
    })
}

fn as_json((path, verdict): &(String, Verdict)) -> Value {
    match verdict {
        Ok(Found::Valid(kind, name, missing)) => {
            json!({"path": path, "valid": true, "kind": kind, "name": name, "warnings": missing})
        }
        Ok(Found::PassedOver(what)) => json!({"path": path, "valid": true, "passed_over": what}),
        Err(error) => json!({"path": path, "valid": false, "error": error}),
    }
}

fn as_lines((path, verdict): &(String, Verdict)) -> Vec<String> {
    match verdict {
        Ok(Found::Valid(kind, name, missing)) => {
            let warnings = missing.iter().map(|missing| on_one_line(&format!("{path}: warning: {missing}")));
            std::iter::once(format!("{path}: ok, {kind} {name}")).chain(warnings).collect()
        }
        Ok(Found::PassedOver(what)) => vec![format!("{path}: passed over, {what}")],
        Err(error) if error.problems().is_empty() => vec![on_one_line(&format!("{path}: {error}"))],
        Err(error) => error.problems().iter().map(|problem| on_one_line(&format!("{path}: {problem}"))).collect(),
    }
}
