//! `bivium validate`: reports all problems of manifests, pipelines and policies with their lines, files that they name and that do not
//! exist, and reasons why a plugin would not be loaded. Runs and compiles nothing.

use std::path::Path;
use std::sync::Arc;

use bivium::manifest::ManifestFile;
use bivium::pipeline::Pipeline;
use bivium::{
    ErrorCode, FileKind, HostPolicy, ManagerBuilder, Manifest, PluginError, Problem, PythonManifest, SearchPath,
    discover,
};
use serde_json::{Value, json};

use super::missing::missing;
use crate::args::{Global, Validate};
use crate::exit::{DONE, status};
use crate::failure::Failure;
use crate::host::{Place, builder};
use crate::output::{Output, on_one_line, short};

/// What a file is, or what is wrong with it.
type Verdict = Result<Found, PluginError>;

/// What a file is.
enum Found {
    /// A valid file: its kind, its name, and what it names that does not exist.
    Valid(&'static str, String, Vec<String>),
    /// A file in a directory of manifests that is not a manifest.
    PassedOver(FileKind),
}

/// The plugin that a manifest declares, or why it would not be loaded.
fn plugin(manifest: &Arc<Manifest>, builder: &ManagerBuilder) -> Verdict {
    let outlined = PythonManifest::of(manifest).map(|manifest| (bivium::outline(&manifest), manifest));
    let missing = missing(manifest, outlined.as_ref().map(|(outline, _)| outline));
    let mut refusals = builder.refusals(manifest);
    refusals.extend(outlined.and_then(|(outline, manifest)| outline.refusal(&manifest)));
    match (refusals.len(), missing.len()) {
        (0, _) => Ok(Found::Valid("plugin", manifest.name.clone(), missing)),
        (1, 0) => Err(refusals.remove(0)),
        _ => {
            let problem = |error: &PluginError| match error.problems() {
                [] => {
                    let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
                    vec![Problem::new("", format!("{}{help}", error.message()))]
                }
                problems => problems.to_vec(),
            };
            let missing = missing.into_iter().map(|missing| Problem::new("", missing));
            let problems = refusals.iter().flat_map(problem).chain(missing).collect();
            Err(PluginError::invalid_manifest("the plugin would not be loaded")
                .with_plugin(&manifest.name)
                .with_problems(problems))
        }
    }
}

pub(super) fn validate(global: &Global, output: &Output, args: &Validate) -> Result<u8, Failure> {
    let builder = builder(global, Place::Searched)?;
    let mut verdicts = Vec::new();
    for path in &args.paths {
        if path.is_dir() {
            directory(path, &builder, &mut verdicts);
        } else {
            verdicts.push((path.display().to_string(), file(path, FileKind::of(path), &builder)));
        }
    }
    if output.is_json() {
        output.value(&verdicts.iter().map(as_json).collect())?;
    } else {
        let lines: Vec<String> = verdicts.iter().flat_map(as_lines).collect();
        if lines.is_empty() {
            output.hint("There are no manifests and no pipelines.");
        } else {
            output.line(&lines.join("\n"))?;
        }
    }
    let codes: Vec<ErrorCode> =
        verdicts.iter().filter_map(|(_, verdict)| verdict.as_ref().err()).map(PluginError::code).collect();
    Ok(if codes.is_empty() {
        DONE
    } else if codes.iter().all(|code| *code == ErrorCode::NotFound) {
        // A file that does not exist gives the same status in every command.
        status(ErrorCode::NotFound)
    } else {
        status(ErrorCode::InvalidManifest)
    })
}

fn directory(path: &Path, builder: &ManagerBuilder, verdicts: &mut Vec<(String, Verdict)>) {
    let discovery = discover(&[SearchPath::named(path)]);
    for manifest in discovery.found.values() {
        verdicts.push((manifest.path.display().to_string(), plugin(manifest, builder)));
    }
    for (path, kind) in discovery.passed_over {
        let verdict = match kind {
            FileKind::Pipeline | FileKind::Policy => file(&path, kind, builder),
            kind => Ok(Found::PassedOver(kind)),
        };
        verdicts.push((path.display().to_string(), verdict));
    }
    for (file, error) in discovery.problems {
        verdicts.push((file.display().to_string(), Err(error)));
    }
}

fn file(path: &Path, kind: FileKind, builder: &ManagerBuilder) -> Verdict {
    match kind {
        FileKind::Pipeline => Pipeline::read(path).map(|pipeline| Found::Valid("pipeline", pipeline.name, Vec::new())),
        FileKind::Policy => HostPolicy::read(path).map(|_| Found::Valid("host policy", String::new(), Vec::new())),
        _ => match ManifestFile::read(path, bivium::forms())? {
            ManifestFile::Plugin(manifest) => plugin(&Arc::new(*manifest), builder),
            ManifestFile::Other(other) => Ok(Found::Valid(other.kind, other.name, Vec::new())),
        },
    }
}

fn as_json((path, verdict): &(String, Verdict)) -> Value {
    match verdict {
        Ok(Found::Valid(kind, name, missing)) => {
            json!({"path": path, "valid": true, "kind": kind, "name": name, "warnings": missing})
        }
        Ok(Found::PassedOver(what)) => json!({"path": path, "valid": true, "passed_over": what.to_string()}),
        Err(error) => json!({"path": path, "valid": false, "error": error}),
    }
}

fn with_warnings(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => ", with 1 warning".to_owned(),
        count => format!(", with {count} warnings"),
    }
}

fn as_lines((path, verdict): &(String, Verdict)) -> Vec<String> {
    match verdict {
        Ok(Found::Valid(kind, name, missing)) => {
            let warnings = missing.iter().map(|missing| on_one_line(&format!("{path}: warning: {missing}")));
            let first = format!("{path}: ok, {kind} {}", short(name));
            std::iter::once(format!("{}{}", first.trim_end(), with_warnings(missing.len()))).chain(warnings).collect()
        }
        Ok(Found::PassedOver(what)) => vec![format!("{path}: passed over, {what}")],
        Err(error) if error.problems().is_empty() => vec![on_one_line(&format!("{path}: {error}"))],
        Err(error) => error.problems().iter().map(|problem| on_one_line(&format!("{path}: {problem}"))).collect(),
    }
}
