//! `bivium list`: the plugins that are found. Warns about files that should be manifests and are not.

use std::path::PathBuf;

use bivium::{ErrorCode, FileKind, PluginError, PluginInfo, Shadowed};
use serde_json::json;

use crate::args::{Global, List};
use crate::failure::Failure;
use crate::host::{Host, search_paths};
use crate::output::{Output, Table};

pub(super) async fn list(global: &Global, output: &Output, args: &List) -> Result<(), Failure> {
    let host = Host::open(global, output)?;
    let discovery = host.discover(global, output);
    let plugins = match &args.category {
        Some(category) => host.manager.found_in_category(category),
        None => host.manager.found(),
    };
    if output.is_json() {
        let problem =
            |(path, error): &(PathBuf, PluginError)| json!({"path": path.display().to_string(), "error": error});
        let problems: Vec<_> = discovery.problems.iter().map(problem).collect();
        let shadowed = |shadowed: &Shadowed| json!({"name": shadowed.name, "path": shadowed.path.display().to_string(), "by": shadowed.by.display().to_string()});
        let shadowed: Vec<_> = discovery.shadowed.iter().map(shadowed).collect();
        let passed_over =
            |(path, kind): &(PathBuf, FileKind)| json!({"path": path.display().to_string(), "what": kind.to_string()});
        let passed_over: Vec<_> = discovery.passed_over.iter().map(passed_over).collect();
        return output.value(&json!({
            "plugins": plugins, "problems": problems, "shadowed": shadowed, "passed_over": passed_over
        }));
    }
    // If manifests are not valid, the warnings say why no plugin is listed.
    let is_told = |(_, error): &(PathBuf, PluginError)| error.code() == ErrorCode::InvalidManifest;
    let is_reason_told = args.category.is_none() && discovery.problems.iter().any(is_told);
    if plugins.is_empty() && !is_reason_told {
        let paths: Vec<String> = search_paths(global).iter().map(|place| place.path.display().to_string()).collect();
        let which = args.category.as_ref().map(|category| format!(" of category {category:?}")).unwrap_or_default();
        output.hint(&format!("There is no plugin{which} in {}.", paths.join(" or ")));
    } else if !plugins.is_empty() {
        output.line(&table(&plugins).join("\n"))?;
    }
    let pipelines = discovery.pipelines().count();
    if pipelines > 0 {
        output.hint("`bivium pipeline list` lists the pipelines there.");
    }
    let misnamed = discovery.passed_over.iter().filter(|(_, kind)| *kind == FileKind::Misnamed).count();
    match misnamed {
        0 => {}
        1 => {
            output.hint("One manifest there is not found, because of its file's name; `bivium validate DIR` says why.")
        }
        n => output.hint(&format!(
            "{n} manifests there are not found, because of their files' names; `bivium validate DIR` says why."
        )),
    }
    match discovery.passed_over.len().saturating_sub(pipelines + misnamed) {
        0 => {}
        1 => output.hint("One file there is not a manifest and was passed over; `bivium validate DIR` says why."),
        n => output
            .hint(&format!("{n} files there are not manifests and were passed over; `bivium validate DIR` says why.")),
    }
    Ok(())
}

fn table(plugins: &[PluginInfo]) -> Vec<String> {
    let mut table = Table::new(["NAME", "VERSION", "RUNTIME", "CATEGORY", "ENABLED", "DESCRIPTION"]);
    for plugin in plugins {
        let runtime = plugin.runtime.map_or("-", bivium::manifest::RuntimeKind::as_str);
        let category = plugin.category.as_deref().unwrap_or("-");
        let enabled = if plugin.enabled { "yes" } else { "no" };
        table.row([&plugin.name, &plugin.version, runtime, category, enabled, &plugin.description]);
    }
    table.lines()
}
