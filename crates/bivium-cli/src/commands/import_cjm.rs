//! `bivium import-cjm`: what would be loaded of what cjm-plugin-system or cjm-substrate has installed. Changes
//! nothing, and starts nothing.

use std::path::Path;

use bivium::manifest::EnvVarSpec;
use bivium::{Discovery, Installation, Manifest, SearchPath, discover, lossy};
use serde::Serialize;
use serde_json::json;

use crate::args::ImportCjm;
use crate::exit::Failure;
use crate::output::{Output, Table, on_one_line};

/// One plugin, as it would be loaded.
#[derive(Debug, Serialize)]
struct Plugin<'a> {
    name: &'a str,
    version: &'a str,
    #[serde(serialize_with = "lossy::path")]
    manifest: &'a Path,
    #[serde(serialize_with = "lossy::optional")]
    python_path: Option<&'a Path>,
    /// Whether the interpreter is there.
    has_python: bool,
    tasks: Vec<&'a str>,
    /// Its secrets by name.
    secrets: Vec<&'a str>,
    /// What to know before it is loaded.
    notes: Vec<String>,
}

pub(super) fn import_cjm(output: &Output, args: &ImportCjm) -> Result<(), Failure> {
    let installation = Installation::read(&args.dir)?;
    let places: Vec<SearchPath> = installation.manifests.iter().map(SearchPath::named).collect();
    let discovery = discover(&places);
    let plugins: Vec<Plugin<'_>> = discovery.found.values().map(|manifest| plugin(manifest, &discovery)).collect();
    if output.is_json() {
        let problems: Vec<_> =
            discovery.problems.iter().map(|(path, error)| json!({"path": shown(path), "error": error})).collect();
        let all = json!({"installation": installation, "plugins": plugins, "problems": problems,
            "shadowed": discovery.shadowed.iter().map(|shadowed| shown(&shadowed.path)).collect::<Vec<_>>()});
        return output.value(&all);
    }
    output.line(&as_text(&installation, &plugins))?;
    for (_, error) in &discovery.problems {
        output.warning(error);
    }
    output.hint(&advice(&installation));
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn plugin<'a>(manifest: &'a Manifest, discovery: &'a Discovery) -> Plugin<'a> {
    let python_path = manifest.python().and_then(|python| python.python_path.as_deref());
    let has_python = python_path.is_none_or(Path::is_file);
    let mut notes = Vec::new();
    if !has_python {
        notes.push("its interpreter is not there".to_owned());
    }
    let ancestor = manifest.ancestor();
    let wanted = ancestor.iter().flat_map(|ancestor| &ancestor.worker_env);
    let (secrets, others): (Vec<&EnvVarSpec>, Vec<_>) = wanted.partition(|wanted| wanted.secret);
    let secrets: Vec<&str> = secrets.into_iter().map(|wanted| wanted.name.as_str()).collect();
    notes.extend(secrets.iter().map(|name| format!("give its secret as BIVIUM_SECRET_{name}")));
    let has = |name: &str| manifest.python().is_some_and(|python| python.env_vars.contains_key(name));
    let is_given = |wanted: &EnvVarSpec| wanted.default.is_some() || has(&wanted.name);
    let missing = others.into_iter().filter(|wanted| wanted.required && !is_given(wanted));
    notes.extend(missing.map(|wanted| format!("it wants {} in env_vars", wanted.name)));
    // Said of adapters only where something but the plugin's own kind of work keeps them away.
    if ancestor.is_none_or(|ancestor| ancestor.structural_surface.is_none()) && !discovery.adapters.is_empty() {
        notes.push("no adapter fits a manifest without structural_surface: have it made anew".to_owned());
    }
    Plugin {
        name: &manifest.name,
        version: &manifest.version,
        manifest: &manifest.path,
        python_path,
        has_python,
        tasks: ancestor
            .iter()
            .flat_map(|ancestor| &ancestor.adapters)
            .map(|adapter| adapter.task_name.as_str())
            .collect(),
        secrets,
        notes,
    }
}

fn as_text(installation: &Installation, plugins: &[Plugin<'_>]) -> String {
    let places: Vec<String> = installation.manifests.iter().map(|place| place.display().to_string()).collect();
    let mut lines = vec![
        format!("manifests  {}", on_one_line(&places.join(", "))),
        format!("data       {}", on_one_line(&installation.data_dir.display().to_string())),
    ];
    if let Some(models) = &installation.models_dir {
        lines.push(format!("models     {}", on_one_line(&models.display().to_string())));
    }
    let mut table = Table::new(["NAME", "VERSION", "TASKS", "PYTHON", "NOTES"]);
    for plugin in plugins {
        let python = plugin.python_path.map_or("python3".to_owned(), |path| path.display().to_string());
        let tasks = if plugin.tasks.is_empty() { "-".to_owned() } else { plugin.tasks.join(", ") };
        let notes = if plugin.notes.is_empty() { "-".to_owned() } else { plugin.notes.join("; ") };
        table.row([plugin.name, plugin.version, &tasks, &python, &notes]);
    }
    let table = table.lines();
    if !table.is_empty() {
        lines.push(String::new());
    }
    lines.extend(table);
    lines.join("\n")
}

fn advice(installation: &Installation) -> String {
    let quoted = |path: &Path| on_one_line(&format!("'{}'", path.display()));
    let places: Vec<String> =
        installation.manifests.iter().map(|place| format!(" --manifests {}", quoted(place))).collect();
    let models = installation.models_dir.as_ref().map(|dir| format!(" CJM_MODELS_DIR={}", quoted(dir)));
    format!(
        "Nothing was changed. To load them, with the data that they have:\n  CJM_DATA_DIR={}{} bivium{} list",
        quoted(&installation.data_dir),
        models.unwrap_or_default(),
        places.concat()
    )
}
