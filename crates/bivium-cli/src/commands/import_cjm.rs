//! `bivium import-cjm`: what would be loaded of what cjm-plugin-system or cjm-substrate has installed. Changes
//! nothing, and starts nothing.

use std::path::Path;

use bivium::cjm::{Import, Installation};
use bivium::{SearchPath, discover};
use serde_json::json;

use crate::args::ImportCjm;
use crate::failure::Failure;
use crate::output::{Output, Table, on_one_line};

pub(super) fn import_cjm(output: &Output, args: &ImportCjm) -> Result<(), Failure> {
    let installation = Installation::read(&args.dir)?;
    let places: Vec<SearchPath> = installation.manifests.iter().map(SearchPath::named).collect();
    let discovery = discover(&places);
    let has_adapters = !discovery.others.is_empty();
    let plugins: Vec<Import<'_>> =
        discovery.found.values().map(|manifest| Import::of(manifest, has_adapters)).collect();
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

fn as_text(installation: &Installation, plugins: &[Import<'_>]) -> String {
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
